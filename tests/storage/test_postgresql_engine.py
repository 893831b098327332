"""What is PostgreSQL's own: the server, who may open a database on it, and how values get there."""

import asyncio
import contextlib
import threading
from collections.abc import AsyncIterator, Iterator, Sequence
from typing import Any
from uuid import UUID

import pytest
import uvloop
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import bindparam, delete, func, select, text

from protocols.errors import (
    Conflict,
    InvalidSettings,
    RowRefused,
    SchemaMismatch,
    StorageAway,
    StorageUnavailable,
)
from storage import Database, open_database
from storage.database import BulkInsert, BulkUpdate, Merge, Reader, Transaction
from storage.group_commit import TransactionSpoiled
from storage.migrations import head_revision
from storage.postgresql.address import DatabaseAddress
from storage.postgresql.readers import ReaderPool
from storage.tables.pipeline import journal, source_key
from storage.uplinks import UPLINK_COLUMNS
from tests.support.postgresql import PASSWORD, PostgresqlServer

TIMEOUT_S = 30
ID, OTHER_ID = (str(UUID(int=number)) for number in (1, 2))
COLUMNS = ("device_id", "key", "message_id", "seen_at")
KEYS = BulkInsert(source_key, COLUMNS)
MERGED = BulkInsert(source_key, COLUMNS, {"message_id": Merge.NEW, "seen_at": Merge.SUM})
MOVED = BulkUpdate(source_key, ("device_id", "key"), ("seen_at",))
COUNT = select(func.count().label("rows")).select_from(source_key)
ENTRIES = BulkInsert(journal, UPLINK_COLUMNS)
# Beyond where each way of writing many rows ends and the next begins.
SIZES = [1, 2, 30, 300]


@pytest.fixture
async def database(postgresql_url: str) -> AsyncIterator[Database]:
    opened = open_database(postgresql_url)
    await opened.open()
    yield opened
    await opened.close()


async def rows(database: Database) -> int:
    row = await database.read(lambda reader: reader.fetch_one(COUNT))
    assert row is not None
    return int(row.rows)


async def refusal(database: Database) -> str:
    """Why it cannot be opened; never with the password."""
    with pytest.raises((StorageUnavailable, SchemaMismatch)) as caught:
        await database.open()
    error: BaseException | None = caught.value
    while error is not None:
        assert PASSWORD not in str(error)
        error = error.__cause__
    return str(caught.value)


async def test_second_hub_on_the_same_database_is_refused_with_the_first_ones_process(
    database: Database, postgresql_url: str
) -> None:
    sentence = await refusal(open_database(postgresql_url))
    assert "Another hub (process" in sentence
    assert str(DatabaseAddress(postgresql_url)) in sentence


async def test_database_may_be_opened_again_when_the_first_hub_has_closed_it(
    database: Database, postgresql_url: str
) -> None:
    await database.close()
    again = open_database(postgresql_url)
    await again.open()
    await again.close()


async def test_processes_of_a_fleet_open_the_same_database_side_by_side(
    database: Database, postgresql_url: str
) -> None:
    others = [open_database(postgresql_url, is_shared=True) for _ in range(2)]
    for number, other in enumerate(others):
        await other.open()
        await other.write(lambda t, n=number: t.insert_many(KEYS, [(n, "k", ID, 1)]))  # type: ignore[misc]  # mypy knows no defaults of lambdas
    assert await rows(database) == 2
    for other in others:
        await other.close()


async def test_hub_that_lost_its_claim_to_another_writes_nothing_and_says_why(
    database: Database, postgresql_url: str, postgresql: PostgresqlServer
) -> None:
    end_sessions(postgresql, postgresql_url)
    second = open_database(postgresql_url)
    await second.open()
    writing = database.submit(lambda transaction: transaction.insert_many(KEYS, [(1, "k", ID, 1)]))
    async with asyncio.timeout(TIMEOUT_S):
        await outage_of(database)
        assert "Another hub" in (database.health().reason or "")
        assert await rows(second) == 0
        await second.close()
        await writing
    assert database.health().is_ok


