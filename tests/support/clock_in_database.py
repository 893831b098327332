"""The database's clock in a test's hand: a row that says what time it is."""

from datetime import UTC, datetime
from typing import Final

from sqlalchemy import ColumnElement, bindparam, literal_column, select, update

from storage import Database
from storage.database import BulkInsert, Transaction
from storage.instants import microseconds
from storage.tables.fleet import unreadable_record

_START_AT: Final = datetime(2026, 3, 1, tzinfo=UTC)
# A record that is none: nothing else uses the table where leases are tested.
_ROW = unreadable_record.c.position == literal_column("-1")
_INSERT = BulkInsert(unreadable_record, ("position", "headers", "reason", "seen_at"))
_ADVANCE = (
    update(unreadable_record)
    .where(_ROW)
    .values(seen_at=unreadable_record.c.seen_at + bindparam("passed_us"))
)


class ClockInDatabase:
    """`now` stands for the time in statements, until `advance` moves it."""

    now: Final[ColumnElement[int]] = (
        select(unreadable_record.c.seen_at).where(_ROW).scalar_subquery()
    )

    def __init__(self, database: Database) -> None:
        self._database = database

    async def start(self) -> None:
        def unit(transaction: Transaction) -> None:
            transaction.insert_many(
                _INSERT, [(-1, "", "the clock of a test", microseconds(_START_AT))]
            )

        await self._database.write(unit)

    async def advance(self, seconds: float) -> None:
        parameters = {"passed_us": round(seconds * 1_000_000)}
        await self._database.write(lambda transaction: transaction.execute(_ADVANCE, parameters))
