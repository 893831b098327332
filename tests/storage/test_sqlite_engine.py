"""What is SQLite's own: the file, who may open it, and what happens when the disk fails."""

import asyncio
import os
import sqlite3
from collections.abc import AsyncIterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import func, select, text

from protocols.errors import InvalidSettings, SchemaMismatch, StorageUnavailable
from storage import Database, open_database
from storage.database import BulkInsert, Reader, Transaction
from storage.sqlite.transaction import SqliteTransaction
from storage.tables.pipeline import source_key

_INSERT = BulkInsert(source_key, ("device_id", "key", "message_id", "seen_at"))
_COUNT = select(func.count().label("rows")).select_from(source_key)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "hub.db"


@pytest.fixture
async def database(path: Path) -> AsyncIterator[Database]:
    opened = open_database(f"sqlite:///{path}")
    await opened.open()
    yield opened
    await opened.close()


async def rows(database: Database) -> int:
    row = await database.read(lambda reader: reader.fetch_one(_COUNT))
    assert row is not None
    return int(row.rows)


async def refusal(database: Database) -> str:
    with pytest.raises((StorageUnavailable, SchemaMismatch)) as caught:
        await database.open()
    return str(caught.value)


async def test_second_hub_on_the_same_file_is_refused_with_the_first_ones_process(
    database: Database, path: Path
) -> None:
    sentence = await refusal(open_database(f"sqlite:///{path}"))
    assert "Another hub" in sentence
    assert str(path) in sentence


async def test_file_may_be_opened_again_when_the_first_hub_has_closed_it(
    database: Database, path: Path
) -> None:
    await database.close()
    again = open_database(f"sqlite:///{path}")
    await again.open()
    await again.close()


async def test_command_of_an_operator_may_write_beside_a_running_hub(
    database: Database, path: Path
) -> None:
    command = open_database(f"sqlite:///{path}", is_shared=True)
    await command.open()
    await command.write(lambda transaction: transaction.insert_many(_INSERT, [(1, "k", "m", 1)]))
    await command.close()
    assert await rows(database) == 1


async def test_every_commit_is_synced_to_a_write_ahead_log(database: Database) -> None:
    def pragmas(transaction: Transaction) -> list[Any]:
        assert isinstance(transaction, SqliteTransaction)
        return [
            transaction._connection.execute(f"PRAGMA {name}").fetchone()[0]
            for name in ("journal_mode", "synchronous", "foreign_keys")
        ]

    assert await database.write(pragmas) == ["wal", 2, 1]


async def test_file_that_is_no_database_is_refused_with_a_sentence(path: Path) -> None:
    write_letter(path)
    assert "is not a database" in await refusal(open_database(f"sqlite:///{path}"))


async def test_damaged_database_is_refused_with_a_sentence(database: Database, path: Path) -> None:
    await database.close()
    damage(path)
    assert "damaged" in await refusal(open_database(f"sqlite:///{path}"))


async def test_directory_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    sentence = await refusal(open_database(f"sqlite:///{tmp_path / 'file' / 'hub.db'}"))
    assert str(tmp_path / "file") in sentence


async def test_refused_opening_leaves_nothing_claimed(path: Path) -> None:
    write_letter(path)
    await refusal(open_database(f"sqlite:///{path}"))
    os.unlink(path)
    database = open_database(f"sqlite:///{path}")
    await database.open()
    await database.close()


async def test_schema_of_a_newer_version_is_refused(database: Database, path: Path) -> None:
    await database.close()
    set_revision(path, "9999")
    assert "newer version" in await refusal(open_database(f"sqlite:///{path}"))


async def test_schema_that_is_behind_is_refused_where_migrating_is_not_allowed(path: Path) -> None:
    sentence = await refusal(open_database(f"sqlite:///{path}", migrate=False))
    assert "tingbro migrate" in sentence


@pytest.mark.parametrize("url", ["", "sqlite://", "sqlite:///", "oracle://db", "hub.db"])
def test_url_that_no_engine_knows_is_a_mistake_in_the_settings(url: str) -> None:
    with pytest.raises(InvalidSettings):
        open_database(url)


async def test_full_disk_keeps_the_group_back_until_there_is_room(database: Database) -> None:
    fault = FullDisk()
    await database.write(fault.fill)
    handed = [database.submit(lambda transaction, n=n: add_big(transaction, n)) for n in range(3)]  # type: ignore[misc]  # mypy knows no defaults of lambdas
    await outage_of(database)
    assert "disk is full" in (database.health().reason or "")
    assert not any(future.done() for future in handed)
    fault.make_room()
    await asyncio.gather(*handed)
    assert database.health().is_ok
    assert await rows(database) == 3


async def test_unit_that_swallows_the_outage_is_not_committed_by_half(database: Database) -> None:
    fault = FullDisk()
    await database.write(fault.fill)

    def swallow(transaction: Transaction) -> str:
        transaction.insert_many(_INSERT, [(1, "k", "m", 1)])
        try:
            add_big(transaction, 2)
        except StorageUnavailable:
            return "swallowed"
        return "whole"

    handed = database.submit(swallow)
    await outage_of(database)
    fault.make_room()
    assert await handed == "whole"
    assert await rows(database) == 2


async def test_closing_during_an_outage_says_so_to_those_who_wait(database: Database) -> None:
    await database.write(FullDisk().fill)
    handed = database.submit(lambda transaction: add_big(transaction, 1))
    await outage_of(database)
    await database.close()
    with pytest.raises(StorageUnavailable, match="full"):
        await handed


async def test_unit_that_meddles_with_the_transaction_fails_alone_and_the_next_is_committed(
    database: Database,
) -> None:
    def meddle(transaction: Transaction) -> None:
        transaction.execute(text("COMMIT"))

    async with asyncio.timeout(5):
        with pytest.raises(sqlite3.OperationalError):
            await database.write(meddle)
        await database.write(
            lambda transaction: transaction.insert_many(_INSERT, [(1, "k", "m", 1)])
        )

    assert await rows(database) == 1


async def test_error_of_a_read_whose_snapshot_is_gone_is_told_as_it_is(database: Database) -> None:
    def fail(reader: Reader) -> None:
        reader.fetch_all(text("ROLLBACK"))
        raise LookupError("the unit's own")

    with pytest.raises(LookupError, match="the unit's own"):
        await database.read(fail)


async def outage_of(database: Database) -> None:
    while database.health().is_ok:  # noqa: ASYNC110  # health is read, it announces nothing
        await asyncio.sleep(0.001)


def write_letter(path: Path) -> None:
    path.write_bytes(b"this is a letter, not a database" * 100)


def damage(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[100:4096] = bytes(4096 - 100)
    path.write_bytes(content)


class FullDisk:
    """Lets the file grow no further."""

    def fill(self, transaction: Transaction) -> None:
        assert isinstance(transaction, SqliteTransaction)
        self._connection = transaction._connection
        pages = self._connection.execute("PRAGMA page_count").fetchone()[0]
        self._connection.execute(f"PRAGMA max_page_count = {pages}").fetchall()

    def make_room(self) -> None:
        self._connection.execute("PRAGMA max_page_count = 100000").fetchall()


def add_big(transaction: Transaction, number: int) -> None:
    transaction.insert_many(_INSERT, [(number, "k" * 200_000, "m", 1)])


def set_revision(path: Path, revision: str) -> None:
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("UPDATE alembic_version SET version_num = ?", (revision,))
        connection.commit()
