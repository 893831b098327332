"""A journal in Kafka for one test, with topics and a group that no other test has; and what is done to it."""

import asyncio
import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from aiokafka import AIOKafkaProducer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, NewPartitions, NewTopic, RecordsToDelete

from storage.kafka import KafkaSettings
from tests.support.kafka import KafkaBroker

_POLL_S = 0.02


def kafka_settings(broker: KafkaBroker, **changes: Any) -> KafkaSettings:
    """Three partitions, as quick to notice a silent member as the broker allows."""
    name = uuid.uuid4().hex[:8]
    chosen: dict[str, Any] = {
        "bootstrap_servers": broker.bootstrap_servers,
        "raw_topic": f"uplink.raw.{name}",
        "decoded_topic": f"uplink.decoded.{name}",
        "group": f"tingbro.{name}",
        "partitions": 3,
        "heartbeat_s": 0.3,
        **changes,
    }
    return KafkaSettings(**chosen)


@asynccontextmanager
async def administration(settings: KafkaSettings) -> AsyncIterator[AIOKafkaAdminClient]:
    admin = AIOKafkaAdminClient(bootstrap_servers=settings.bootstrap_servers)
    await admin.start()
    try:
        yield admin
    finally:
        await admin.close()


async def delete_topic(settings: KafkaSettings) -> None:
    """Return when the journal's topic is gone."""
    async with administration(settings) as admin, asyncio.timeout(20):
        await admin.delete_topics([settings.raw_topic])
        while settings.raw_topic in await admin.list_topics():  # noqa: ASYNC110  # nothing tells
            await asyncio.sleep(_POLL_S)


async def make_topic_anew(settings: KafkaSettings, *, partitions: int | None = None) -> None:
    """Delete the journal's topic and make another of its name, as somebody may by mistake."""
    await delete_topic(settings)
    new = NewTopic(settings.raw_topic, partitions or settings.partitions, 1)
    async with administration(settings) as admin, asyncio.timeout(20):
        while (await admin.create_topics([new])).topic_errors[0][1]:  # noqa: ASYNC110  # nothing tells
            await asyncio.sleep(_POLL_S)
        while settings.raw_topic not in await admin.list_topics():  # noqa: ASYNC110  # nothing tells
            await asyncio.sleep(_POLL_S)


async def grow_topic(settings: KafkaSettings, partitions: int) -> None:
    async with administration(settings) as admin:
        await admin.create_partitions({settings.raw_topic: NewPartitions(partitions)})


async def delete_records(settings: KafkaSettings, partition: int, before: int) -> None:
    """What the topic's retention does, at once."""
    async with administration(settings) as admin:
        one = TopicPartition(settings.raw_topic, partition)
        await admin.delete_records({one: RecordsToDelete(before_offset=before)})


async def produce(
    settings: KafkaSettings,
    partition: int,
    *records: tuple[bytes | None, bytes | None, list[tuple[str, bytes]]],
) -> None:
    """Write records that no hub would write: key, value, headers."""
    producer = AIOKafkaProducer(bootstrap_servers=settings.bootstrap_servers, acks="all")
    await producer.start()
    try:
        for key, value, headers in records:
            await producer.send_and_wait(
                settings.raw_topic, value, key=key, partition=partition, headers=headers
            )
    finally:
        await producer.stop()
