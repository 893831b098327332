"""Whether the topic is the one that was settled: migrating, disagreeing, accepting."""

import asyncio

import pytest
from aiokafka.admin import NewTopic
from sqlalchemy import update
from structlog.testing import capture_logs

from protocols.errors import Conflict, ConnectionLost, InvalidSettings, JournalMismatch
from storage import Database
from storage.cursor_claims import CursorClaims
from storage.journal import offset_of, partition_of
from storage.kafka import KafkaAppender, KafkaSettings, accept, describe, make_topics
from storage.kafka.agreement import Kind
from storage.kafka.reader import KafkaReader
from storage.kafka.registration import read_cursors, read_registration
from storage.results import ResultStore
from storage.tables.pipeline import journal_cursor
from tests.support.hearing import Hearing
from tests.support.kafka import KafkaBroker
from tests.support.kafka_journal import (
    administration,
    delete_records,
    delete_topic,
    grow_topic,
    kafka_settings,
    make_topic_anew,
    produce,
)
from tests.support.pipeline import result, running, uplink

MESSAGES = 30


async def append(database: Database, settings: KafkaSettings, count: int = MESSAGES) -> None:
    async with KafkaAppender(database, settings) as appender:
        await asyncio.gather(*(appender.append(uplink(number)) for number in range(count)))


async def settle(database: Database, settings: KafkaSettings, count: int = MESSAGES) -> list[str]:
    """Have a worker settle so many; return their ids."""
    reader, listener = KafkaReader(database, settings, holder="worker"), Hearing()
    async with running(reader, listener):
        entries = await listener.hears(count)
        cursors: dict[int, int] = {}
        for entry in entries:
            cursors[partition_of(entry.position)] = entry.position
        results = [result(entry) for entry in entries]
        await ResultStore(database, reader).commit(results, cursors=cursors)
    return [entry.uplink.message_id for entry in entries]


async def kinds(database: Database, settings: KafkaSettings) -> list[Kind]:
    return [one.kind for one in (await describe(settings, database)).disagreements]


# -- migrating -------------------------------------------------------------------------------


async def test_migrating_makes_the_topics_as_they_are_wanted_and_a_cursor_for_each_partition(
    settings: KafkaSettings, database: Database
) -> None:
    registration = await make_topics(settings, database)
    assert (registration.topic, registration.partitions) == (settings.raw_topic, 3)
    cursors = await read_cursors(database, registration.journal_partitions)
    assert {partition: offset_of(cursor) for partition, cursor in cursors.items()} == {
        1: 0,
        2: 0,
        3: 0,
    }
    async with administration(settings) as admin:
        assert {settings.raw_topic, settings.decoded_topic} <= set(await admin.list_topics())


async def test_migrating_twice_and_at_once_makes_them_once(
    settings: KafkaSettings, database: Database
) -> None:
    together = await asyncio.gather(*(make_topics(settings, database) for _ in range(4)))
    assert len({one.topic_id for one in (*together, await make_topics(settings, database))}) == 1


async def test_migrating_again_leaves_the_cursors_alone(
    settings: KafkaSettings, database: Database, topics: None
) -> None:
    await append(database, settings)
    await settle(database, settings)
    before = await read_cursors(database, range(1, 4))
    await make_topics(settings, database)
    assert await read_cursors(database, range(1, 4)) == before


async def test_topic_that_was_there_before_is_read_from_its_beginning(
    settings: KafkaSettings, database: Database, kafka_broker: KafkaBroker
) -> None:
    async with administration(settings) as admin:
        await admin.create_topics([NewTopic(settings.raw_topic, 5, 1)])
    registration = await make_topics(settings, database)
    assert registration.partitions == 5


async def test_replication_that_the_cluster_cannot_give_is_a_mistake_in_the_settings(
    kafka_broker: KafkaBroker, database: Database
) -> None:
    with pytest.raises(InvalidSettings, match="replication factor"):
        await make_topics(kafka_settings(kafka_broker, replication=3), database)


async def test_migrating_without_a_broker_says_that_none_answers(database: Database) -> None:
    settings = KafkaSettings(bootstrap_servers="127.0.0.1:1")
    with pytest.raises(ConnectionLost, match="No Kafka broker answers"):
        await make_topics(settings, database)


async def test_who_starts_before_migrating_is_told_to_migrate(
    settings: KafkaSettings, database: Database
) -> None:
    with pytest.raises(JournalMismatch, match="tingbro migrate"):
        await KafkaReader(database, settings, holder="early").run(Hearing())
    async with KafkaAppender(database, settings) as appender:
        assert appender.health.needs_person
        assert "tingbro migrate" in (appender.health.reason or "")


# -- disagreeing, and what a person can do -----------------------------------------------------


async def test_journal_that_agrees_has_nothing_to_accept(
    settings: KafkaSettings, database: Database, topics: None
) -> None:
    await append(database, settings)
    await settle(database, settings, MESSAGES)
    await append(database, settings, 5)
    before = await describe(settings, database)
    assert before.disagreements == []
    assert sum(one.waiting for one in before.partitions) == 5
    assert (await accept(settings, database)).registration == before.registration


async def test_topic_that_was_made_anew_is_refused_until_accepted_and_then_read_from_its_beginning(
    settings: KafkaSettings, database: Database, topics: None
) -> None:
    await append(database, settings)
    await settle(database, settings)
    await make_topic_anew(settings)
    with pytest.raises(JournalMismatch, match="made anew"):
        await KafkaReader(database, settings, holder="worker").run(Hearing())
    with pytest.raises(JournalMismatch, match="made anew"):
        await make_topics(settings, database)
    assert await kinds(database, settings) == [Kind.TOPIC_REPLACED]
    after = await accept(settings, database)
    assert after.disagreements == []
    await append(database, settings)
    assert len(await settle(database, settings)) == MESSAGES
    # Positions stand behind those of the old topic.
    assert list((await read_registration(database)).journal_partitions) == [4, 5, 6]


