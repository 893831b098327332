"""A topic of the real Kafka for the conformance suite, behind a proxy that takes its answers away."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager

from tests.conformance.targets import ReceivedPush, TargetHarness
from tests.support.kafka import KafkaBroker
from tests.support.kafka_doors import PASSWORD, WRITER, Door, KafkaDoors
from tests.support.kafka_topics import TestTopic
from tests.support.loopback_proxy import LoopbackProxy

NEEDS = ("kafka_broker", "kafka_doors")

# Where a request says what it asks for, behind its length.
_KEY = slice(4, 6)
_PRODUCE = b"\x00\x00"

FAULTS: dict[str, Callable[[bytes], bytes | None]] = {
    "never answers": lambda _: b"",
    "closes instead of answering": lambda _: None,
    "answers garbage": lambda answer: b"\x00\x00\x00\x10" + bytes(16) + answer,
    "says that it will answer without end": lambda answer: b"\x7f\xff\xff\xff" + answer,
    "answers half": lambda answer: answer[: len(answer) // 2],
}


@asynccontextmanager
async def harness(
    kafka_broker: KafkaBroker, kafka_doors: KafkaDoors
) -> AsyncIterator[TargetHarness]:
    topic = TestTopic(kafka_broker.bootstrap_servers)
    # One, so that what arrived has an order.
    await topic.make(partitions=1)
    async with LoopbackProxy(kafka_doors.port(Door.PROXIED), port=kafka_doors.proxy_port) as proxy:

        def distort(change: Callable[[bytes], bytes | None]) -> Callable[[], Awaitable[None]]:
            def of_records(asked: bytes, answer: bytes) -> bytes | None:
                return change(answer) if asked[_KEY] == _PRODUCE else answer

            async def strike() -> None:
                proxy.distort = of_records

            return strike

        async def wait_for(count: int) -> None:
            while len(await _received(topic)) < count:  # noqa: ASYNC110  # nothing tells
                await asyncio.sleep(0.01)

        yield TargetHarness(
            settings={
                "bootstrapServers": f"127.0.0.1:{proxy.port}",
                "topic": topic.name,
                "timeout": 1_500,
                "securityProtocol": "sasl_plaintext",
                "saslMechanism": "plain",
                "username": WRITER,
                "password": PASSWORD,
            },
            secret=PASSWORD,
            received=lambda: _received_by_now(topic),
            wait_for=wait_for,
            faults={name: distort(change) for name, change in FAULTS.items()},
            heal=distort(lambda answer: answer),
        )


async def _received(topic: TestTopic) -> list[ReceivedPush]:
    return [
        ReceivedPush(
            delivery_id=record.headers["webhook-id"],
            message_id=record.headers["tingbro-message-id"],
            body=record.value or b"",
        )
        for record in await topic.records()
    ]


def _received_by_now(topic: TestTopic) -> list[ReceivedPush]:
    """Whoever asks does not wait, and has a loop already: this takes another."""
    with ThreadPoolExecutor(1) as elsewhere:
        return elsewhere.submit(asyncio.run, _received(topic)).result()
