"""Topics of a test's own, and reading what somebody wrote to them."""

import asyncio
import uuid
from dataclasses import dataclass
from typing import Final

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, NewTopic

_POLL_S: Final = 0.02
_PATIENCE_S: Final = 20.0


@dataclass(frozen=True, slots=True, kw_only=True)
class ReadRecord:
    partition: int
    offset: int
    timestamp_ms: int
    key: bytes | None
    value: bytes | None
    headers: dict[str, str]


class TestTopic:
    """A topic that no other test has, as an integrator sees it."""

    __test__ = False

    def __init__(self, servers: str) -> None:
        self.servers = servers
        self.name = f"readings.{uuid.uuid4().hex[:8]}"
        self._partitions = 0

    async def make(self, *, partitions: int = 3, **options: str) -> None:
        """Make it, or make it anew; `options` are Kafka's, with underscores for dots."""
        # Tests write records of any time, which are not to be cleared away as too old.
        configs = {"retention.ms": "-1"}
        configs |= {name.replace("_", "."): value for name, value in options.items()}
        self._partitions = partitions
        new = NewTopic(self.name, partitions, 1, topic_configs=configs)
        admin = AIOKafkaAdminClient(bootstrap_servers=self.servers)
        await admin.start()
        try:
            async with asyncio.timeout(_PATIENCE_S):
                if self.name in await admin.list_topics():
                    await admin.delete_topics([self.name])
                    while self.name in await admin.list_topics():  # noqa: ASYNC110  # nothing tells
                        await asyncio.sleep(_POLL_S)
                while (await admin.create_topics([new])).topic_errors[0][1]:  # noqa: ASYNC110  # so
                    await asyncio.sleep(_POLL_S)
                while self.name not in await admin.list_topics():  # noqa: ASYNC110  # nothing tells
                    await asyncio.sleep(_POLL_S)
        finally:
            await admin.close()

    async def exists(self) -> bool:
        admin = AIOKafkaAdminClient(bootstrap_servers=self.servers)
        await admin.start()
        try:
            return self.name in await admin.list_topics()
        finally:
            await admin.close()

    async def records(self) -> list[ReadRecord]:
        """Return everything that is there by now, each partition in its order."""
        partitions = [TopicPartition(self.name, number) for number in range(self._partitions)]
        consumer = AIOKafkaConsumer(bootstrap_servers=self.servers, fetch_max_wait_ms=20)
        await consumer.start()
        try:
            consumer.assign(partitions)
            for one in partitions:
                consumer.seek(one, 0)
            async with asyncio.timeout(_PATIENCE_S):
                ends = await consumer.end_offsets(partitions)
                return [
                    record for one in partitions for record in await _read(consumer, one, ends[one])
                ]
        finally:
            await consumer.stop()


async def _read(
    consumer: AIOKafkaConsumer, partition: TopicPartition, end: int
) -> list[ReadRecord]:
    found: list[ReadRecord] = []
    while await consumer.position(partition) < end:
        one = await consumer.getone(partition)
        found.append(
            ReadRecord(
                partition=one.partition,
                offset=one.offset,
                timestamp_ms=one.timestamp,
                key=one.key,
                value=one.value,
                headers={name: value.decode() for name, value in one.headers},
            )
        )
    return found
