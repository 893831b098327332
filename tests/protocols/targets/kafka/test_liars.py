"""What calls itself a broker and is none costs neither memory nor time, nor the name of the hub."""

import asyncio
import struct
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from protocols.errors import DeliveryError, DeliveryFault
from tests.support.kafka_targets import KafkaTargets, failure_of_one

_API_VERSIONS, _METADATA, _SASL_HANDSHAKE, _SASL_AUTHENTICATE = 18, 3, 17, 36

Answer = Callable[[int], bytes | None]
"""From the key of the request to the body of its answer; None closes the connection."""


@asynccontextmanager
async def liar(answer: Answer) -> AsyncIterator[str]:
    """Listens, and frames what `answer` returns as Kafka does; yields where."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while True:
                (size,) = struct.unpack(">i", await reader.readexactly(4))
                request = await reader.readexactly(size)
                key, _, correlation = struct.unpack(">hhi", request[:8])
                body = answer(key)
                if body is None:
                    return
                writer.write(struct.pack(">ii", len(body) + 4, correlation) + body)
        except (OSError, EOFError):
            pass
        finally:
            writer.transport.abort()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with server:
        yield f"127.0.0.1:{server.sockets[0].getsockname()[1]}"


def text(value: str) -> bytes:
    return struct.pack(">h", len(value)) + value.encode()


def versions(*pairs: tuple[int, int]) -> bytes:
    """Each kind of request with the only version that the liar knows."""
    return struct.pack(">hi", 0, len(pairs)) + b"".join(
        struct.pack(">hhh", key, version, version) for key, version in pairs
    )


def metadata(host: str, port: int, *, partitions: list[int], leader: int = 1) -> bytes:
    """Metadata of version 0: one broker, and the topic `any`."""
    return (
        struct.pack(">ii", 1, 1)
        + text(host)
        + struct.pack(">iih", port, 1, 0)
        + text("any")
        + struct.pack(">i", len(partitions))
        + b"".join(struct.pack(">hiiii", 0, number, leader, 0, 0) for number in partitions)
    )


KNOWN = versions((_METADATA, 0), (_SASL_HANDSHAKE, 1), (_SASL_AUTHENTICATE, 0), (0, 3))


def answering(**answers: bytes) -> Answer:
    keys = {
        _API_VERSIONS: answers.get("versions", KNOWN),
        _METADATA: answers.get("metadata"),
        _SASL_HANDSHAKE: answers.get("handshake"),
        _SASL_AUTHENTICATE: answers.get("login"),
        0: answers.get("produce"),
    }
    return keys.get


@pytest.mark.parametrize(
    "answer",
    [
        lambda _: b"",
        lambda _: b"\x00" * 100_000,
        lambda _: None,
        answering(versions=versions((_METADATA, 99))),
        answering(versions=versions()),
        answering(versions=struct.pack(">hi", 0, 2**31 - 1)),
        answering(metadata=b""),
        answering(metadata=struct.pack(">ii", 0, 0)),
        answering(metadata=metadata("", 9092, partitions=[0])),
        answering(metadata=metadata("127.0.0.1", 0, partitions=[0])),
        answering(metadata=metadata("127.0.0.1", -1, partitions=[0])),
        answering(metadata=metadata("127.0.0.1", 2**31 - 1, partitions=[0])),
        answering(metadata=metadata("127.0.0.1", 9092, partitions=[])),
        answering(metadata=metadata("127.0.0.1", 9092, partitions=[0, 7])),
        answering(metadata=metadata("127.0.0.1", 9092, partitions=[-1])),
    ],
)
async def test_nonsense_is_told_as_such(targets: KafkaTargets, answer: Answer) -> None:
    async with liar(answer) as servers:
        target = targets.make(bootstrapServers=servers)
        for error in [await failure_of_one(target) for _ in range(2)]:
            assert error.fault in (DeliveryFault.RECEIVER, DeliveryFault.CONFIGURATION)


async def test_broker_that_nobody_may_connect_to_is_not_connected_to(
    targets: KafkaTargets,
) -> None:
    for host in ("10.0.0.1", "169.254.169.254", "0x7f.1", "localhost\n", "::ffff:10.0.0.1"):
        async with liar(answering(metadata=metadata(host, 9092, partitions=[0]))) as servers:
            error = await failure_of_one(targets.make(bootstrapServers=servers))
        assert error.code == "delivery_refused"


async def test_partition_without_a_leader_is_waited_for_and_told(targets: KafkaTargets) -> None:
    answer = answering(metadata=metadata("127.0.0.1", 9092, partitions=[0], leader=-1))
    async with liar(answer) as servers:
        error = await failure_of_one(targets.make(bootstrapServers=servers))
    assert error.fault is DeliveryFault.RECEIVER
    assert str(error) == "No broker leads the partition at present."


@pytest.mark.parametrize("iterations", [0, -1, 2**31 - 1, 10**30])
async def test_login_costs_no_more_work_than_is_usual(
    targets: KafkaTargets, iterations: int
) -> None:
    nonces: list[bytes] = []

    def answer(key: int) -> bytes | None:
        if key == _SASL_HANDSHAKE:
            return struct.pack(">hi", 0, 1) + text("SCRAM-SHA-512")
        if key == _SASL_AUTHENTICATE:
            first = b"r=%s,s=c2FsdA==,i=%d" % (nonces[0], iterations)
            return (
                struct.pack(">h", 0) + struct.pack(">h", -1) + struct.pack(">i", len(first)) + first
            )
        return answering()(key)

    async with liar(answer) as servers:
        target = targets.make(
            bootstrapServers=servers,
            securityProtocol="sasl_plaintext",
            username="hub",
            password="0p3n-sesame",
        )
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("uuid.uuid4", lambda: "11-11")
            nonces.append(b"1111")
            error = await failure_of_one(target)
    assert error.fault is DeliveryFault.RECEIVER
    assert "0p3n-sesame" not in repr(error)


@settings(
    max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(bodies=st.lists(st.binary(max_size=60), min_size=1, max_size=4))
async def test_whatever_is_answered_ends_in_an_error(
    targets: KafkaTargets, bodies: list[bytes]
) -> None:
    left = iter(bodies)
    begins_well = iter([KNOWN])

    def answer(key: int) -> bytes | None:
        if key == _API_VERSIONS and len(bodies) % 2:
            return next(begins_well, None) or next(left, None)
        return next(left, None)

    async with liar(answer) as servers:
        target = targets.make(bootstrapServers=servers, timeout=2_000)
        error = await failure_of_one(target)
        assert isinstance(error, DeliveryError)
        await target.close()