async def test_claim_is_taken_again_after_the_connection_was_lost(
    database: Database, postgresql_url: str, postgresql: PostgresqlServer
) -> None:
    end_sessions(postgresql, postgresql_url)
    await database.write(lambda transaction: transaction.insert_many(KEYS, [(1, "k", ID, 1)]))
    assert "Another hub" in await refusal(open_database(postgresql_url))


async def test_wrong_password_is_told_without_repeating_it(postgresql: PostgresqlServer) -> None:
    url = postgresql.url("postgres", password=PASSWORD + "x")
    assert "refuses the password" in await refusal(open_database(url))


async def test_second_of_several_servers_is_found_by_writer_and_readers(
    postgresql: PostgresqlServer, postgresql_url: str
) -> None:
    here = f"127.0.0.1:{postgresql.port}"
    database = open_database(postgresql_url.replace(here, f"127.0.0.1:1,{here}"))
    await database.open()
    assert await rows(database) == 0
    await database.close()


async def test_database_that_does_not_exist_is_told(postgresql: PostgresqlServer) -> None:
    assert "no such database" in await refusal(open_database(postgresql.url("nowhere")))


async def test_server_that_may_come_back_is_told_from_one_that_a_person_has_to_mend(
    postgresql: PostgresqlServer,
) -> None:
    with pytest.raises(StorageAway):
        await open_database(postgresql.url("hub", port=1)).open()
    for url in (postgresql.url("nowhere"), postgresql.url("postgres", password=PASSWORD + "x")):
        with pytest.raises(StorageUnavailable) as caught:
            await open_database(url).open()
        assert not isinstance(caught.value, StorageAway)


async def test_server_that_is_away_is_told(postgresql: PostgresqlServer) -> None:
    sentence = await refusal(open_database(postgresql.url("hub", port=1)))
    assert "cannot be reached" in sentence
    assert "port 1" in sentence


async def test_server_without_a_connection_left_is_told(
    postgresql: PostgresqlServer, postgresql_url: str
) -> None:
    name = postgresql_url.rpartition("/")[2]
    with postgresql.administration() as cursor:
        cursor.execute(f"ALTER DATABASE {name} CONNECTION LIMIT 0")
    assert "no connection left" in await refusal(open_database(postgresql_url))


async def test_database_of_another_encoding_is_refused(postgresql: PostgresqlServer) -> None:
    with postgresql.administration() as cursor:
        cursor.execute("CREATE DATABASE latin ENCODING 'LATIN1' LOCALE 'C' TEMPLATE template0")
    assert "ENCODING 'UTF8'" in await refusal(open_database(postgresql.url("latin")))
    postgresql.drop_database("latin")


@pytest.mark.parametrize(
    "url", ["postgresql://", "postgresql://u:secret@h", "postgresql://u:se%ZZcret@h:1/d"]
)
def test_url_that_is_not_understood_is_not_repeated(url: str) -> None:
    with pytest.raises(InvalidSettings) as caught:
        open_database(url)
    assert "secret" not in str(caught.value)
    assert "percent-encoded" in str(caught.value)


def test_password_stands_in_no_description_of_an_address(postgresql: PostgresqlServer) -> None:
    address = DatabaseAddress(postgresql.url("hub"))
    assert PASSWORD not in f"{address} {address!r}"


def test_options_of_the_url_win_over_the_hubs_own() -> None:
    url = "postgresql://u@h/d?options=-c%20statement_timeout%3D7s&sslmode=require"
    parameters = DatabaseAddress(url).parameters()
    assert parameters["options"].endswith("-c statement_timeout=7s")
    assert parameters["sslmode"] == "require"


