"""The clock that several processes share: the database's own.

The clocks of two machines differ, by minutes when nobody looks after them. What one process writes
for another to compare with the time, such as until when it holds a thing, is therefore measured by
one clock only, inside the statement itself.
"""

from typing import Any

from sqlalchemy import BigInteger, select
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.functions import FunctionElement

from storage.database import Database, Reader


class database_now(FunctionElement[int]):
    """The time in microseconds UTC when the statement runs, also late in a long transaction."""

    inherit_cache = True
    type = BigInteger()


@compiles(database_now, "sqlite")
def _on_sqlite(_element: database_now, _compiler: Any, **_options: Any) -> str:
    # A Julian day is exact to about 40 microseconds, and SQLite's clock to a millisecond.
    return "(CAST(ROUND((julianday('now') - 2440587.5) * 86400000.0) AS INTEGER) * 1000)"


@compiles(database_now, "postgresql")
def _on_postgresql(_element: database_now, _compiler: Any, **_options: Any) -> str:
    # now() stands still from the start of the transaction, which may have waited for a row.
    return "(CAST(EXTRACT(EPOCH FROM clock_timestamp()) * 1000000 AS BIGINT))"


_READ = select(database_now().label("now"))


async def read_database_clock(database: Database) -> int:
    """Return the time in microseconds UTC, as it was at some moment while this was awaited.

    Raises:
        StorageUnavailable: there is no telling.
    """

    def unit(reader: Reader) -> int:
        row = reader.fetch_one(_READ)
        assert row is not None, "a clock always tells"
        return int(row.now)

    return await database.read(unit)
