"""How far the hub has got with its journal, partition by partition, as the database has it."""

from collections.abc import Mapping
from dataclasses import dataclass

from sqlalchemy import func, literal_column, select

from storage.database import Database, Reader
from storage.journal import offset_of
from storage.tables.fleet import unreadable_record
from storage.tables.pipeline import journal_cursor

_CURSORS = select(
    journal_cursor.c.partition,
    journal_cursor.c.position,
    journal_cursor.c.epoch,
    journal_cursor.c.holder,
).order_by(journal_cursor.c.partition)
# The same shift as `partition_of`; written out, since a parameter would not be the same expression
# to an engine that groups by it.
_PARTITION = unreadable_record.c.position.bitwise_rshift(literal_column("48"))
_UNREADABLE = select(_PARTITION.label("partition"), func.count().label("records")).group_by(
    _PARTITION
)


@dataclass(frozen=True, slots=True, kw_only=True)
class PartitionOverview:
    """One partition. `holder` is the process that settles it, under `epoch`; None when nobody does."""

    partition: int
    offset: int
    epoch: int
    holder: str | None
    unreadable: int

    def to_json(self, lag: int | None) -> dict[str, object]:
        """Return plain values, in the names of the API. `lag` is None where nobody knows it."""
        return {
            "partition": self.partition,
            "cursor": self.offset,
            "lag": lag,
            "holder": self.holder,
            "epoch": self.epoch,
            "unreadable": self.unreadable,
        }


class JournalOverview:
    """Reads it, from one snapshot."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def partitions(self) -> list[PartitionOverview]:
        """Return every partition that there is or has been, in order."""
        return await self._database.read(_read)

    async def to_json(self, lags: Mapping[int, int]) -> list[dict[str, object]]:
        """Return it in the names of the API, with what is known of each partition's lag."""
        return [each.to_json(lags.get(each.partition)) for each in await self.partitions()]


def _read(reader: Reader) -> list[PartitionOverview]:
    unreadable = {row.partition: row.records for row in reader.fetch_all(_UNREADABLE)}
    return [
        PartitionOverview(
            partition=row.partition,
            offset=offset_of(row.position),
            epoch=row.epoch,
            holder=row.holder,
            unreadable=unreadable.get(row.partition, 0),
        )
        for row in reader.fetch_all(_CURSORS)
    ]
