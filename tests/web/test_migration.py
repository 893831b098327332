"""`tingbro migrate` and `tingbro journal`, on the engines that a fleet has."""

import asyncio
import subprocess
import sys
import uuid
from collections import defaultdict
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from sqlalchemy import select

from protocols.errors import Conflict, InvalidSettings, JournalMismatch, StorageUnavailable
from protocols.messages import Uplink
from storage import Database, open_database
from storage.journal import JournalEntry, partition_of
from storage.journal_handover import entries_left
from storage.kafka import KafkaReader
from storage.ledger import Ledger
from storage.results import ResultStore
from storage.tables.pipeline import message
from tests.support.hub_process import ROOT, free_port
from tests.support.kafka import KafkaBroker
from tests.support.kafka_journal import delete_topic
from tests.support.pipeline import RecordingListener, pipeline_on, result, running, uplink
from tests.support.postgresql import PostgresqlServer
from web import migration
from web.assembly import kafka_of
from web.check import Finding, Verdict, check
from web.journal_inspection import accept, show
from web.migration import migrate
from web.settings import Settings, read_settings

DEVICES, ROUNDS = 4, 5


@pytest.fixture
def settings(
    postgresql: PostgresqlServer, kafka_broker: KafkaBroker, tmp_path: Path
) -> Iterator[Settings]:
    """A fleet's settings, with an empty database and topics that are not there yet."""
    name = postgresql.create_database(is_migrated=False)
    yield fleet_settings(postgresql.url(name), kafka_broker, tmp_path)
    postgresql.drop_database(name)


def fleet_settings(database_url: str, broker: KafkaBroker, data_dir: Path) -> Settings:
    return read_settings(
        {
            "TINGBRO_DATA_DIR": str(data_dir),
            "TINGBRO_DATABASE_URL": database_url,
            "TINGBRO_KAFKA_BOOTSTRAP_SERVERS": broker.bootstrap_servers,
            "TINGBRO_KAFKA_PARTITIONS": "3",
            "TINGBRO_KAFKA_TOPIC_PREFIX": f"{uuid.uuid4().hex[:8]}.",
        }
    )


@asynccontextmanager
async def opened(settings: Settings) -> AsyncIterator[Database]:
    database = open_database(settings.storage.database_url)
    await database.open()
    try:
        yield database
    finally:
        await database.close()


async def leave_a_backlog(settings: Settings) -> list[Uplink]:
    """What a hub without Kafka accepted and did not finish."""
    taken = [uplink(device_id) for _ in range(ROUNDS) for device_id in range(DEVICES)]
    async with opened(settings) as database, pipeline_on(database) as pipeline:
        await pipeline.accept(*taken)
    return taken


async def work_off(settings: Settings) -> dict[int, list[str]]:
    """Settle what the topic holds, as a worker does; return message ids by device, in order."""
    assert settings.kafka is not None
    async with opened(settings) as database:
        listener, is_complete = RecordingListener(), asyncio.Event()

        def note(entries: list[JournalEntry]) -> None:
            listener.entries.extend(entries)
            if len(listener.entries) >= DEVICES * ROUNDS:
                is_complete.set()

        listener.on_appended = note
        reader = KafkaReader(database, kafka_of(settings.kafka), holder="worker")
        async with running(reader, listener), asyncio.timeout(30):
            await is_complete.wait()
            results = ResultStore(database, reader)
            for entry in listener.entries:
                cursors = {partition_of(entry.position): entry.position}
                await results.commit([result(entry)], cursors=cursors)
        (balance,) = await Ledger(database).balance([1])
        assert (balance.imbalance, balance.jobs.decoded) == (0, DEVICES * ROUNDS)
        assert await Ledger(database).audit() == []
        by_device: dict[int, list[str]] = defaultdict(list)
        statement = select(message).order_by(message.c.position)
        for row in await database.read(lambda reader: reader.fetch_all(statement)):
            by_device[row.device_id].append(row.message_id)
    return dict(by_device)


def in_order(uplinks: list[Uplink]) -> dict[int, list[str]]:
    by_device: dict[int, list[str]] = defaultdict(list)
    for one in uplinks:
        by_device[one.device_id].append(one.message_id)
    return dict(by_device)


async def test_schema_and_topics_are_made_and_found_done_the_second_time(
    settings: Settings,
) -> None:
    first = await migrate(settings)
    assert settings.kafka is not None
    assert [
        f"{settings.kafka.topic_prefix}uplink.raw with 3 partitions" in line for line in first
    ] == [
        False,
        True,
    ]
    assert await migrate(settings) == first
    is_well, lines = await show(settings)
    assert is_well
    assert "3 registered, 3 in Kafka" in "\n".join(lines)


async def test_migrations_at_once_do_it_once_between_them(settings: Settings) -> None:
    first, second = await asyncio.gather(migrate(settings), migrate(settings))
    assert first == second