async def test_missing_topic_is_not_made_again_without_being_asked(
    settings: KafkaSettings, database: Database, topics: None
) -> None:
    await delete_topic(settings)
    with pytest.raises(JournalMismatch, match="missing"):
        await KafkaReader(database, settings, holder="worker").run(Hearing())
    with pytest.raises(JournalMismatch, match="missing"):
        await make_topics(settings, database)
    with pytest.raises(Conflict, match="--recreate"):
        await accept(settings, database)
    assert (await accept(settings, database, recreate=True)).disagreements == []
    await append(database, settings)
    await settle(database, settings)


async def test_another_cluster_is_refused(
    settings: KafkaSettings, database: Database, topics: None, own_kafka_broker: KafkaBroker
) -> None:
    elsewhere = kafka_settings(
        own_kafka_broker, raw_topic=settings.raw_topic, decoded_topic=settings.decoded_topic
    )
    async with administration(elsewhere) as admin:
        await admin.create_topics([NewTopic(settings.raw_topic, 3, 1)])
    with pytest.raises(JournalMismatch, match="bootstrap servers"):
        await KafkaReader(database, elsewhere, holder="worker").run(Hearing())
    assert await kinds(database, elsewhere) == [Kind.CLUSTER_CHANGED]


async def test_topic_that_grew_is_read_to_its_end_before_the_new_count_is_accepted(
    settings: KafkaSettings, database: Database, topics: None
) -> None:
    await append(database, settings)
    await grow_topic(settings, 5)
    async with KafkaAppender(database, settings) as appender:
        assert appender.health.needs_person
        assert "5 partitions" in (appender.health.reason or "")
    with pytest.raises(Conflict, match=f"{MESSAGES} messages"):
        await accept(settings, database)
    await settle(database, settings)
    after = await accept(settings, database)
    assert (after.disagreements, after.registration.partitions) == ([], 5)
    await append(database, settings)
    assert len(await settle(database, settings)) == MESSAGES


async def test_records_that_retention_deleted_unread_are_told_and_passed_over_when_accepted(
    settings: KafkaSettings, database: Database, topics: None
) -> None:
    await append(database, settings)
    counts = {one.partition: one.waiting for one in (await describe(settings, database)).partitions}
    await delete_records(settings, 1, 3)
    reader = KafkaReader(database, settings, holder="worker")
    with pytest.raises(JournalMismatch, match="deleted up to 3 messages unread"):
        await asyncio.wait_for(reader.run(Hearing()), 20)
    assert await kinds(database, settings) == [Kind.ENTRIES_GONE]
    after = await accept(settings, database)
    assert {one.partition: one.waiting for one in after.partitions} == {**counts, 1: counts[1] - 3}
    await settle(database, settings, MESSAGES - 3)


async def test_unreadable_records_that_retention_deleted_are_no_loss(
    settings: KafkaSettings, database: Database, topics: None
) -> None:
    await produce(settings, 1, *((b"x", b"{}", []) for _ in range(3)))
    reader, listener = KafkaReader(database, settings, holder="worker"), Hearing()
    async with running(reader, listener):
        await append(database, settings, 12)
        await listener.hears(12)
    await delete_records(settings, 1, 3)
    async with running(reader, again := Hearing()):
        assert len(await again.hears(12)) == 12
    assert await kinds(database, settings) == []


async def test_cursor_beyond_the_end_is_refused_and_only_that_partition_begins_again(
    settings: KafkaSettings, database: Database, topics: None
) -> None:
    await append(database, settings)
    ids = await settle(database, settings)
    (first, *_) = (await describe(settings, database)).partitions
    registration = await read_registration(database)
    await _move_cursor(database, registration.cursor(first.partition, 1_000))
    reader = KafkaReader(database, settings, holder="worker")
    with pytest.raises(JournalMismatch, match="up to 1000"):
        await asyncio.wait_for(reader.run(Hearing()), 20)
    async with KafkaAppender(database, settings) as appender:
        assert appender.health.needs_person
    after = await accept(settings, database)
    assert sum(one.waiting for one in after.partitions) == first.next_offset
    # They were settled before: the books know them by their ids.
    again = await settle(database, settings, first.next_offset)
    assert set(again) < set(ids)


async def test_accepting_ends_the_claims_of_whoever_still_holds_a_partition(
    settings: KafkaSettings, database: Database, topics: None
) -> None:
    await append(database, settings)
    reader, listener = KafkaReader(database, settings, holder="worker"), Hearing()
    with capture_logs() as logs:
        run = asyncio.create_task(reader.run(listener))
        await listener.hears(MESSAGES)
        await make_topic_anew(settings)
        with pytest.raises((JournalMismatch, ConnectionLost)):
            await asyncio.wait_for(run, 20)
    assert listener.revocations >= 1
    assert not [entry for entry in logs if entry["log_level"] == "critical"]
    await accept(settings, database)
    with pytest.raises(KeyError):
        await CursorClaims(database, "old").take([1])


async def _move_cursor(database: Database, position: int) -> None:
    statement = (
        update(journal_cursor)
        .where(journal_cursor.c.partition == partition_of(position))
        .values(position=position)
    )
    await database.write(lambda transaction: transaction.execute(statement))
