"""Telling integrators what was decoded: one JSON record for each, in the order of each device.

It is told before it is committed, so that nothing that was committed is missing; what is told
again after a failure carries the same `messageId`. The format is documented in docs/kafka.md.
"""

import asyncio
from collections.abc import Iterable, Sequence
from typing import Final

import orjson
import structlog
from aiokafka import AIOKafkaProducer
from aiokafka.errors import KafkaError

from protocols.errors import ConnectionLost
from storage.kafka import events
from storage.kafka.cluster import cluster_view
from storage.kafka.producing import end_producer, open_producer
from storage.kafka.records import kafka_partition_of, key_of
from storage.kafka.settings import KafkaSettings
from storage.message_result import JobResult, JobState, MessageResult

# Key, and what a batch and a record have around them.
_RECORD_OVERHEAD_BYTES: Final = 256
# Whoever waits tries again with the same records: a slow broker must not make that endless.
_PATIENCE: Final = 3

_log = structlog.get_logger(__name__)

Record = tuple[bytes, bytes]
"""Key and value."""


class DecodedPublisher:
    """Connects when there is something to tell; `stop` disconnects."""

    def __init__(self, settings: KafkaSettings) -> None:
        self._settings = settings
        self._producer: AIOKafkaProducer | None = None
        self._partitions = 0
        self._largest_bytes = 0
        self.skipped = 0
        """How many records were left out because the topic does not take such long ones."""

    async def publish(self, results: Sequence[MessageResult]) -> None:
        """Return when Kafka has acknowledged a record for each decoded job. One call at a time.

        Raises:
            ConnectionLost: some may be there and some not; publish them all again.
        """
        records = [
            (key_of(result.uplink.device_id), decoded_record(result, job))
            for result in results
            for job in result.jobs
            if job.state is JobState.DECODED
        ]
        if not records:
            return
        try:
            async with asyncio.timeout(_PATIENCE * self._settings.acknowledge_timeout_s):
                producer = await self._connected()
                await self._send_all(producer, self._by_partition(records))
        except (KafkaError, TimeoutError) as error:
            await self.stop()
            raise ConnectionLost(
                f"Kafka has not acknowledged what was decoded: {error!r}."
            ) from error

    async def stop(self) -> None:
        """Disconnect. What a call of `publish` has not returned for may be lost, and is told again."""
        producer, self._producer = self._producer, None
        if producer is not None:
            await end_producer(producer)

    async def _connected(self) -> AIOKafkaProducer:
        if self._producer is None:
            topic = self._settings.decoded_topic
            async with cluster_view(self._settings) as view:
                seen = await view.topic(topic)
                if seen is None:
                    raise ConnectionLost(f"The topic {topic} is missing: run `tingbro migrate`.")
                self._largest_bytes = await view.largest_batch_bytes(topic)
            self._partitions = seen.partitions
            self._producer = await open_producer(self._settings, topic)
        return self._producer

    def _by_partition(self, records: Iterable[Record]) -> dict[int, list[Record]]:
        by_partition: dict[int, list[Record]] = {}
        for key, value in records:
            if len(value) + _RECORD_OVERHEAD_BYTES > self._largest_bytes:
                self.skipped += 1
                _log.warning(events.DECODED_RECORD_SKIP, device_id=int(key), size_bytes=len(value))
                continue
            by_partition.setdefault(kafka_partition_of(key, self._partitions), []).append(
                (key, value)
            )
        return by_partition

    async def _send_all(
        self, producer: AIOKafkaProducer, by_partition: dict[int, list[Record]]
    ) -> None:
        sending = [
            asyncio.ensure_future(self._send(producer, partition, records))
            for partition, records in by_partition.items()
        ]
        try:
            await asyncio.gather(*sending)
        finally:
            for one in sending:
                one.cancel()

    async def _send(
        self, producer: AIOKafkaProducer, partition: int, records: list[Record]
    ) -> None:
        """In order: a batch goes when the one before is acknowledged."""
        topic, sent = self._settings.decoded_topic, 0
        while sent < len(records):
            batch = producer.create_batch()
            while sent < len(records):
                key, value = records[sent]
                if batch.append(timestamp=None, key=key, value=value) is None:
                    break
                sent += 1
            batch.close()
            await (await producer.send_batch(batch, topic, partition=partition))


def decoded_record(result: MessageResult, job: JobResult) -> bytes:
    """Return the record's value; what the decoder returned stands in it as it is stored."""
    assert job.body is not None, "what is decoded has a body"
    uplink = result.uplink
    return orjson.dumps(
        {
            "messageId": uplink.message_id,
            "deviceId": uplink.device_id,
            "organizationId": uplink.organization_id,
            "applicationId": uplink.application_id,
            "receivedAt": uplink.received_at,
            "decoderId": job.decoder_id,
            "decoderVersion": job.decoder_version,
            "data": orjson.Fragment(job.body),
        },
        option=orjson.OPT_UTC_Z,
    )