async def test_what_a_hub_without_kafka_accepted_is_finished_by_a_worker(
    settings: Settings,
) -> None:
    taken = await leave_a_backlog(settings)
    sentences = await migrate(settings)
    assert f"{len(taken)} messages that were accepted before went over to Kafka." in sentences
    assert await work_off(settings) == in_order(taken)
    assert len(await migrate(settings)) == len(sentences) - 1


async def test_backlog_goes_over_once_when_two_migrate_at_once(settings: Settings) -> None:
    taken = await leave_a_backlog(settings)
    outcomes = await asyncio.gather(migrate(settings), migrate(settings))
    told = [line for lines in outcomes for line in lines if "went over" in line]
    assert told == [f"{len(taken)} messages that were accepted before went over to Kafka."]
    assert await work_off(settings) == in_order(taken)


async def test_backlog_of_a_hub_that_still_runs_is_left_to_it(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(migration, "_PATIENCE_S", 0.0)
    async with opened(settings) as database, pipeline_on(database) as pipeline:
        await pipeline.accept(uplink())
        with pytest.raises(StorageUnavailable, match="Another hub"):
            await migrate(settings)
        assert await entries_left(database) == 1
        await pipeline.commit(*(result(entry) for entry in pipeline.entries))


@pytest.mark.parametrize("role", ["web", "worker"])
async def test_fleet_does_not_start_over_messages_that_it_would_never_look_at(
    settings: Settings, role: str
) -> None:
    await leave_a_backlog(settings)
    assert settings.kafka is not None
    outcome = await asyncio.to_thread(
        subprocess.run,
        [sys.executable, "-m", "web", role],
        cwd=ROOT,
        env={
            "TINGBRO_DATABASE_URL": settings.storage.database_url,
            "TINGBRO_KAFKA_BOOTSTRAP_SERVERS": settings.kafka.bootstrap_servers[0],
            "TINGBRO_SECRET_KEY": "k" * 32,
            "TINGBRO_HTTP_HOST": "127.0.0.1",
            "TINGBRO_HTTP_PORT": str(free_port()),
        },
        capture_output=True,
        text=True,
        timeout=30,
    )
    assert outcome.returncode == 1
    assert f"{DEVICES * ROUNDS} messages" in outcome.stderr
    assert "`tingbro migrate`" in outcome.stderr


async def test_changed_partitions_in_the_settings_do_not_change_the_topic_in_silence(
    settings: Settings,
) -> None:
    await migrate(settings)
    assert settings.kafka is not None
    changed = read_settings(
        {
            "TINGBRO_DATABASE_URL": settings.storage.database_url,
            "TINGBRO_KAFKA_BOOTSTRAP_SERVERS": settings.kafka.bootstrap_servers[0],
            "TINGBRO_KAFKA_TOPIC_PREFIX": settings.kafka.topic_prefix,
            "TINGBRO_KAFKA_PARTITIONS": "6",
        }
    )
    assert "3 partitions, as it was registered first" in (await migrate(changed))[1]


async def test_topic_that_is_gone_is_shown_and_made_anew_only_when_asked(
    settings: Settings,
) -> None:
    await migrate(settings)
    assert settings.kafka is not None
    await delete_topic(kafka_of(settings.kafka))
    is_well, lines = await show(settings)
    assert not is_well
    assert "--recreate" in lines[-1]
    with pytest.raises(JournalMismatch):
        await migrate(settings)
    with pytest.raises(Conflict):
        await accept(settings, recreate=False)
    is_well, lines = await accept(settings, recreate=True)
    assert is_well
    assert "there is nothing to accept" in lines[-1]
    await migrate(settings)


async def test_check_says_whether_the_topic_is_there_and_agrees(settings: Settings) -> None:
    def look() -> Finding:
        return next(one for one in check(settings) if one.subject == "Kafka")

    assert (await asyncio.to_thread(look)).verdict is Verdict.MISSING
    await migrate(settings)
    assert (await asyncio.to_thread(look)).verdict is Verdict.GOOD
    assert settings.kafka is not None
    await delete_topic(kafka_of(settings.kafka))
    finding = await asyncio.to_thread(look)
    assert finding.verdict is Verdict.MISSING
    assert "tingbro journal accept" in finding.sentence


async def test_check_names_a_broker_that_is_away(settings: Settings) -> None:
    away = read_settings(
        {
            "TINGBRO_DATA_DIR": str(settings.data_dir),
            "TINGBRO_DATABASE_URL": settings.storage.database_url,
            "TINGBRO_KAFKA_BOOTSTRAP_SERVERS": f"127.0.0.1:{free_port()}",
        }
    )
    findings = await asyncio.to_thread(check, away)
    (finding,) = [one for one in findings if one.subject == "Kafka"]
    assert finding.verdict is Verdict.MISSING


async def test_hub_without_kafka_has_no_topic_to_show() -> None:
    with pytest.raises(InvalidSettings, match="KAFKA_BOOTSTRAP_SERVERS must be set"):
        await show(read_settings({}))
