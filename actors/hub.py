"""The hub as the outside sees it: the actor tree, and what may be asked of it.

Only this class knows how the actors are put together. The order of the tree is the order of start:
who is told about results stands before who makes them, and at the end the tree stops in reverse,
after the router has let what it admitted come to its end.
"""

import asyncio
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import structlog
from prometheus_client import Metric

from actors import events, paths
from actors.decoding import DecodingActor
from actors.deferral import DeferralActor
from actors.delivery.targets import TargetRoster, target_name
from actors.delivery.wake_ups import WakeUpActor
from actors.delivery.withdrawal import withdraw_elsewhere
from actors.device import DeviceActor
from actors.fleet import FleetActor
from actors.fleet_view import Verdict
from actors.house import HOUSEKEEPING, House
from actors.intake import Intake
from actors.journal import JournalActor
from actors.membership import Membership
from actors.messages import (
    CancelOrphans,
    ConfigurationChanged,
    ReplayFailed,
    WakeElsewhere,
)
from actors.metrics import fleet_metrics, hub_metrics, target_metrics
from actors.ownership import Ownership, SoleOwnership
from actors.plan_book import PlanBook
from actors.readiness import Readiness
from actors.replay_order import read_order
from actors.router import RouterActor
from actors.runtime import (
    Actor,
    ActorRef,
    ActorSystem,
    ChildSpec,
    Directory,
    Strategy,
    Supervisor,
)
from actors.stores import Stores
from actors.trials import DecoderTrial, DecoderTrials
from actors.writer import Publish, WriterActor
from protocols.adapters import AdapterLimits
from protocols.decoders import DecoderPool
from protocols.errors import InvalidInput, NotFound
from protocols.messages import DeliveryId, DeviceId, TargetId
from protocols.targets import Target, TargetResources, discover
from protocols.targets.policy import DeliveryPolicy, parse_policy
from storage.delivery.outbox import outbox_items
from storage.delivery.target_standing import TargetStanding
from storage.journal import Appended, JournalAppender, PartitionStatus
from storage.journal_overview import JournalOverview
from storage.process_orders import Order, OrderKind
from storage.results import MessageResult
from storage.signals import Signals

# Restarts of one target must never take its siblings along; its own back-off bounds them.
_NEVER_ESCALATE = 1_000_000
# Deleting one of these takes the data targets below it along.
_TARGETS_BELONG_TO = frozenset(("organization", "application", "data_target"))

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class HubSettings:
    max_active_devices: int = 100_000
    """Devices whose actors stay in memory, about 1 kB each; others come back when they talk."""
    passivate_after_s: float = 900.0
    raw_retention_days: int = 30
    """How long messages are kept, raw and decoded, and can be decoded again."""
    max_body_bytes: int = AdapterLimits().max_body_bytes
    """The longest message that is taken in."""