async def test_schema_of_a_newer_version_is_refused(
    database: Database, postgresql_url: str, postgresql: PostgresqlServer
) -> None:
    await database.close()
    with postgresql.administration(postgresql_url.rpartition("/")[2]) as cursor:
        cursor.execute("UPDATE alembic_version SET version_num = '9999'")
    assert "newer version" in await refusal(open_database(postgresql_url))


async def test_schema_that_is_behind_is_refused_where_migrating_is_not_allowed(
    postgresql: PostgresqlServer,
) -> None:
    name = postgresql.create_database(is_migrated=False)
    sentence = await refusal(open_database(postgresql.url(name), migrate=False))
    assert "tingbro migrate" in sentence
    postgresql.drop_database(name)


async def test_processes_that_migrate_at_once_do_it_once(postgresql: PostgresqlServer) -> None:
    name = postgresql.create_database(is_migrated=False)
    databases = [open_database(postgresql.url(name), is_shared=True) for _ in range(3)]
    async with asyncio.timeout(TIMEOUT_S):
        await asyncio.gather(*(one.open() for one in databases))
    for one in databases:
        await one.close()
    with postgresql.administration(name) as cursor:
        cursor.execute("SELECT version_num FROM alembic_version")
        assert cursor.fetchall() == [(head_revision(),)]
    postgresql.drop_database(name)


async def test_commit_waits_for_the_disk_also_where_the_server_would_not(
    postgresql: PostgresqlServer, postgresql_url: str
) -> None:
    name = postgresql_url.rpartition("/")[2]
    with postgresql.administration() as cursor:
        cursor.execute(f"ALTER DATABASE {name} SET synchronous_commit = off")
    database = open_database(postgresql_url)
    await database.open()
    shown = await database.write(lambda t: t.fetch_all(text("SHOW synchronous_commit")))
    await database.close()
    assert [row[0] for row in shown] == ["on"]


async def test_many_readers_share_few_connections(
    database: Database, postgresql: PostgresqlServer, postgresql_url: str
) -> None:
    await asyncio.gather(*(rows(database) for _ in range(60)))
    with postgresql.administration() as cursor:
        cursor.execute(
            "SELECT count(*) FROM pg_stat_activity WHERE datname = %s",
            (postgresql_url.rpartition("/")[2],),
        )
        assert cursor.fetchone()[0] <= 8


async def test_read_that_nobody_waits_for_any_more_ends_on_the_server_too(
    database: Database, postgresql: PostgresqlServer
) -> None:
    reading = asyncio.ensure_future(
        database.read(lambda reader: reader.fetch_one(text("SELECT pg_sleep(600)")))
    )
    with postgresql.administration() as cursor:
        await sleepers(cursor, 1)
        reading.cancel()
        with pytest.raises(asyncio.CancelledError):
            await reading
        await sleepers(cursor, 0)
    assert await rows(database) == 0


async def test_read_that_takes_too_long_is_an_outage_to_its_caller_only(
    database: Database, postgresql_url: str
) -> None:
    pool = ReaderPool(DatabaseAddress(postgresql_url), timeout_s=0.1)
    await pool.open()
    with pytest.raises(StorageUnavailable, match="took longer"):
        await pool.read(lambda reader: reader.fetch_one(text("SELECT pg_sleep(600)")))
    row = await pool.read(lambda reader: reader.fetch_one(COUNT))
    await pool.close()
    assert row is not None
    assert database.health().is_ok


async def test_statement_that_the_server_ends_is_no_cancellation_of_the_caller(
    postgresql_url: str,
) -> None:
    asyncio.get_running_loop().set_exception_handler(lambda _loop, _context: None)
    pool = ReaderPool(
        DatabaseAddress(f"{postgresql_url}?options=-c%20statement_timeout%3D100ms"), timeout_s=10
    )
    await pool.open()
    with pytest.raises(StorageUnavailable, match="ended the statement"):
        await pool.read(lambda reader: reader.fetch_one(text("SELECT pg_sleep(600)")))
    await pool.close()


