"""Appending to Kafka while it is well, away, slow, full and not the one it was."""

import asyncio
import time
from collections.abc import AsyncIterator, Collection
from dataclasses import replace

import pytest
from structlog.testing import capture_logs

from protocols.errors import HubFull, RowRefused, StorageUnavailable
from storage import Database
from storage.journal import JournalLimits
from storage.kafka import KafkaAppender, KafkaReader, KafkaSettings, accept, make_topics
from storage.kafka.events import KAFKA_CONNECTION_LOSE, KAFKA_CONNECTION_RECOVER
from tests.support.hearing import Hearing
from tests.support.kafka import KafkaBroker
from tests.support.kafka_journal import (
    administration,
    delete_topic,
    kafka_settings,
    make_topic_anew,
)
from tests.support.pipeline import running, uplink

PATIENCE_S = 30.0


@pytest.fixture
async def own_settings(own_kafka_broker: KafkaBroker, database: Database) -> KafkaSettings:
    """Of a journal, registered, on a broker that the test may do anything to."""
    settings = kafka_settings(own_kafka_broker, acknowledge_timeout_s=2.0)
    await make_topics(settings, database)
    return settings


@pytest.fixture
async def own_appender(
    own_settings: KafkaSettings, database: Database
) -> AsyncIterator[KafkaAppender]:
    async with KafkaAppender(database, own_settings) as started:
        assert started.health.is_ok, started.health.reason
        yield started


async def recovered(appender: KafkaAppender) -> None:
    async with asyncio.timeout(PATIENCE_S):
        while not appender.health.is_ok:  # noqa: ASYNC110  # it tells nobody
            await asyncio.sleep(0.05)


async def trouble(appender: KafkaAppender) -> None:
    async with asyncio.timeout(PATIENCE_S):
        while appender.health.is_ok:  # noqa: ASYNC110  # it tells nobody
            await asyncio.sleep(0.05)


async def messages_in(
    database: Database, settings: KafkaSettings, expected: Collection[str]
) -> list[str]:
    """Read until these are there; return all that was read."""
    reader, listener = KafkaReader(database, settings, holder="counting"), Hearing()
    async with running(reader, listener):
        while not set(expected) <= {entry.uplink.message_id for entry in listener.entries}:
            await listener.hears(len(listener.entries) + 1)
    return [entry.uplink.message_id for entry in listener.entries]


async def test_many_appends_at_once_share_batches_and_keep_the_order_of_each_device(
    appender: KafkaAppender,
) -> None:
    appended = await asyncio.gather(*(appender.append(uplink(7)) for _ in range(5_000)))
    positions = [one.position for one in appended]
    assert positions == list(range(positions[0] or 0, (positions[0] or 0) + 5_000))
    assert appender.waiting == 0


async def test_sixteen_mebibytes_are_taken_and_more_is_refused_alone(
    appender: KafkaAppender, database: Database, settings: KafkaSettings
) -> None:
    largest = uplink(1, payload=b"x" * 16 * 1024**2)
    first = await appender.append(largest)
    with pytest.raises(RowRefused, match="longer"):
        await appender.append(uplink(1, payload=b"x" * 17 * 1024**2))
    second = await appender.append(uplink(2))
    expected = [first.message_id, second.message_id]
    assert len(await messages_in(database, settings, expected)) == 2


async def test_broker_killed_in_the_middle_loses_nothing_acknowledged(
    own_appender: KafkaAppender,
    own_settings: KafkaSettings,
    own_kafka_broker: KafkaBroker,
    database: Database,
) -> None:
    acknowledged: set[str] = set()
    outcomes: dict[str, int] = {}
    stop = asyncio.Event()

    async def device(number: int) -> None:
        while not stop.is_set():
            try:
                acknowledged.add((await own_appender.append(uplink(number))).message_id)
            except (HubFull, StorageUnavailable) as error:
                outcomes[error.code] = outcomes.get(error.code, 0) + 1
                await asyncio.sleep(0.05)

    devices = [asyncio.create_task(device(number)) for number in range(20)]
    with capture_logs() as logs:
        for _ in range(2):
            before = len(acknowledged)
            await asyncio.to_thread(own_kafka_broker.kill)
            await trouble(own_appender)
            await asyncio.to_thread(own_kafka_broker.start)
            await recovered(own_appender)
            async with asyncio.timeout(PATIENCE_S):
                while len(acknowledged) < before + 200:  # noqa: ASYNC110  # the devices count
                    await asyncio.sleep(0.02)
    stop.set()
    await asyncio.gather(*devices)
    assert outcomes.keys() == {"hub_full", "storage_unavailable"}
    told = [entry["event"] for entry in logs if entry["log_level"] != "debug"]
    assert told == [KAFKA_CONNECTION_LOSE, KAFKA_CONNECTION_RECOVER] * 2
    found = await messages_in(database, own_settings, acknowledged)
    assert len(found) == len(set(found))