class Hub:
    """One for each process; `start`, then the rest, then `stop`, all on one loop."""

    def __init__(
        self,
        stores: Stores,
        *,
        pool: DecoderPool,
        target_resources: TargetResources,
        settings: HubSettings,
        ownership: Ownership | None = None,
        signals: Signals | None = None,
        membership: Membership | None = None,
        publish: Publish | None = None,
        system: ActorSystem | None = None,
    ) -> None:
        """`ownership` says what this process acts for, by default everything; `signals` and
        `membership` make it one of several processes, without them it is the whole hub.
        What is decoded is handed to `publish` before it is committed, see `WriterActor`."""
        self._stores = stores
        self._pool = pool
        self._membership = membership
        self.target_resources = target_resources
        self._settings = settings
        self.system = system or ActorSystem(name="hub")
        self._intake = self._make_intake(stores.appender)
        self._roster = TargetRoster(
            self.system,
            outbox=stores.outbox,
            settings=stores.target_settings,
            open_target=self._open_target,
            wake_elsewhere=self._wake_elsewhere,
        )
        self.ownership = ownership or SoleOwnership()
        self._signals = signals
        self._publish = publish
        self._standings: Sequence[TargetStanding] = ()
        self._ready = False
        self._assigned = asyncio.Event()
        self._trials = DecoderTrials(pool, self.system.clock.now)

    # -- life --------------------------------------------------------------------------------

    async def start(self) -> None:
        """Start the tree; when this returns, messages are taken in and what waited goes on.

        Raises:
            JournalMismatch: the journal is not the one that the database knows.
        """
        stores, membership = self._stores, self._membership
        if membership is not None:
            await membership.changes.begin()
        await self.system.start()
        if self._signals is not None:
            self._spawn("wake-ups", WakeUpActor, signals=self._signals, roster=self._roster)
        writer = self._spawn(
            "writer",
            WriterActor,
            results=stores.results,
            on_committed=self._announce,
            on_untold=self._roster.look_again,
            publish=self._publish,
        )
        decoding = self._spawn("decoders", DecodingActor, pool=self._pool)
        kept = timedelta(days=self._settings.raw_retention_days)
        house = House.with_stores(
            self.system,
            stores,
            kept,
            decoding=decoding,
            writer=writer,
            wake=self._roster.wake,
            on_standings=self._note_standings,
        )
        self.ownership.prepare(self.system, (house, self._roster))
        self._spawn(
            "targets", Supervisor, strategy=Strategy.ONE_FOR_ONE, max_restarts=_NEVER_ESCALATE
        )
        devices = self._make_directory(writer, decoding)
        self._spawn(
            "router",
            RouterActor,
            journal=stores.journal,
            plans=PlanBook(stores.plans),
            states=stores.device_states,
            devices=devices,
            writer=writer,
        )
        self._spawn(
            "deferral",
            DeferralActor,
            deferred=stores.deferred,
            devices=devices,
            writer=writer,
            holds=stores.journal.holds,
        )
        await self.ownership.begin()
        if membership is not None:
            self._spawn("fleet", FleetActor, membership=membership, member=self)
        # The last to start is the first to stop: then nothing new is admitted.
        self._spawn(
            "journal",
            JournalActor,
            reader=stores.journal,
            on_assigned=self._on_assigned,
            on_mismatch=self.system.note_failure,
        )
        await self._await_assignment()
        self._ready = True

    async def _await_assignment(self) -> None:
        assigned = asyncio.create_task(self._assigned.wait())
        failed = asyncio.create_task(self.system.wait_failed())
        await asyncio.wait((assigned, failed), return_when=asyncio.FIRST_COMPLETED)
        if failed.done():
            assigned.cancel()
            raise failed.result()
        failed.cancel()

    def _on_assigned(self) -> None:
        # What other processes have committed for these devices stands before what comes now.
        self._roster.look_again()
        self._assigned.set()

    async def stop(self, *, timeout_s: float) -> None:
        """Let what was admitted come to its end for a while, then stop the tree.

        What is not finished by then is in the journal and the outbox: the next start goes on.
        """
        self._ready = False
        self.ownership.retire()
        report = await self.system.stop(timeout_s)
        # How the actors ended, `actor.system.stop` has said.
        log.info(events.HUB_STOP, is_clean=report.is_clean)

    def _spawn(self, name: str, actor_class: type[Actor], **arguments: Any) -> ActorRef[Any]:
        return self.system.spawn(paths.HUB, ChildSpec(name, actor_class, (), arguments))

    def _make_directory(
        self, writer: ActorRef[Any], decoding: ActorRef[Any]
    ) -> Directory[DeviceId]:
        def create(device_id: DeviceId) -> DeviceActor:
            return DeviceActor(device_id, decoding=decoding, writer=writer)

        return self.system.directory(
            "devices",
            create=create,
            max_active=self._settings.max_active_devices,
            idle_after_s=self._settings.passivate_after_s,
        )

    def _make_intake(self, appender: JournalAppender | None) -> Intake | None:
        if appender is None:
            return None
        return Intake(
            keys=self._stores.device_keys,
            journal=appender,
            now=self.system.clock.now,
            limits=AdapterLimits(max_body_bytes=self._settings.max_body_bytes),
        )

    def _announce(self, results: Sequence[MessageResult]) -> None:
        self._roster.deliver(outbox_items(results))

    def _note_standings(self, standings: Sequence[TargetStanding]) -> None:
        self._standings = standings

    def _wake_elsewhere(self, target_ids: Collection[TargetId]) -> None:
        if (wake_ups := self.system.find(paths.WAKE_UPS)) is not None:
            wake_ups.tell(WakeElsewhere(target_ids))

    async def _open_target(self, target_id: TargetId) -> tuple[Target, DeliveryPolicy]:
        row = await self._stores.target_settings.load(target_id)
        kind = discover().get(row.kind)
        if kind is None:
            raise InvalidInput(f"Data targets of type {row.kind} are not available.")
        policy = parse_policy(row.settings, kind.ordering)
        target = kind.from_settings(row.settings, self.target_resources)
        await target.open()
        return target, policy

    # -- messages ----------------------------------------------------------------------------

    async def accept_http(
        self, api_key: str, body: bytes, content_type: str | None, idempotency_key: str | None
    ) -> Appended:
        """Take in one message of a generic HTTP device; see `Intake.accept_http`."""
        assert self._intake is not None, "this process takes no messages in"
        return await self._intake.accept_http(api_key, body, content_type, idempotency_key)

    async def test_decoder(self, code: str, payload: bytes, metadata: bytes) -> DecoderTrial:
        """Run a script on a payload without keeping anything; see `DecoderTrials.run`."""
        return await self._trials.run(code, payload, metadata)

    async def replay(self, decoder_id: int, since: datetime | None, until: datetime | None) -> int:
        """Decode again what this decoder failed on; return how many messages that is."""
        self._pool.release(decoder_id)
        replay = self._find(paths.REPLAY)
        count: int = await replay.ask(ReplayFailed(decoder_id, since, until))
        return count

    async def deliveries_withdrawn(
        self, target_id: int, delivery_ids: Collection[DeliveryId]
    ) -> None:
        """Spare a target what was fetched and committed as such; see `storage/delivery/acknowledgement.py`."""
        is_here = self._roster.withdraw(TargetId(target_id), delivery_ids)
        if not is_here and self._membership is not None:
            await withdraw_elsewhere(self._membership.orders, target_id, delivery_ids)

    # -- configuration -----------------------------------------------------------------------

    async def configuration_changed(self, *, what: str, entity_id: int) -> None:
        """Make a committed change effective; to be awaited before the change is answered."""
        if self._intake is not None:
            self._intake.forget()
        device_id = DeviceId(entity_id) if what == "iot_device" else None
        self._find(paths.ROUTER).tell(ConfigurationChanged(device_id))
        if what in _TARGETS_BELONG_TO:
            replaced = target_name(TargetId(entity_id)) if what == "data_target" else None
            await self.ownership.reconsider(replaced=replaced)
            if (housekeeping := self.system.find(paths.HOUSEKEEPING)) is not None:
                housekeeping.tell(CancelOrphans())

    # -- the fleet's member --------------------------------------------------------------------

    def partitions(self) -> list[PartitionStatus]:
        """Return how far the partitions have got that this process settles."""
        return self._stores.journal.status()

    async def carry_out(self, order: Order) -> None:
        """Do what another process asked for. Raises NotFound when this version does not know it."""
        match order.kind:
            case OrderKind.REPLAY:
                replay = read_order(order.body)
                await self.replay(replay.decoder_id, replay.since, replay.until)
            case OrderKind.RELEASE_DECODER:
                self._pool.release(order.body["decoderId"])
            case OrderKind.WITHDRAW_DELIVERIES:
                self._roster.withdraw(order.body["targetId"], order.body["deliveryIds"])
            case _:
                raise NotFound(f"This version knows no order {order.kind}.")

    # -- operation ---------------------------------------------------------------------------

    async def actor_tree(self) -> dict[str, Any]:
        """Return this process's actors."""
        return self.system.tree().to_json()

    async def actor(self, path: str) -> dict[str, Any] | None:
        """Return one actor and its children, or None if there is none at that path."""
        try:
            return self.system.info(path).to_json()
        except NotFound:
            return None

    async def restart_actor(self, path: str) -> None:
        """Replace the actor by a new instance. Raises NotFound."""
        await self.system.restart(path)

    async def health(self) -> Verdict:
        """Judge this process's actors."""
        health = self.system.health()
        cause = None if health.worst is None else health.worst.path
        return Verdict(health.ok, cause, health.reason)

    def readiness(self) -> list[Readiness]:
        """Return what must be in order before the hub takes traffic."""
        return [
            Readiness.of_hub(is_started=self._ready),
            Readiness.of_storage(self._stores.database.health()),
        ]

    async def ledger(self, organization_ids: Sequence[int] | None) -> list[dict[str, Any]]:
        """Return what became of every message, for each organization, from one snapshot."""
        balances = await self._stores.ledger.balance(organization_ids)
        return [balance.to_json() for balance in balances]

    async def journal(self) -> list[dict[str, object]]:
        """Return how far each partition of the journal is settled, and by whom."""
        lags = {status.partition: status.lag for status in self._stores.journal.status()}
        return await JournalOverview(self._stores.database).to_json(lags)

    def metrics(self) -> Iterable[Metric]:
        """Return what Prometheus shall know of the actors, read at this moment."""
        yield from hub_metrics(self.system, self._stores.journal, self._pool)
        if self.ownership.holds(HOUSEKEEPING):
            yield from target_metrics(self._standings, self.system.clock.now())
        if self._membership is not None:
            yield from fleet_metrics(self._membership.seen)

    def _find(self, path: str) -> ActorRef[Any]:
        ref = self.system.find(path)
        if ref is None:
            raise NotFound(f"There is no actor {path}.")
        return ref
