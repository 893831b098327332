"""Brokers that die, hang, or lead something else, and topics that are not there."""

import asyncio
from collections import Counter

import pytest

from protocols.errors import DeliveryFault, DeliveryRetryable
from protocols.targets import Delivered, Push
from tests.support.hub_process import free_port
from tests.support.kafka import KafkaBroker
from tests.support.kafka_targets import (
    KafkaTargets,
    assert_all_delivered,
    deliver_one,
    failure_of_one,
    guard_that_finds,
    make_push,
)
from tests.support.kafka_topics import TestTopic


@pytest.fixture
async def own_topic(own_kafka_broker: KafkaBroker) -> TestTopic:
    """A topic on a broker that the test may kill."""
    made = TestTopic(own_kafka_broker.bootstrap_servers)
    await made.make()
    return made


async def test_broker_that_is_not_there_is_unreachable_until_it_is(
    targets: KafkaTargets, topic: TestTopic
) -> None:
    port = free_port()
    target = targets.make(bootstrapServers=f"127.0.0.1:{port}")
    for error in [await failure_of_one(target) for _ in range(2)]:
        assert isinstance(error, DeliveryRetryable)
        assert error.fault is DeliveryFault.CONNECTION
        assert str(error) == "No broker can be reached: Connection refused."


async def test_servers_are_asked_in_turn_until_one_answers(
    targets: KafkaTargets, topic: TestTopic
) -> None:
    servers = f"127.0.0.1:{free_port()}, 127.0.0.1:{free_port()}, {topic.servers}"
    target = targets.make(bootstrapServers=servers, topic=topic.name)
    assert isinstance(await deliver_one(target), Delivered)


async def test_every_address_of_a_name_is_tried(targets: KafkaTargets, topic: TestTopic) -> None:
    port = topic.servers.rpartition(":")[2]
    # The broker listens on the last of them only.
    guard = guard_that_finds("127.0.0.77", "127.0.0.78", "127.0.0.1")
    target = targets.make(
        guard=guard, bootstrapServers=f"kafka.example.org:{port}", topic=topic.name
    )
    assert isinstance(await deliver_one(target), Delivered)


async def test_topic_that_does_not_exist_is_the_owners_to_mend_and_not_made(
    targets: KafkaTargets, kafka_broker: KafkaBroker
) -> None:
    missing = TestTopic(kafka_broker.bootstrap_servers)
    target = targets.make(bootstrapServers=missing.servers, topic=missing.name)
    for error in [await failure_of_one(target) for _ in range(2)]:
        assert isinstance(error, DeliveryRetryable)
        assert error.fault is DeliveryFault.CONFIGURATION
        assert str(error) == "Kafka has no such topic."
    assert not await missing.exists()
    await missing.make()
    assert isinstance(await deliver_one(target), Delivered)


async def test_partition_that_is_gone_since_the_topic_was_looked_at_is_looked_up_again(
    targets: KafkaTargets, topic: TestTopic
) -> None:
    target = targets.make(bootstrapServers=topic.servers, topic=topic.name)
    batch = [make_push(device=one) for one in range(20)]
    assert_all_delivered(await target.deliver(batch))
    await topic.make(partitions=1)
    assert_all_delivered(await target.deliver(batch))
    assert {record.partition for record in await topic.records()} == {0}


async def test_compacted_topic_does_not_take_records_without_a_key_and_says_so(
    targets: KafkaTargets, topic: TestTopic
) -> None:
    await topic.make(cleanup_policy="compact")
    target = targets.make(bootstrapServers=topic.servers, topic=topic.name, key="none")
    error = await failure_of_one(target)
    assert error.fault is DeliveryFault.CONFIGURATION
    assert "needs a `key`" in str(error)


async def test_nothing_that_was_acknowledged_is_missing_after_the_broker_was_killed_under_load(
    targets: KafkaTargets, own_topic: TestTopic, own_kafka_broker: KafkaBroker
) -> None:
    target = targets.make(bootstrapServers=own_topic.servers, topic=own_topic.name, timeout=3_000)
    acknowledged: set[bytes] = set()
    has_failed = asyncio.Event()
    is_back = asyncio.Event()

    async def device(number: int) -> None:
        """Push one after the other, each until it is acknowledged, as the engine does."""
        for count in range(1_000):
            push = make_push(b"[%d,%d]" % (number, count), device=number)
            while not isinstance(await deliver_one(target, push), Delivered):
                has_failed.set()
                await is_back.wait()
            acknowledged.add(push.body)
            if is_back.is_set():
                return

    devices = asyncio.gather(*(device(number) for number in range(8)))
    while len(acknowledged) < 100:  # noqa: ASYNC110  # nothing tells
        await asyncio.sleep(0.01)
    own_kafka_broker.kill()
    await has_failed.wait()
    await asyncio.to_thread(own_kafka_broker.start)
    is_back.set()
    await devices
    values = [record.value for record in await own_topic.records()]
    assert acknowledged <= set(values)
    for number in range(8):
        own = [value for value in values if value and value.startswith(b"[%d," % number)]
        # Repetitions stand behind each other; nothing has overtaken anything.
        assert sorted(own, key=lambda value: int(value.split(b",")[1][:-1])) == own


async def test_broker_that_hangs_ends_in_an_outcome_in_time_and_is_asked_anew_afterwards(
    targets: KafkaTargets, own_topic: TestTopic, own_kafka_broker: KafkaBroker
) -> None:
    target = targets.make(bootstrapServers=own_topic.servers, topic=own_topic.name, timeout=700)
    assert isinstance(await deliver_one(target), Delivered)
    own_kafka_broker.pause()
    async with asyncio.timeout(10):
        hung = await failure_of_one(target)
        shut_out = await failure_of_one(target)
    own_kafka_broker.resume()
    assert (hung.fault, shut_out.fault) == (DeliveryFault.THROTTLED, DeliveryFault.CONNECTION)
    assert str(hung) == "Kafka had not acknowledged the record after 0.7 s."
    assert str(shut_out) == "No broker had let the hub in after 0.7 s."
    target = targets.make(bootstrapServers=own_topic.servers, topic=own_topic.name)
    assert isinstance(await deliver_one(target), Delivered)


async def test_calls_that_are_under_way_at_once_each_have_their_own_outcomes(
    targets: KafkaTargets, topic: TestTopic
) -> None:
    target = targets.make(bootstrapServers=topic.servers, topic=topic.name)

    def batch(number: int) -> list[Push]:
        return [make_push(b"[%d,%d]" % (number, one), device=one) for one in range(50)]

    calls = [asyncio.ensure_future(target.deliver(batch(number))) for number in range(8)]
    calls[3].cancel()
    outcomes = await asyncio.gather(*calls, return_exceptions=True)
    assert isinstance(outcomes.pop(3), asyncio.CancelledError)
    for one in outcomes:
        assert not isinstance(one, BaseException)
        assert_all_delivered(one)
    counted = Counter((record.value or b"").split(b",")[0] for record in await topic.records())
    assert counted == {b"[%d" % number: 50 for number in range(8) if number != 3}


async def test_target_that_was_closed_can_be_opened_again(
    targets: KafkaTargets, topic: TestTopic
) -> None:
    target = targets.make(bootstrapServers=topic.servers, topic=topic.name)
    for _ in range(2):
        await target.open()
        assert isinstance(await deliver_one(target), Delivered)
        await target.close()
        await target.close()
