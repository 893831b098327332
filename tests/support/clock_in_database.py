"""The database's clock in a test's hand: a row that says what time it is."""

from datetime import UTC, datetime
from typing import Final

from sqlalchemy import ColumnElement, bindparam, literal_column, select, update

from storage import Database
from storage.database import BulkInsert, Transaction
from storage.instants import microseconds
from storage.tables.fleet import journal_topic

_START_AT: Final = datetime(2026, 3, 1, tzinfo=UTC)
_ROW = journal_topic.c.name == literal_column("'clock'")
_INSERT = BulkInsert(journal_topic, ("name", "topic", "partitions", "registered_at"))
_ADVANCE = (
    update(journal_topic)
    .where(_ROW)
    .values(registered_at=journal_topic.c.registered_at + bindparam("passed_us"))
)


class ClockInDatabase:
    """`now` stands for the time in statements, until `advance` moves it."""

    now: Final[ColumnElement[int]] = (
        select(journal_topic.c.registered_at).where(_ROW).scalar_subquery()
    )

    def __init__(self, database: Database) -> None:
        self._database = database

    async def start(self) -> None:
        def unit(transaction: Transaction) -> None:
            transaction.insert_many(_INSERT, [("clock", "of a test", 1, microseconds(_START_AT))])

        await self._database.write(unit)

    async def advance(self, seconds: float) -> None:
        parameters = {"passed_us": round(seconds * 1_000_000)}
        await self._database.write(lambda transaction: transaction.execute(_ADVANCE, parameters))
