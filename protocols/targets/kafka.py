"""Kafka: each message is a record in a topic of the receiver's.

The value is the decoder's output and nothing else. Headers name the delivery, which is the same on
every attempt (`webhook-id`), the time of the attempt, the message, its device and the type of the
value; `tingbro-replay: 1` marks what a person asked to have sent again.

Theory of operation. Records are written with `acks=all`, by requests of this module's own making on
aiokafka's connections, and not by the library's producer. A producer keeps a queue, retries for as long as
it likes and merges what several callers give it; giving one record up then means giving up all of
them, and what it had given up may still be sent after what came later. Here a `deliver` is a request
for each broker, sent once, whose answer says what became of every record: the engine has the queue and
the retries. It needs no idempotent producer either, whose sequence numbers tell the repetitions of its own
retries apart and know nothing of those of others: who reads tells them by `webhook-id`.

A record that was not acknowledged in time may be written all the same. Its connection is ended then, so
that it is written at once or never, and not behind those that the engine sends after it.
"""

import asyncio
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import ClassVar, Final, Self

from protocols.exchange import Exchange
from protocols.targets._contract import DECODED, Delivered, Outcome, Push, Target, TargetResources
from protocols.targets.kafka_wire.cluster import Cluster
from protocols.targets.kafka_wire.records import Fate, Record, RecordWriter, Written
from protocols.targets.kafka_wire.settings import (
    KafkaTargetSettings,
    RecordKey,
    parse_kafka_settings,
)
from protocols.targets.policy import MAX_BATCH

# How much of the value whoever tries the target out gets to see.
_SHOWN_BYTES: Final = 4_096


class KafkaTarget(Target):
    kind: ClassVar[str] = "KAFKA"
    setting_names: ClassVar[frozenset[str]] = frozenset(
        {
            "bootstrapServers",
            "topic",
            "key",
            "timeout",
            "securityProtocol",
            "caCertificate",
            "clientCertificate",
            "saslMechanism",
            "username",
        }
    )
    secret_names: ClassVar[frozenset[str]] = frozenset({"clientKey", "password"})
    batch_size: int = MAX_BATCH

    def __init__(self, settings: KafkaTargetSettings, resources: TargetResources) -> None:
        self._settings = settings
        self._clock_s = resources.clock_s
        self._cluster = Cluster(settings, resources.guard.resolve)
        self._writer = RecordWriter(self._cluster, settings.topic, settings.timeout_s)
        self._servers = ",".join(map(str, settings.servers))

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self._settings.topic} at {self._servers}>"

    @classmethod
    def from_settings(cls, settings: Mapping[str, object], resources: TargetResources) -> Self:
        return cls(parse_kafka_settings(settings, resources.guard), resources)

    async def open(self) -> None:
        """Nothing to do: brokers are connected to when there is something to write.

        So one that cannot be reached is a failed attempt, whose reason stands in the target's log.
        """

    async def deliver(self, batch: Sequence[Push]) -> Sequence[Outcome]:
        started_s = time.perf_counter()
        records = [self._record(push) for push in batch]
        fates: list[Fate] = []
        try:
            async with asyncio.timeout(self._settings.timeout_s):
                await self._writer.write(records, fates)
        except TimeoutError:
            pass  # What is known by then is in the fates.
        duration_s = time.perf_counter() - started_s
        return [
            self._outcome(push, record, fate, duration_s)
            for push, record, fate in zip(batch, records, fates, strict=True)
        ]

    async def close(self) -> None:
        await self._cluster.close()

    def _record(self, push: Push) -> Record:
        now_s = self._clock_s()
        headers = {
            "webhook-id": push.delivery_id,
            "webhook-timestamp": str(int(now_s)),
            "tingbro-message-id": push.message_id,
            "content-type": push.content_type,
        }
        if push.event_type == DECODED:
            headers["tingbro-device-id"] = str(push.device_id)
        else:
            headers["tingbro-event-type"] = push.event_type
        if push.is_replay:
            headers["tingbro-replay"] = "1"
        key: str | None
        match self._settings.key:
            case RecordKey.DEVICE:
                key = str(push.device_id)
            case RecordKey.MESSAGE:
                key = push.message_id
            case RecordKey.NONE:
                key = None
        return Record(
            key=None if key is None else key.encode(),
            value=push.body,
            headers=[(name, value.encode()) for name, value in headers.items()],
            timestamp_ms=int(now_s * 1_000),
        )

    def _outcome(self, push: Push, record: Record, fate: Fate, duration_s: float) -> Outcome:
        if isinstance(fate, Written):
            exchange = self._exchange(push, record, fate, duration_s) if push.is_test else None
            return Delivered(duration_s=duration_s, exchange=exchange)
        return type(fate)(
            str(fate),
            fault=fate.fault,
            retry_after_s=fate.retry_after_s,
            exchange=self._exchange(push, record, None, duration_s),
        )

    def _exchange(
        self, push: Push, record: Record, written: Written | None, duration_s: float
    ) -> Exchange:
        exchange = Exchange(
            url=f"kafka://{self._servers}/{self._settings.topic}",
            sent_bytes=len(record.value),
            total_s=duration_s,
        )
        if written is not None:
            place = f"partition {written.partition}, offset {written.offset}"
            exchange = replace(exchange, address=written.address, response_excerpt=place)
        if push.is_test:
            exchange = replace(
                exchange,
                request_headers={name: value.decode() for name, value in record.headers},
                request_body=record.value[:_SHOWN_BYTES].decode(errors="replace"),
            )
        return exchange
