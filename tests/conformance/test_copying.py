"""A hub copied from any engine to any engine is the same hub."""

import asyncio
import uuid
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import ExitStack, asynccontextmanager, contextmanager
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Table, delete, insert, select

from protocols.errors import Conflict, NotFound, SchemaMismatch, StorageUnavailable
from storage import Database, open_database
from storage.copying import CopyReport, copy_database
from storage.copying.pages import PAGE_BYTES
from storage.database import Reader, Transaction
from storage.delivery.outbox import DeliveryState
from storage.ledger import Ledger
from storage.processes import ProcessIdentity, ProcessRegistry, ProcessRole
from storage.results import JobState
from storage.tables import load_tables
from storage.tables.entities import application, iot_device, organization
from storage.tables.fleet import journal_topic, lease, process
from storage.tables.pipeline import journal, journal_cursor, message
from tests.support.pipeline import job, outcome, pipeline_on, result, uplink
from tests.support.postgresql import PostgresqlServer

STAMPS = {"created_at": 1, "updated_at": 2}
# What a hub that runs writes about itself.
OF_PROCESSES = {"lease", "process", "process_order"}


@dataclass(frozen=True, slots=True)
class Pair:
    source: str
    target: str

    async def copy(self) -> CopyReport:
        async with asyncio.timeout(60):
            return await copy_database(self.source, self.target, lambda _table, _rows: None)


ENGINES = ("postgresql", "sqlite")


@pytest.fixture(params=sorted(product(ENGINES, repeat=2)), ids="-to-".join)
async def pair(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Pair]:
    """Two databases with the schema and nothing in them, of every two engines."""
    async with _pair_of(request.param, tmp_path, request) as made:
        yield made


@pytest.fixture
async def outgrown(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Pair]:
    """The same for what no engine makes a difference to: from SQLite to PostgreSQL."""
    async with _pair_of(("sqlite", "postgresql"), tmp_path, request) as made:
        yield made


@asynccontextmanager
async def _pair_of(
    engines: tuple[str, str], directory: Path, request: pytest.FixtureRequest
) -> AsyncIterator[Pair]:
    with ExitStack() as stack:
        urls = [
            stack.enter_context(_new_database(engine, directory / name, request))
            for name, engine in zip(("source", "target"), engines, strict=True)
        ]
        for url in urls:
            async with opened(url):
                pass
        yield Pair(*urls)


@contextmanager
def _new_database(engine: str, directory: Path, request: pytest.FixtureRequest) -> Iterator[str]:
    if engine == "sqlite":
        yield f"sqlite:///{directory}.db"
        return
    server: PostgresqlServer = request.getfixturevalue("postgresql")
    name = server.create_database()
    yield server.url(name)
    server.drop_database(name)


@asynccontextmanager
async def opened(url: str) -> AsyncIterator[Database]:
    database = open_database(url)
    await database.open()
    try:
        yield database
    finally:
        await database.close()


async def rows_of(url: str, table: Table) -> list[dict[str, Any]]:
    def read(reader: Reader) -> list[dict[str, Any]]:
        statement = select(table).order_by(*table.primary_key)
        return [plain(row._asdict()) for row in reader.fetch_all(statement)]

    async with opened(url) as database:
        return await database.read(read)


def plain(row: dict[str, Any]) -> dict[str, Any]:
    return {
        name: bytes(value) if isinstance(value, memoryview) else value
        for name, value in row.items()
    }


async def insert_rows(url: str, table: Table, *rows: dict[str, Any]) -> list[int]:
    def write(transaction: Transaction) -> list[int]:
        return [transaction.insert(table, row) for row in rows]

    async with opened(url) as database:
        return await database.write(write)


async def fill_pipeline(url: str) -> None:
    """A hub in the middle of its work: backlog, deferred jobs, waiting and failed deliveries, keys."""
    async with opened(url) as database, pipeline_on(database) as pipeline:
        entries = await pipeline.accept(
            *(uplink(device_id, source_key=f"k{n}") for n in range(8) for device_id in (1, 2, 3))
        )
        done, deferred, failed, _left = entries[:6], entries[6:9], entries[9:12], entries[12:]
        await pipeline.commit(
            *(result(entry, device_state=b"\x00\xffstate") for entry in done),
            *(result(entry, job(JobState.DEFERRED)) for entry in deferred),
            *(result(entry, job(JobState.FAILED, error="It threw.")) for entry in failed),
        )
        waiting = await pipeline.waiting()
        await pipeline.outbox.record(
            [
                outcome(waiting[0]),
                outcome(waiting[1], DeliveryState.RETRYING, retry_in_s=60),
            ]
        )
        balance = await pipeline.balance()
        assert (balance.jobs.pending, balance.jobs.deferred) == (12, 3)