async def test_error_of_a_read_unit_is_told_as_it_is_and_frees_its_connection(
    database: Database,
) -> None:
    def fail(reader: Reader) -> None:
        reader.fetch_one(COUNT)
        raise LookupError("the unit's own")

    for _ in range(20):
        with pytest.raises(LookupError, match="the unit's own"):
            await database.read(fail)
    assert await rows(database) == 0


def test_engine_runs_on_uvloop(postgresql_url: str) -> None:
    async def use() -> int:
        database = open_database(postgresql_url)
        await database.open()
        await database.write(lambda transaction: transaction.insert_many(KEYS, [(1, "k", ID, 1)]))
        counted = await asyncio.gather(*(rows(database) for _ in range(10)))
        await database.close()
        return sum(counted)

    assert uvloop.run(use()) == 10


async def test_unit_that_swallows_an_error_fails_alone_and_the_others_are_committed(
    database: Database,
) -> None:
    def swallow(transaction: Transaction) -> None:
        transaction.insert_many(KEYS, [(1, "k", ID, 1)])
        with contextlib.suppress(Conflict):
            transaction.insert_many(KEYS, [(1, "k", ID, 1)])

    entered, proceed = asyncio.Event(), threading.Event()
    loop = asyncio.get_running_loop()

    def hold(_: Transaction) -> None:
        loop.call_soon_threadsafe(entered.set)
        assert proceed.wait(10)

    holding = database.submit(hold)
    await entered.wait()
    spoiled = database.submit(swallow)
    good = database.submit(lambda transaction: transaction.insert_many(KEYS, [(2, "k", ID, 1)]))
    proceed.set()
    with pytest.raises(TransactionSpoiled):
        await spoiled
    await asyncio.gather(holding, good)
    with pytest.raises(TransactionSpoiled):
        await database.write(swallow)
    assert await rows(database) == 1


async def test_full_disk_keeps_the_group_back_until_there_is_room(
    database: Database, postgresql: PostgresqlServer, postgresql_url: str
) -> None:
    with postgresql.administration(postgresql_url.rpartition("/")[2]) as cursor:
        cursor.execute(_FULL_DISK)
        handed = [
            database.submit(lambda t, n=n: t.insert_many(KEYS, [(n, "k", ID, 1)]))  # type: ignore[misc]  # mypy knows no defaults of lambdas
            for n in range(3)
        ]
        async with asyncio.timeout(TIMEOUT_S):
            await outage_of(database)
            assert "disk is full" in (database.health().reason or "")
            assert not any(future.done() for future in handed)
            cursor.execute("DROP TRIGGER full_disk ON source_key")
            await asyncio.gather(*handed)
    assert database.health().is_ok
    assert await rows(database) == 3


@pytest.mark.parametrize("size", SIZES)
async def test_text_with_a_nul_is_refused_however_it_is_written(
    database: Database, size: int
) -> None:
    many = [(number, "k\x00", ID, 1) for number in range(size)]
    with pytest.raises(RowRefused, match="NUL"):
        await database.write(lambda transaction: transaction.insert_many(KEYS, many))
    with pytest.raises(RowRefused, match="NUL"):
        await database.write(lambda transaction: transaction.insert_many(MERGED, many))
    assert await rows(database) == 0


@pytest.mark.parametrize("size", SIZES)
async def test_refused_text_is_not_quoted_in_the_error(database: Database, size: int) -> None:
    many = [(number, "k", "no uuid", 1) for number in range(size)]
    with pytest.raises(RowRefused):
        await database.write(lambda transaction: transaction.insert_many(KEYS, many))


