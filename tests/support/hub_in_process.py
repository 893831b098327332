"""The whole hub without HTTP, in the test's own loop, on a real database file.

The entities are written straight into their tables, because what is tested here begins behind the
API: the way from the journal to the receiver.
"""

import asyncio
import json
import uuid
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Self

from sqlalchemy import Table, select

from actors.hub import Hub, HubSettings
from actors.membership import Membership
from actors.ownership import Ownership
from actors.runtime import ActorSystem
from actors.stores import Stores
from protocols.decoders import DecoderPool
from protocols.targets import TargetResources
from protocols.targets.http.session import http_session
from storage import Database, open_database
from storage.database import Transaction
from storage.deferred import DeferredStore
from storage.delivery.outbox import Outbox
from storage.embedded_journal import EmbeddedJournal
from storage.journal import Cursors, JournalLimits, JournalReader
from storage.ledger import Ledger, LedgerBalance
from storage.processes import ProcessIdentity
from storage.results import CommitReport, MessageResult, ResultStore
from storage.sealing import SecretBox
from storage.signals import Signals
from storage.tables import entities
from tests.support.guards import loopback_guard

SECRET_KEY = "only for tests, and long enough for them"
_STAMPS = {"created_at": 0, "updated_at": 0}


class GatedResultStore(ResultStore):
    """Commits while `gate` is set; a hub whose disk is slow looks like that to its devices."""

    def __init__(self, database: Database, journal: JournalReader) -> None:
        super().__init__(database, journal)
        self.gate = asyncio.Event()
        self.gate.set()

    async def commit(self, results: Sequence[MessageResult], *, cursors: Cursors) -> CommitReport:
        await self.gate.wait()
        return await super().commit(results, cursors=cursors)


class HubInProcess:
    """`async with HubInProcess(path, pool) as hub:`; several in a row may use one path."""

    def __init__(
        self,
        path: Path | str,
        pool: DecoderPool,
        settings: HubSettings | None = None,
        limits: JournalLimits | None = None,
        *,
        system: ActorSystem | None = None,
        identity: ProcessIdentity | None = None,
        own: Callable[[Database], Ownership] | None = None,
        signals: Signals | None = None,
    ) -> None:
        """`identity`, `own` and `signals` make it one of several processes; by default it owns
        everything."""
        # A text is the URL of a database, which may be of another engine.
        self.database = open_database(path if isinstance(path, str) else f"sqlite:///{path}")
        self.membership = (
            None
            if identity is None
            else Membership.on(self.database, identity, keeps_house=lambda: True)
        )
        self.pool = pool
        self.settings = settings or HubSettings()
        self.system = system
        self.ownership = None if own is None else own(self.database)
        self.signals = signals
        self.journal = EmbeddedJournal(self.database, limits)
        self.results = GatedResultStore(self.database, self.journal)
        self.ledger = Ledger(self.database)
        self.outbox = Outbox(self.database)
        self.deferred = DeferredStore(self.database)
        self.hub: Hub

    async def __aenter__(self) -> Self:
        await self.database.open()
        guard = loopback_guard()
        self._session = http_session(guard=guard)
        self.hub = Hub(
            Stores.on(
                self.database,
                journal=self.journal,
                appender=self.journal,
                box=SecretBox(SECRET_KEY),
                results=self.results,
            ),
            pool=self.pool,
            target_resources=TargetResources(http_session=self._session, guard=guard),
            settings=self.settings,
            membership=self.membership,
            ownership=self.ownership,
            signals=self.signals,
            system=self.system,
        )
        await self.hub.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.hub.stop(timeout_s=2.0)
        await self.close()

    async def close(self) -> None:
        """Close what is left once the hub has stopped."""
        await self._session.close()
        await self.database.close()

    async def insert(self, table: Table, **values: Any) -> int:
        """Insert one entity and make it known to the hub."""

        def write(transaction: Transaction) -> int:
            return transaction.insert(table, {**_STAMPS, **values})

        return await self.database.write(write)

    async def count(self, table: Table) -> int:
        """Return how many rows a table has."""
        rows = await self.database.read(lambda reader: reader.fetch_all(select(table)))
        return len(rows)

    async def application(self) -> int:
        name = uuid.uuid4().hex
        organization_id = await self.insert(
            entities.organization, name=name, open_data_dk_registered=False
        )
        return await self.insert(entities.application, organization_id=organization_id, name=name)

    async def device(self, application_id: int) -> tuple[int, str]:
        """Return the new device's id and API key."""
        api_key = str(uuid.uuid4())
        device_id = await self.insert(
            entities.iot_device,
            application_id=application_id,
            type="GENERIC_HTTP",
            name=api_key,
            api_key=api_key,
        )
        return device_id, api_key

    async def decoder(self) -> int:
        return await self.insert(
            entities.payload_decoder, name="decoder", decoding_function="/* in the test's hand */"
        )

    async def target(
        self,
        application_id: int,
        url: str,
        *,
        timeout_ms: int = 2000,
        kind: str = "HTTP_PUSH",
        **settings: object,
    ) -> int:
        target_id = await self.insert(
            entities.data_target,
            application_id=application_id,
            type=kind,
            name="target",
            settings=json.dumps({"url": url, "timeout": timeout_ms, **settings}),
            secrets="{}",
        )
        await self.hub.configuration_changed(what="data_target", entity_id=target_id)
        return target_id

    async def connect(self, target_id: int, decoder_id: int | None, *device_ids: int) -> None:
        connection_id = await self.insert(
            entities.connection, data_target_id=target_id, payload_decoder_id=decoder_id
        )

        def write(transaction: Transaction) -> None:
            for device_id in device_ids:
                transaction.insert(
                    entities.connection_device,
                    {"connection_id": connection_id, "device_id": device_id},
                )

        await self.database.write(write)
        await self.hub.configuration_changed(what="connection", entity_id=connection_id)

    async def post(self, api_key: str, number: int) -> None:
        await self.send(api_key, {"n": number})

    async def send(self, api_key: str, payload: object) -> None:
        body = json.dumps(payload, separators=(",", ":")).encode()
        await self.hub.accept_http(api_key, body, "application/json", None)

    async def settled(self, timeout_s: float = 10.0) -> LedgerBalance:
        """Return the books once nothing is on its way any more."""
        return await self.balance_when(_is_settled, timeout_s)

    async def balance_when(
        self, is_so: Callable[[LedgerBalance], bool], timeout_s: float = 10.0
    ) -> LedgerBalance:
        """Return the books of the one organization once they are like this."""
        async with asyncio.timeout(timeout_s):
            while True:
                (balance,) = await self.ledger.balance()
                if is_so(balance):
                    return balance
                await asyncio.sleep(0.01)


def _is_settled(balance: LedgerBalance) -> bool:
    jobs, deliveries = balance.jobs, balance.deliveries
    return not (jobs.pending or jobs.deferred or deliveries.pending or deliveries.retrying)