async def fill_entities(url: str) -> None:
    async with opened(url) as database:

        def write(transaction: Transaction) -> None:
            city = transaction.insert(
                organization, {"name": "Århus", "open_data_dk_registered": True, **STAMPS}
            )
            app = transaction.insert(
                application,
                {"organization_id": city, "name": "Air", "personal_data": False, **STAMPS},
            )
            for _ in range(3):
                transaction.insert(iot_device, device(app) | {"longitude": 10.25})
            transaction.execute(delete(iot_device).where(iot_device.c.id == 3))

        await database.write(write)


def device(application_id: int) -> dict[str, Any]:
    key = str(uuid.uuid4())
    return {
        "application_id": application_id,
        "type": "GENERIC_HTTP",
        "name": key,
        "api_key": key,
        **STAMPS,
    }


async def test_every_row_of_a_hub_at_work_arrives_as_it_was(pair: Pair) -> None:
    await fill_entities(pair.source)
    await fill_pipeline(pair.source)
    report = await pair.copy()
    for table in load_tables().sorted_tables:
        if table.name in OF_PROCESSES or table is journal_cursor:
            continue
        rows = await rows_of(pair.source, table)
        assert same(await rows_of(pair.target, table)) == same(rows), table.name
        assert report.rows[table.name] == len(rows), table.name
    assert report.mended_texts == 0


