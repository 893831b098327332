"""The journal's partitions as operators see them, on every engine."""

from sqlalchemy import delete

from storage.cursor_claims import CursorClaims
from storage.database import Database, Transaction
from storage.journal import position_of
from storage.journal_overview import JournalOverview
from storage.tables.fleet import unreadable_record
from storage.tables.pipeline import journal_cursor


async def make_partitions(database: Database, offsets: dict[int, int]) -> None:
    def unit(transaction: Transaction) -> None:
        transaction.execute(delete(journal_cursor))
        for partition, offset in offsets.items():
            position = position_of(partition, offset)
            transaction.insert(journal_cursor, {"partition": partition, "position": position})

    await database.write(unit)


async def refuse(database: Database, *positions: int) -> None:
    def unit(transaction: Transaction) -> None:
        for position in positions:
            row = {"position": position, "headers": "{}", "reason": "strange", "seen_at": 0}
            transaction.insert(unreadable_record, row)

    await database.write(unit)


async def test_each_partition_is_shown_with_cursor_holder_lag_and_what_could_not_be_read(
    database: Database,
) -> None:
    await make_partitions(database, {0: 12, 1: 700, 2: 800})
    await CursorClaims(database, "worker-a").take([2])
    await refuse(database, position_of(2, 5), position_of(2, 6), position_of(1, 9))

    shown = await JournalOverview(database).to_json({0: 0, 2: 33})

    assert shown == [
        {"partition": 0, "cursor": 12, "lag": 0, "holder": None, "epoch": 0, "unreadable": 0},
        {"partition": 1, "cursor": 700, "lag": None, "holder": None, "epoch": 0, "unreadable": 1},
        {
            "partition": 2,
            "cursor": 800,
            "lag": 33,
            "holder": "worker-a",
            "epoch": 1,
            "unreadable": 2,
        },
    ]
