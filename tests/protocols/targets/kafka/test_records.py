"""What an integrator finds in the topic."""

from aiokafka import AIOKafkaProducer

from protocols.errors import DeliveryFault, DeliveryRefused
from protocols.targets import Delivered
from protocols.targets.kafka_wire.records import BATCH_BYTES
from protocols.targets.policy import MAX_BATCH
from tests.support.kafka_targets import (
    NOW_S,
    KafkaTargets,
    assert_all_delivered,
    deliver_one,
    make_push,
)
from tests.support.kafka_topics import TestTopic


async def test_value_is_the_body_and_headers_name_it(
    targets: KafkaTargets, topic: TestTopic
) -> None:
    target = targets.make(bootstrapServers=topic.servers, topic=topic.name)
    push = make_push(b'{"a": 1.0,\n "b": "\xc3\xa6"}')
    assert isinstance(await deliver_one(target, push), Delivered)
    (record,) = await topic.records()
    assert record.value == push.body
    assert record.key == b"7"
    assert record.timestamp_ms == NOW_S * 1_000
    assert record.headers == {
        "webhook-id": push.delivery_id,
        "webhook-timestamp": "1700000000",
        "tingbro-message-id": push.message_id,
        "tingbro-device-id": "7",
        "content-type": "application/json",
    }


async def test_replay_and_events_of_the_hub_are_marked(
    targets: KafkaTargets, topic: TestTopic
) -> None:
    target = targets.make(bootstrapServers=topic.servers, topic=topic.name)
    await deliver_one(target, make_push(is_replay=True))
    await deliver_one(target, make_push(event_type="endpoint.failing"))
    replay, event = (record.headers for record in await topic.records())
    assert replay["tingbro-replay"] == "1"
    assert "tingbro-event-type" not in replay
    assert event["tingbro-event-type"] == "endpoint.failing"
    assert "tingbro-device-id" not in event


async def test_key_decides_the_partition_as_it_does_for_other_clients(
    targets: KafkaTargets, topic: TestTopic
) -> None:
    target = targets.make(bootstrapServers=topic.servers, topic=topic.name)
    assert_all_delivered(await target.deliver([make_push(device=one) for one in range(40)]))
    placed = {record.key: record.partition for record in await topic.records()}
    assert len(placed) == 40
    assert set(placed.values()) == {0, 1, 2}
    producer = AIOKafkaProducer(bootstrap_servers=topic.servers)
    await producer.start()
    try:
        for key, partition in placed.items():
            written = await producer.send_and_wait(topic.name, b"", key=key)
            assert written.partition == partition
    finally:
        await producer.stop()


async def test_key_may_be_the_message_or_missing(targets: KafkaTargets, topic: TestTopic) -> None:
    push = make_push()
    for key in ("message", "none"):
        target = targets.make(bootstrapServers=topic.servers, topic=topic.name, key=key)
        assert isinstance(await deliver_one(target, push), Delivered)
    keys = {record.key for record in await topic.records()}
    assert keys == {push.message_id.encode(), None}


async def test_trying_the_target_out_shows_where_the_record_stands(
    targets: KafkaTargets, topic: TestTopic
) -> None:
    target = targets.make(bootstrapServers=topic.servers, topic=topic.name)
    outcome = await deliver_one(target, make_push(is_test=True))
    assert isinstance(outcome, Delivered)
    (record,) = await topic.records()
    assert outcome.exchange is not None
    assert outcome.exchange.url == f"kafka://{topic.servers}/{topic.name}"
    assert outcome.exchange.address == "127.0.0.1"
    assert outcome.exchange.request_headers == record.headers
    assert outcome.exchange.request_body == (record.value or b"").decode()
    place = f"partition {record.partition}, offset {record.offset}"
    assert outcome.exchange.response_excerpt == place


async def test_record_that_is_too_large_is_refused_and_the_others_of_its_batch_arrive(
    targets: KafkaTargets, topic: TestTopic
) -> None:
    target = targets.make(bootstrapServers=topic.servers, topic=topic.name)
    batch = [
        make_push(b"[1]"),
        make_push(b'"' + b"x" * 2 * BATCH_BYTES + b'"'),
        make_push(b"[3]"),
        make_push(b"[4]", device=8),
    ]
    outcomes = await target.deliver(batch)
    assert [isinstance(one, Delivered) for one in outcomes] == [True, False, True, True]
    refused = outcomes[1]
    assert isinstance(refused, DeliveryRefused)
    assert refused.fault is DeliveryFault.MESSAGE
    assert str(refused) == "The message is larger than the topic takes."
    assert {record.value for record in await topic.records()} == {b"[1]", b"[3]", b"[4]"}


async def test_topic_that_takes_little_at_once_gets_a_full_batch_in_pieces_and_in_order(
    targets: KafkaTargets, topic: TestTopic
) -> None:
    await topic.make(partitions=2, max_message_bytes="1000")
    target = targets.make(bootstrapServers=topic.servers, topic=topic.name)
    batch = [make_push(b"%d" % number, device=number % 5) for number in range(MAX_BATCH)]
    assert_all_delivered(await target.deliver(batch))
    by_device: dict[bytes | None, list[int]] = {}
    for record in await topic.records():
        assert record.value is not None
        by_device.setdefault(record.key, []).append(int(record.value))
    assert by_device == {b"%d" % device: list(range(device, MAX_BATCH, 5)) for device in range(5)}


async def test_batch_that_is_larger_than_one_request_arrives_whole(
    targets: KafkaTargets, topic: TestTopic
) -> None:
    target = targets.make(bootstrapServers=topic.servers, topic=topic.name)
    body = b'"' + b"x" * (BATCH_BYTES // 5) + b'"'
    batch = [make_push(body, device=number) for number in range(40)]
    assert_all_delivered(await target.deliver(batch))
    assert [record.value for record in await topic.records()] == [body] * 40
