"""What one reader does with records that nobody has written, and with more than it may hold."""

import asyncio

import pytest
from sqlalchemy import select
from structlog.testing import capture_logs

from protocols.errors import ConnectionLost, StorageUnavailable
from storage import Database
from storage.journal import JournalEntry, partition_of
from storage.kafka import KafkaAppender, KafkaReader, KafkaSettings, make_topics
from storage.kafka.events import JOURNAL_RECORD_UNREADABLE
from storage.kafka.records import kafka_partition_of, key_of, record_of
from storage.results import ResultStore
from storage.tables.fleet import unreadable_record
from tests.support.hearing import Hearing
from tests.support.kafka import KafkaBroker
from tests.support.kafka_journal import administration, kafka_settings, produce
from tests.support.pipeline import result, running, uplink

PATIENCE_S = 30.0


async def kept_aside(database: Database) -> list[tuple[int, bytes | None, bytes | None, str]]:
    statement = select(unreadable_record).order_by(unreadable_record.c.position)
    rows = await database.read(lambda reader: reader.fetch_all(statement))
    return [(row.position, row.key, row.value, row.reason) for row in rows]


async def settle(database: Database, reader: KafkaReader, entries: list[JournalEntry]) -> None:
    cursors: dict[int, int] = {}
    for entry in entries:
        cursors[partition_of(entry.position)] = entry.position
    results = [result(entry) for entry in entries]
    await ResultStore(database, reader).commit(results, cursors=cursors)


async def test_poisoned_records_are_kept_told_once_and_passed_over(
    settings: KafkaSettings, database: Database, appender: KafkaAppender
) -> None:
    device_id = next(number for number in range(99) if _partition(number) == 0)
    good = record_of(uplink(device_id))
    elsewhere = record_of(uplink(next(number for number in range(99) if _partition(number) == 1)))
    await appender.append(uplink(device_id))
    await produce(
        settings,
        0,
        (b"not a device", b"{}", []),
        (None, b"\x00\xff", [("message-id", b"\x00\xff")]),
        (good.key, None, good.headers),
        (elsewhere.key, elsewhere.value, elsewhere.headers),
    )
    await appender.append(uplink(device_id))
    with capture_logs() as logs:
        for _ in range(2):
            reader, listener = KafkaReader(database, settings, holder="worker"), Hearing()
            async with running(reader, listener):
                first, second = await listener.hears(2)
                assert second.position - first.position == 5
                aside = await kept_aside(database)
    between = list(range(first.position + 1, second.position))
    assert [position for position, *_ in aside] == between
    assert aside[0][1:3] == (b"not a device", b"{}")
    assert aside[3][1:3] == (elsewhere.key, elsewhere.value)
    assert "not in the partition of its key" in aside[3][3]
    told = [entry["position"] for entry in logs if entry["event"] == JOURNAL_RECORD_UNREADABLE]
    assert told == between


async def test_lag_falls_to_zero_though_the_last_record_is_unreadable(
    settings: KafkaSettings, database: Database, appender: KafkaAppender
) -> None:
    await appender.append(uplink(1))
    await produce(settings, _partition(1), (b"x", b"{}", []))
    reader, listener = KafkaReader(database, settings, holder="worker"), Hearing()
    async with running(reader, listener):
        await settle(database, reader, await listener.hears(1))
        async with asyncio.timeout(PATIENCE_S):
            while sum(one.lag for one in reader.status()):  # noqa: ASYNC110  # nothing tells
                await asyncio.sleep(0.02)


async def test_partitions_are_paused_while_much_is_held_and_go_on_when_it_is_settled(
    settings: KafkaSettings, database: Database, appender: KafkaAppender
) -> None:
    few = KafkaSettings(
        bootstrap_servers=settings.bootstrap_servers,
        raw_topic=settings.raw_topic,
        group=settings.group,
        held_entries=30,
    )
    # One fetch brings a MiB of each partition: what is beyond that waits in Kafka.
    payload = b'"' + b"x" * 40_000 + b'"'
    await asyncio.gather(
        *(appender.append(uplink(number % 12, payload=payload)) for number in range(600))
    )
    reader, listener = KafkaReader(database, few, holder="worker"), Hearing()
    async with running(reader, listener):
        await listener.hears(30)
        await asyncio.sleep(1)
        assert len(listener.entries) < 300
        assert sum(one.lag for one in reader.status()) == 600
        settled = 0
        async with asyncio.timeout(PATIENCE_S):
            while settled < 600:
                entries = listener.entries[settled:]
                if not entries:
                    await listener.hears(settled + 1)
                    continue
                await settle(database, reader, entries)
                settled += len(entries)
        assert sum(one.lag for one in reader.status()) == 0


async def test_member_that_found_kafka_away_may_run_again(
    own_kafka_broker: KafkaBroker, database: Database
) -> None:
    settings = kafka_settings(own_kafka_broker)
    await make_topics(settings, database)
    await asyncio.to_thread(own_kafka_broker.kill)
    reader, listener = KafkaReader(database, settings, holder="worker"), Hearing()
    with pytest.raises(ConnectionLost, match="No Kafka broker answers"):
        await reader.run(listener)
    await asyncio.to_thread(own_kafka_broker.start)
    async with running(reader, listener):
        assert set(listener.cursors) == {1, 2, 3}


async def test_partitions_that_cannot_be_claimed_end_the_run(
    settings: KafkaSettings, database: Database, topics: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    reader, listener = KafkaReader(database, settings, holder="worker"), Hearing()

    def refuse(*_: object) -> None:
        raise StorageUnavailable("The database is away.")

    monkeypatch.setattr(type(database), "submit", refuse)
    with pytest.raises(StorageUnavailable, match="away"):
        await asyncio.wait_for(reader.run(listener), PATIENCE_S)
    assert not listener.is_assigned.is_set()
    monkeypatch.undo()
    async with running(reader, listener):
        assert set(listener.cursors) == {1, 2, 3}


async def test_the_tools_of_others_see_how_far_the_group_is(
    settings: KafkaSettings, database: Database, appender: KafkaAppender
) -> None:
    reader, listener = KafkaReader(database, settings, holder="worker"), Hearing()
    async with running(reader, listener), administration(settings) as admin:
        for number in range(12):
            await appender.append(uplink(number))
        await settle(database, reader, await listener.hears(12))
        async with asyncio.timeout(PATIENCE_S):
            while True:
                offsets = await admin.list_consumer_group_offsets(settings.group)
                if sum(one.offset for one in offsets.values()) == 12:
                    break
                await asyncio.sleep(0.1)


def _partition(device_id: int) -> int:
    return kafka_partition_of(key_of(device_id), 3)