async def test_silent_broker_is_noticed_in_time_then_refused_at_once_and_recovered_from(
    own_appender: KafkaAppender, own_kafka_broker: KafkaBroker
) -> None:
    await own_appender.append(uplink(1))
    own_kafka_broker.pause()
    started_at = time.monotonic()
    answers = await asyncio.gather(
        own_appender.append(uplink(1)), own_appender.append(uplink(1)), return_exceptions=True
    )
    assert time.monotonic() - started_at < 5
    assert {type(one) for one in answers} <= {HubFull, StorageUnavailable}
    started_at = time.monotonic()
    with pytest.raises(HubFull) as caught:
        await own_appender.append(uplink(1))
    assert time.monotonic() - started_at < 0.1
    assert caught.value.retry_after_s == 5
    own_kafka_broker.resume()
    await recovered(own_appender)
    assert (await own_appender.append(uplink(1))).position is not None
    assert own_appender.waiting == 0


async def test_hub_that_starts_while_kafka_is_away_recovers_by_itself(
    own_settings: KafkaSettings, own_kafka_broker: KafkaBroker, database: Database
) -> None:
    await asyncio.to_thread(own_kafka_broker.kill)
    async with KafkaAppender(database, own_settings) as appender:
        assert not appender.health.is_ok
        with pytest.raises(HubFull, match="try again later"):
            await appender.append(uplink())
        await asyncio.to_thread(own_kafka_broker.start)
        await recovered(appender)
        await appender.append(uplink())


async def test_stopping_while_kafka_is_silent_ends_within_seconds_and_answers_everybody(
    own_settings: KafkaSettings, own_kafka_broker: KafkaBroker, database: Database
) -> None:
    appender = KafkaAppender(database, own_settings)
    await appender.start()
    own_kafka_broker.pause()
    appending = [asyncio.ensure_future(appender.append(uplink(number))) for number in range(20)]
    await asyncio.sleep(0.1)
    started_at = time.monotonic()
    await appender.stop()
    assert time.monotonic() - started_at < 10
    answers = await asyncio.gather(*appending, return_exceptions=True)
    assert {type(one) for one in answers} <= {HubFull, StorageUnavailable}


async def test_what_waits_is_bounded_by_count_and_by_bytes(
    own_settings: KafkaSettings, own_kafka_broker: KafkaBroker, database: Database
) -> None:
    limits = JournalLimits(backlog_entries=10, backlog_bytes=50_000)
    async with KafkaAppender(database, replace(own_settings, limits=limits)) as appender:
        own_kafka_broker.pause()
        few = [asyncio.ensure_future(appender.append(uplink(1))) for _ in range(10)]
        await asyncio.sleep(0)
        with pytest.raises(HubFull, match="More messages wait"):
            await appender.append(uplink(1))
        own_kafka_broker.resume()
        await asyncio.gather(*few)
        own_kafka_broker.pause()
        long = asyncio.ensure_future(appender.append(uplink(1, payload=b"x" * 40_000)))
        await asyncio.sleep(0)
        with pytest.raises(HubFull, match="More messages wait"):
            await appender.append(uplink(1, payload=b"x" * 40_000))
        own_kafka_broker.resume()
        await long
        assert appender.waiting == 0


async def test_topic_made_anew_while_appending_swallows_nothing_and_goes_on_when_accepted(
    appender: KafkaAppender, database: Database, settings: KafkaSettings
) -> None:
    for number in range(20):
        await appender.append(uplink(number))
    await make_topic_anew(settings)
    acknowledged = 0
    async with asyncio.timeout(PATIENCE_S):
        while not appender.health.needs_person:
            try:
                await appender.append(uplink(1))
                acknowledged += 1
            except (HubFull, StorageUnavailable):
                await asyncio.sleep(0.05)
    assert acknowledged == 0
    with pytest.raises(HubFull):
        await appender.append(uplink(1))
    assert "tingbro journal" in (appender.health.reason or "")
    await accept(settings, database)
    await recovered(appender)
    kept = await appender.append(uplink(1))
    await messages_in(database, settings, [kept.message_id])


async def test_topic_deleted_while_appending_is_named_and_never_made_again(
    settings: KafkaSettings, database: Database, topics: None
) -> None:
    async with KafkaAppender(database, replace(settings, acknowledge_timeout_s=1.0)) as appender:
        await appender.append(uplink(1))
        await delete_topic(settings)
        with pytest.raises((StorageUnavailable, HubFull)):
            await appender.append(uplink(1))
        async with asyncio.timeout(PATIENCE_S):
            while not appender.health.needs_person:  # noqa: ASYNC110  # it tells nobody
                await asyncio.sleep(0.05)
        assert "is missing in Kafka" in (appender.health.reason or "")
    async with administration(settings) as admin:
        assert settings.raw_topic not in await admin.list_topics()
