import asyncio
from pathlib import Path

from storage import open_database
from storage.database import BulkInsert, Transaction
from storage.tables.pipeline import set_aside

MEGABYTE = 1024 * 1024
COLUMNS = (
    "message_id",
    "position",
    "device_id",
    "organization_id",
    "application_id",
    "device_type",
    "received_at",
    "payload",
    "source_key",
    "reason",
    "error",
    "set_aside_at",
)


async def test_pages_reach_the_file_while_the_hub_runs_and_no_commit_moves_them(
    tmp_path: Path,
) -> None:
    path = tmp_path / "hub.db"
    database = open_database(f"sqlite:///{path}")
    await database.open()

    def fill(transaction: Transaction) -> None:
        row = (1, 1, 1, 1, "GENERIC_HTTP", 0, b"x" * 100_000, None, "test", "test", 0)
        rows = [(f"01a205e9-786f-7605-b118-{number:012x}", *row) for number in range(80)]
        transaction.insert_many(BulkInsert(set_aside, COLUMNS), rows)

    await database.write(fill)
    right_after = path.stat().st_size
    async with asyncio.timeout(10):
        # Another thread moves them: it can only be watched.
        while path.stat().st_size < 6 * MEGABYTE:  # noqa: ASYNC110
            await asyncio.sleep(0.05)
    await database.close()

    assert right_after < MEGABYTE