def same(rows: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """SQLite has 0 and 1 for booleans, which are equal to them."""
    return sorted(rows, key=str)


async def test_books_of_the_copy_balance_and_agree_with_its_rows(pair: Pair) -> None:
    await fill_pipeline(pair.source)
    await pair.copy()
    async with opened(pair.target) as target, opened(pair.source) as source:
        assert await Ledger(target).balance() == await Ledger(source).balance()
        assert await Ledger(target).audit() == []


async def test_copy_goes_on_where_the_journal_stood_and_gives_no_position_again(
    pair: Pair,
) -> None:
    await fill_pipeline(pair.source)
    await pair.copy()
    (before,) = await rows_of(pair.source, journal_cursor)
    (after,) = await rows_of(pair.target, journal_cursor)
    assert {name: after[name] for name in ("position", "tail", "epoch")} == {
        name: before[name] for name in ("position", "tail", "epoch")
    }
    assert (after["holder"], after["starts"]) == (None, 0)
    last = max(row["position"] for row in await rows_of(pair.target, journal))
    async with opened(pair.target) as database, pipeline_on(database) as pipeline:
        appended = await pipeline.journal.append(uplink(9))
    assert appended.position is not None
    assert appended.position > last


async def test_repetition_of_a_message_that_the_source_took_is_recognised(outgrown: Pair) -> None:
    await fill_pipeline(outgrown.source)
    await outgrown.copy()
    async with opened(outgrown.target) as database, pipeline_on(database) as pipeline:
        appended = await pipeline.journal.append(uplink(1, source_key="k7"))
    assert appended.is_duplicate


async def test_id_of_a_row_that_was_deleted_in_the_source_is_not_given_again(pair: Pair) -> None:
    await fill_entities(pair.source)
    await pair.copy()
    (app,) = await rows_of(pair.target, application)
    assert await insert_rows(pair.target, iot_device, device(app["id"])) == [4]


async def test_table_emptied_in_the_source_goes_on_counting_in_the_copy(pair: Pair) -> None:
    await fill_entities(pair.source)
    async with opened(pair.source) as database:
        await database.write(lambda transaction: transaction.execute(delete(organization)))
    await pair.copy()
    again = {"name": "Aarhus", "open_data_dk_registered": False, **STAMPS}
    assert await insert_rows(pair.target, organization, again) == [2]


async def test_large_rows_and_many_rows_arrive_whole(pair: Pair) -> None:
    """More rows than a page has, and rows of which two do not fit into one."""
    count, large = 2_300, PAGE_BYTES // 2 + 1
    async with opened(pair.source) as database, pipeline_on(database) as pipeline:
        await asyncio.gather(*(pipeline.journal.append(uplink(n)) for n in range(count)))
        for number in range(3):
            await pipeline.journal.append(uplink(number, payload=bytes([number]) * large))
    report = await pair.copy()
    assert report.rows["journal"] == count + 3
    rows = await rows_of(pair.target, journal)
    assert [row["position"] for row in rows] == list(range(1, count + 4))
    assert [row["payload"] for row in rows[-3:]] == [bytes([n]) * large for n in range(3)]


async def test_row_larger_than_a_page_arrives(outgrown: Pair) -> None:
    async with opened(outgrown.source) as database, pipeline_on(database) as pipeline:
        for _ in range(2):
            await pipeline.journal.append(uplink(payload=b"x" * (PAGE_BYTES + 1)))
    assert (await outgrown.copy()).rows["journal"] == 2


async def test_target_that_holds_anything_is_refused_and_left_as_it_is(outgrown: Pair) -> None:
    await fill_pipeline(outgrown.source)
    await fill_entities(outgrown.target)
    with pytest.raises(Conflict, match="is not empty"):
        await outgrown.copy()
    assert await rows_of(outgrown.target, message) == []


async def test_second_copy_into_the_same_target_is_refused(outgrown: Pair) -> None:
    await fill_pipeline(outgrown.source)
    await outgrown.copy()
    with pytest.raises(Conflict, match="is not empty"):
        await outgrown.copy()


async def test_target_without_the_schema_is_refused_with_what_to_do(
    outgrown: Pair, tmp_path: Path
) -> None:
    empty = tmp_path / "empty.db"
    empty.touch()
    with pytest.raises(SchemaMismatch, match=r"empty\.db: .*tingbro migrate"):
        await copy_database(outgrown.source, f"sqlite:///{empty}", lambda _table, _rows: None)


async def test_source_that_is_not_there_is_not_made(outgrown: Pair, tmp_path: Path) -> None:
    with pytest.raises(NotFound, match=r"none\.db"):
        await copy_database(
            f"sqlite:///{tmp_path / 'none.db'}", outgrown.target, lambda _t, _r: None
        )
    assert not (tmp_path / "none.db").exists()


async def test_database_is_not_copied_into_itself(outgrown: Pair) -> None:
    with pytest.raises(Conflict, match="the same database"):
        await copy_database(outgrown.source, outgrown.source, lambda _table, _rows: None)


@pytest.mark.parametrize("end", ["source", "target"])
async def test_database_of_a_running_hub_is_refused(pair: Pair, end: str) -> None:
    async with opened(getattr(pair, end)):
        with pytest.raises(StorageUnavailable):
            await pair.copy()


async def test_source_that_processes_of_a_fleet_work_on_is_refused(pair: Pair) -> None:
    identity = ProcessIdentity.of_this_process(ProcessRole.WORKER, version="1")
    async with opened(pair.source) as database:
        registry = ProcessRegistry(database, identity)
        await registry.beat(is_well=True, cause=None, reason="well")
    with pytest.raises(StorageUnavailable, match=f"worker on {identity.host}"):
        await pair.copy()
    async with opened(pair.source) as database:
        await ProcessRegistry(database, identity).leave()
    await pair.copy()


async def test_leases_and_processes_stay_behind(outgrown: Pair) -> None:
    held = {"name": "target/1", "holder": "w", "epoch": 3}
    async with opened(outgrown.source) as database:
        await database.write(lambda transaction: transaction.execute(insert(lease), held))
    await outgrown.copy()
    assert await rows_of(outgrown.target, lease) == []
    assert await rows_of(outgrown.target, process) == []


async def test_nul_within_a_text_does_not_stop_a_copy_and_is_told(pair: Pair) -> None:
    if not pair.source.startswith("sqlite"):
        with pytest.raises(Exception, match="NUL"):
            await insert_rows(pair.source, organization, named("a\x00b"))
        return
    await insert_rows(pair.source, organization, named("a\x00b"))
    report = await pair.copy()
    assert report.mended_texts == 1
    (row,) = await rows_of(pair.target, organization)
    assert row["name"] == "a\ufffdb"


def named(name: str) -> dict[str, Any]:
    return {"name": name, "open_data_dk_registered": False, **STAMPS}


async def test_hub_whose_journal_is_in_kafka_is_not_copied_to_sqlite(pair: Pair) -> None:
    topic = {
        "name": "journal",
        "topic": "uplink.raw",
        "topic_id": "t",
        "cluster_id": "c",
        "partitions": 12,
        "first_partition": 1,
        "registered_at": 1,
    }
    async with opened(pair.source) as database:
        await database.write(lambda transaction: transaction.execute(insert(journal_topic), topic))
    if pair.target.startswith("sqlite"):
        with pytest.raises(Conflict, match="would stay behind"):
            await pair.copy()
        assert await rows_of(pair.target, journal_topic) == []
    else:
        assert (await pair.copy()).rows["journal_topic"] == 1


async def test_reader_that_fails_in_the_middle_leaves_the_target_empty(
    pair: Pair, monkeypatch: pytest.MonkeyPatch
) -> None:
    await fill_entities(pair.source)
    await fill_pipeline(pair.source)
    monkeypatch.setattr("storage.copying.stream.TablePages", _FailingAtMessages)
    with pytest.raises(StorageUnavailable, match=r"as empty as before\. The cable is out"):
        await pair.copy()
    monkeypatch.undo()
    for table in (organization, message, journal):
        assert await rows_of(pair.target, table) == []
    await pair.copy()


class _FailingAtMessages:
    """Stands in for the pages of a source whose connection ends at one table."""

    def __init__(self, table: Any) -> None:
        from storage.copying.pages import TablePages

        self._pages = TablePages(table)
        self._fails = table.name == "message"

    def read(self, reader: Reader) -> Any:
        if self._fails:
            raise StorageUnavailable("The cable is out.")
        return self._pages.read(reader)
