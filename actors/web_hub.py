"""The hub as a process sees it that only takes messages in and serves the API.

It runs no pipeline: what it accepts is appended to the journal, which the workers read. What it is
asked about the hub it reads from the database, and what it is asked to do, it asks the workers for.
"""

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import structlog
from prometheus_client import Metric

from actors import events, paths
from actors.delivery.withdrawal import withdraw_elsewhere
from actors.fleet import FleetActor
from actors.fleet_view import FleetView, Verdict
from actors.intake import Intake
from actors.membership import Membership
from actors.messages import ReplayFailed
from actors.metrics import actor_metrics, decoder_metrics, fleet_metrics
from actors.readiness import Readiness
from actors.replay_order import order_body
from actors.runtime import Actor, ActorSystem, ChildSpec
from actors.trial_pool import StartDecoders, TrialPoolActor
from actors.trials import DecoderTrial, DecoderTrials
from protocols.adapters import AdapterLimits
from protocols.decoders import DecoderPool
from protocols.errors import DecoderUnavailable, HubFull, NotFound
from protocols.messages import DeliveryId
from storage.database import Database
from storage.deferred import DeferredStore
from storage.device_keys import DeviceKeys
from storage.journal import Appended, JournalAppender, PartitionStatus
from storage.journal_overview import JournalOverview
from storage.ledger import Ledger
from storage.process_orders import Order, OrderKind
from storage.processes import ProcessRole

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class WebStores:
    """What such a process reads and appends to; made by the composition root, on one database."""

    database: Database
    appender: JournalAppender
    ledger: Ledger
    deferred: DeferredStore
    device_keys: DeviceKeys


class WebHub:
    """One for each process; `start`, then the rest, then `stop`, all on one loop."""

    def __init__(
        self,
        stores: WebStores,
        *,
        pool: DecoderPool,
        membership: Membership,
        limits: AdapterLimits | None = None,
        system: ActorSystem | None = None,
    ) -> None:
        """`pool` is started when somebody first tries a decoder out; one worker will do."""
        self._stores = stores
        self._pool = pool
        self._membership = membership
        self.system = system or ActorSystem(name="hub")
        self.intake = Intake(
            keys=stores.device_keys,
            journal=stores.appender,
            now=self.system.clock.now,
            limits=limits,
        )
        self._trials = DecoderTrials(pool, self.system.clock.now)
        self._fleet = FleetView(membership, self.system)
        self._ready = False

    # -- life --------------------------------------------------------------------------------

    async def start(self) -> None:
        """Start the tree; when this returns, messages are taken in.

        Raises: StorageUnavailable.
        """
        await self._membership.changes.begin()
        await self.system.start()
        self._spawn("decoders", TrialPoolActor, pool=self._pool)
        self._spawn("fleet", FleetActor, membership=self._membership, member=self)
        self._ready = True

    async def stop(self, *, timeout_s: float) -> None:
        """Stop the tree. What was accepted is in the journal."""
        self._ready = False
        report = await self.system.stop(timeout_s)
        log.info(events.HUB_STOP, is_clean=report.is_clean)

    def _spawn(self, name: str, actor_class: type[Actor], **arguments: Any) -> None:
        self.system.spawn(paths.HUB, ChildSpec(name, actor_class, (), arguments))

    # -- messages ----------------------------------------------------------------------------

    async def accept_http(
        self, api_key: str, body: bytes, content_type: str | None, idempotency_key: str | None
    ) -> Appended:
        """Take in one message of a generic HTTP device; see `Intake.accept_http`."""
        return await self.intake.accept_http(api_key, body, content_type, idempotency_key)

    async def test_decoder(self, code: str, payload: bytes, metadata: bytes) -> DecoderTrial:
        """Run a script on a payload without keeping anything; see `DecoderTrials.run`.

        Raises: HubFull when too many trials wait already, or no decoder process can be started.
        """
        decoders = self.system.find(paths.DECODERS)
        if decoders is None:
            raise NotFound(f"There is no actor {paths.DECODERS}.")
        try:
            await decoders.ask(StartDecoders())
        except DecoderUnavailable as exc:
            raise HubFull("No decoder process can be started at present.") from exc
        return await self._trials.run(code, payload, metadata)

    async def replay(self, decoder_id: int, since: datetime | None, until: datetime | None) -> int:
        """Have decoded again what this decoder failed on; return how many messages that is."""
        orders = self._membership.orders
        replay = ReplayFailed(decoder_id, since, until)
        # Each worker shut the decoder out by itself, and would refuse it for minutes.
        await orders.ask_all(
            ProcessRole.WORKER, OrderKind.RELEASE_DECODER, {"decoderId": decoder_id}
        )
        await orders.ask_housekeeper(OrderKind.REPLAY, order_body(replay))
        return await self._stores.deferred.count_failed(decoder_id, since=since, until=until)

    async def deliveries_withdrawn(
        self, target_id: int, delivery_ids: Collection[DeliveryId]
    ) -> None:
        """Spare a target what was fetched and committed as such; see `storage/delivery/acknowledgement.py`."""
        await withdraw_elsewhere(self._membership.orders, target_id, delivery_ids)

    # -- configuration -----------------------------------------------------------------------

    async def configuration_changed(self, *, what: str, entity_id: int) -> None:
        """Make a committed change effective here; the other processes learn of it by themselves."""
        self.intake.forget()

    # -- the fleet's member --------------------------------------------------------------------

    def partitions(self) -> list[PartitionStatus]:
        """None: the workers settle them."""
        return []

    async def carry_out(self, order: Order) -> None:
        """Raises NotFound: nothing can be asked of this process."""
        raise NotFound(f"A process that takes messages in cannot {order.kind}.")

    # -- operation ---------------------------------------------------------------------------

    async def actor_tree(self) -> dict[str, Any]:
        """Return every process with its actors."""
        return await self._fleet.tree()

    async def actor(self, path: str) -> dict[str, Any] | None:
        """Return one actor of one process, or None if there is none at that path."""
        return await self._fleet.actor(path)

    async def restart_actor(self, path: str) -> None:
        """Replace the actor by a new instance, in whichever process it is. Raises NotFound."""
        await self._fleet.restart(path)

    async def health(self) -> Verdict:
        """Judge all processes together."""
        return await self._fleet.health()

    def readiness(self) -> list[Readiness]:
        """Return what must be in order before this process takes traffic."""
        storage = self._stores.database.health()
        obstacle = self._stores.appender.obstacle
        return [
            Readiness.of_hub(is_started=self._ready),
            Readiness.of_storage(storage),
            Readiness("journal", obstacle is None, obstacle or "appends become durable"),
        ]

    async def ledger(self, organization_ids: Sequence[int] | None) -> list[dict[str, Any]]:
        """Return what became of every message, for each organization, from one snapshot."""
        balances = await self._stores.ledger.balance(organization_ids)
        return [balance.to_json() for balance in balances]

    async def journal(self) -> list[dict[str, object]]:
        """Return how far each partition of the journal is settled, and by whom."""
        return await JournalOverview(self._stores.database).to_json(await self._fleet.lags())

    def metrics(self) -> Iterable[Metric]:
        """Return what Prometheus shall know of this process and of the fleet, read at this moment."""
        yield from actor_metrics(self.system)
        yield from decoder_metrics(self._pool)
        yield from fleet_metrics(self._membership.seen)