@pytest.mark.parametrize("size", SIZES)
async def test_units_of_one_group_merge_and_update_many_rows_without_mixing_them(
    database: Database, size: int
) -> None:
    def write(transaction: Transaction) -> list[int]:
        found: list[int] = []
        for message_id in (ID, OTHER_ID):
            many = [(number, "k", message_id, 1) for number in range(size)]
            transaction.insert_many(MERGED, many)
            with contextlib.suppress(LookupError), transaction.savepoint():
                transaction.insert_many(MERGED, many)
                raise LookupError
            found.append(
                transaction.update_many(MOVED, [(number, "k", 7) for number in range(1, size + 1)])
            )
        return found

    for _ in range(2):
        assert await database.write(write) == [size - 1, size - 1]
    found = await database.read(
        lambda reader: reader.fetch_all(select(source_key).order_by(source_key.c.device_id))
    )
    assert [row.message_id for row in found] == [OTHER_ID] * size
    assert [row.seen_at for row in found] == [4] + [7] * (size - 1)


@given(
    texts=st.lists(
        st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\x00")), max_size=20
    ),
    payload=st.binary(max_size=200),
    size=st.sampled_from(SIZES),
)
@settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
def test_texts_and_bytes_come_back_as_they_were_written_however_many_rows(
    wire: "Wire", texts: list[str], payload: bytes, size: int
) -> None:
    keys = [*texts, None, "\\N", "\\.", "a\tb\nc\rd\\"]
    written = [
        (ID, number, number, 1, 1, "T", 2**62, payload, keys[number % len(keys)])
        for number in range(1, size + 1)
    ]
    assert wire.through(written) == [(row[0], row[6], row[7], row[8]) for row in written]


class Wire:
    """A database on a loop of its own thread, for tests whose examples are plain functions."""

    def __init__(self, url: str) -> None:
        self._loop = asyncio.new_event_loop()
        self._database = open_database(url)
        self._loop.run_until_complete(self._database.open())

    def through(self, written: Sequence[tuple[object, ...]]) -> list[tuple[object, ...]]:
        return self._loop.run_until_complete(self._through(written))

    async def _through(self, written: Sequence[tuple[object, ...]]) -> list[tuple[object, ...]]:
        await self._database.write(lambda transaction: transaction.execute(delete(journal)))
        await self._database.write(lambda transaction: transaction.insert_many(ENTRIES, written))
        keys = {row[8] for row in written if row[8] is not None}
        found = await self._database.read(
            lambda reader: reader.fetch_all(
                select(journal)
                .where(journal.c.source_key.in_(bindparam("keys")) | journal.c.source_key.is_(None))
                .order_by(journal.c.position),
                {"keys": list(keys)},
            )
        )
        return [(row.message_id, row.received_at, row.payload, row.source_key) for row in found]

    def close(self) -> None:
        self._loop.run_until_complete(self._database.close())
        self._loop.close()


@pytest.fixture
def wire(postgresql_url: str) -> Iterator[Wire]:
    wire = Wire(postgresql_url)
    yield wire
    wire.close()


_FULL_DISK = """
    CREATE FUNCTION full_disk() RETURNS trigger LANGUAGE plpgsql AS $$
    BEGIN RAISE EXCEPTION 'could not extend file: No space left' USING ERRCODE = '53100'; END $$;
    CREATE TRIGGER full_disk BEFORE INSERT ON source_key FOR EACH ROW EXECUTE FUNCTION full_disk();
"""


def end_sessions(postgresql: PostgresqlServer, url: str) -> None:
    with postgresql.administration() as cursor:
        cursor.execute(
            "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity WHERE datname = %s",
            (url.rpartition("/")[2],),
        )


async def outage_of(database: Database) -> None:
    while database.health().is_ok:  # noqa: ASYNC110  # health is read, it announces nothing
        await asyncio.sleep(0.001)


async def sleepers(cursor: Any, count: int) -> None:
    """Wait until so many statements sleep on the server."""
    async with asyncio.timeout(TIMEOUT_S):
        while True:
            cursor.execute("SELECT count(*) FROM pg_stat_activity WHERE wait_event = 'PgSleep'")
            if cursor.fetchone()[0] == count:
                return
            await asyncio.sleep(0.02)
