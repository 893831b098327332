"""A database whose clock is the test's virtual one, and which that clock waits for."""

from asyncio import Future
from collections.abc import Callable
from typing import Any, TypeVar

from sqlalchemy import bindparam, update

from actors.runtime import VirtualClock
from storage import Database
from storage.database import DatabaseHealth, Reader, Transaction
from storage.instants import microseconds
from storage.tables.fleet import unreadable_record
from tests.support.clock_in_database import ClockInDatabase

T = TypeVar("T")

_SET = update(unreadable_record).values(seen_at=bindparam("it_is"))


class DatabaseInVirtualTime(Database):
    """Wraps an opened database; `ClockInDatabase.now` is the time in it, as of the last write."""

    def __init__(self, database: Database, clock: VirtualClock) -> None:
        self._database = database
        self._clock = clock
        self._under_way = 0
        self._finished = 0
        clock.watch_activity(lambda: None if self._under_way else self._finished)

    async def open(self) -> None:
        await ClockInDatabase(self._database).start()

    async def close(self) -> None:
        """The wrapped database is its maker's to close."""

    async def read(self, unit: Callable[[Reader], T]) -> T:
        self._under_way += 1
        try:
            return await self._database.read(unit)
        finally:
            self._note_end()

    def submit(self, unit: Callable[[Transaction], T]) -> "Future[T]":
        def timed(transaction: Transaction) -> T:
            transaction.execute(_SET, {"it_is": microseconds(self._clock.now())})
            return unit(transaction)

        self._under_way += 1
        future = self._database.submit(timed)
        future.add_done_callback(self._note_end)
        return future

    def health(self) -> DatabaseHealth:
        return self._database.health()

    def free_bytes(self) -> int | None:
        return self._database.free_bytes()

    def _note_end(self, _done: Any = None) -> None:
        self._under_way -= 1
        self._finished += 1
