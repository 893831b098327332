"""The clock of the database, on every engine."""

import time

from sqlalchemy import insert, select, update

from storage.database import Database, Reader, Transaction
from storage.database_clock import database_now
from storage.tables.fleet import lease

SECOND_US = 1_000_000


async def test_clock_of_the_database_tells_microseconds_since_1970(database: Database) -> None:
    def read(reader: Reader) -> int:
        row = reader.fetch_one(select(database_now().label("now")))
        assert row is not None
        return int(row.now)

    before_us = time.time_ns() // 1000
    now_us = await database.read(read)
    after_us = time.time_ns() // 1000

    # The database of a test is on this machine; a millisecond is lost in rounding.
    assert before_us - 1000 <= now_us <= after_us + 1000


async def test_instants_can_be_counted_from_it_and_compared_with_it(database: Database) -> None:
    def write(transaction: Transaction) -> tuple[int, int]:
        later = database_now() + 60 * SECOND_US
        transaction.execute(insert(lease).values(expires_at=later), {"name": "a", "epoch": 1})
        expired = update(lease).where(lease.c.expires_at < database_now()).values(holder="x")
        waiting = update(lease).where(lease.c.expires_at > database_now()).values(holder="y")
        return transaction.execute(expired), transaction.execute(waiting)

    assert await database.write(write) == (0, 1)
