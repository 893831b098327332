"""The PostgreSQL engine: claims the database, brings its schema up to date, starts writer and readers."""

import asyncio
import random
from asyncio import Future
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any, Final, TypeVar

import structlog

from protocols.errors import StorageUnavailable
from storage import events
from storage.database import Database, DatabaseHealth, Reader, Transaction
from storage.group_commit import GroupWriter
from storage.postgresql.address import DatabaseAddress
from storage.postgresql.claim import DatabaseClaim
from storage.postgresql.connection import syncs_to_disk
from storage.postgresql.readers import ReaderPool
from storage.postgresql.schema import bring_up_to_date, check_schema
from storage.postgresql.watch import Watch
from storage.postgresql.writer import PostgresqlDriver

# Processes that happen to have the same one wait for each other's commits, which is no harm.
LEDGER_SHARDS: Final = 32
# A server that is well answers sooner, also when a checkpoint keeps its disk busy.
_SLOW_S: Final = 8.0

_log = structlog.get_logger(__name__)

T = TypeVar("T")


class PostgresqlDatabase(Database):
    """See `Database`. Without `is_shared` no second process may open the same database so."""

    def __init__(self, url: str, *, is_shared: bool = False, migrate: bool = True) -> None:
        self._address = DatabaseAddress(url)
        self._migrate = migrate
        self._driver = PostgresqlDriver(
            self._address,
            None if is_shared else DatabaseClaim(self._address),
            ledger_shard=random.randrange(LEDGER_SHARDS),
        )
        self._writer: GroupWriter | None = None
        self._readers: ReaderPool | None = None
        self._watch: Watch | None = None
        self._is_closed = False

    async def open(self) -> None:
        loop = asyncio.get_running_loop()
        watch = Watch(self._driver.transaction.waiting, self._driver.interrupt)
        watch.start()
        try:
            await asyncio.to_thread(self._driver.connect, self._prepare)
        except BaseException:
            watch.stop()
            raise
        self._watch = watch
        self._readers = ReaderPool(self._address)
        await self._readers.open()
        self._writer = GroupWriter(self._driver, loop, name="postgresql-writer")
        self._writer.start()

    async def close(self) -> None:
        if self._is_closed:
            return
        self._is_closed = True
        if self._writer is not None:
            await self._writer.stop()
        if self._watch is not None:
            await asyncio.to_thread(self._watch.stop)
        if self._readers is not None:
            await self._readers.close()
        await asyncio.to_thread(self._driver.close)

    async def read(self, unit: Callable[[Reader], T]) -> T:
        if self._readers is None:
            raise StorageUnavailable("The database is not open yet.")
        return await self._readers.read(unit)

    def submit(self, unit: Callable[[Transaction], T]) -> "Future[T]":
        if self._writer is None:
            raise StorageUnavailable("The database is not open yet.")
        return self._writer.submit(unit)

    def health(self) -> DatabaseHealth:
        if self._writer is None or self._is_closed:
            return DatabaseHealth(is_ok=False, reason="The database is not open.")
        waited_s = self._driver.transaction.waiting.seconds
        if waited_s > _SLOW_S and self._writer.health.is_ok:
            since = datetime.now(UTC) - timedelta(seconds=waited_s)
            return DatabaseHealth(is_ok=False, reason="The server does not answer.", since=since)
        return self._writer.health

    def free_bytes(self) -> int | None:
        return None

    def _prepare(self, connection: Any) -> None:
        """Under the claim: nobody changes the schema of a hub that runs."""
        if self._migrate:
            bring_up_to_date(self._address)
        check_schema(connection)
        if not syncs_to_disk(connection):
            _log.warning(events.DATABASE_DURABILITY_MISS, reason="The server's fsync is off.")
