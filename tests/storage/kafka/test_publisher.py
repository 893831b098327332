"""What integrators read of decoded messages."""

import asyncio
import json
from dataclasses import replace

import pytest
from aiokafka import AIOKafkaConsumer, ConsumerRecord

from protocols.errors import ConnectionLost
from protocols.messages import DecoderId
from storage import Database
from storage.journal import JournalEntry
from storage.kafka import DecodedPublisher, KafkaSettings, make_topics
from storage.message_result import JobState, MessageResult
from tests.support.kafka import KafkaBroker
from tests.support.kafka_journal import administration, kafka_settings
from tests.support.pipeline import job, result, uplink


def decoded(device_id: int = 1, body: bytes = b'{"t": 21.50}') -> MessageResult:
    return result(JournalEntry(1, uplink(device_id)), job(body=body))


async def read(settings: KafkaSettings, count: int) -> list[ConsumerRecord]:
    consumer = AIOKafkaConsumer(
        settings.decoded_topic,
        bootstrap_servers=settings.bootstrap_servers,
        auto_offset_reset="earliest",
    )
    await consumer.start()
    try:
        async with asyncio.timeout(20):
            return [await consumer.getone() for _ in range(count)]
    finally:
        await consumer.stop()


async def test_record_holds_the_message_and_what_the_decoder_returned(
    settings: KafkaSettings, topics: None
) -> None:
    publisher, told = DecodedPublisher(settings), decoded(7)
    await publisher.publish([told])
    await publisher.stop()
    (record,) = await read(settings, 1)
    assert record.key == b"7"
    assert json.loads(record.value) == {
        "messageId": told.uplink.message_id,
        "deviceId": 7,
        "organizationId": 1,
        "applicationId": 1,
        "receivedAt": "2026-03-01T12:00:00Z",
        "decoderId": 5,
        "decoderVersion": "v1",
        "data": {"t": 21.5},
    }
    # The decoder's own spelling of a number is kept.
    assert b'"data":{"t": 21.50}' in record.value


async def test_only_decoded_jobs_are_told_and_each_of_them(
    settings: KafkaSettings, topics: None
) -> None:
    publisher = DecodedPublisher(settings)
    several = result(
        JournalEntry(1, uplink(1)),
        job(decoder_id=DecoderId(1)),
        job(JobState.FAILED, decoder_id=DecoderId(2), error="No."),
        job(JobState.DEFERRED, decoder_id=DecoderId(3)),
        job(decoder_id=DecoderId(4)),
    )
    await publisher.publish([result(JournalEntry(2, uplink(1)), job(JobState.NO_DECODER))])
    await publisher.publish([several])
    await publisher.stop()
    records = [json.loads(one.value) for one in await read(settings, 2)]
    assert [one["decoderId"] for one in records] == [1, 4]


async def test_order_of_a_device_is_kept_over_many_batches(
    settings: KafkaSettings, topics: None
) -> None:
    publisher = DecodedPublisher(settings)
    sent = [
        decoded(number % 5, b'{"n":%d,"x":"%s"}' % (number, b"x" * 900)) for number in range(4_000)
    ]
    await publisher.publish(sent[:3_000])
    await publisher.publish(sent[3_000:])
    await publisher.stop()
    found: dict[bytes, list[int]] = {}
    for record in await read(settings, 4_000):
        found.setdefault(record.key, []).append(json.loads(record.value)["data"]["n"])
    assert found == {b"%d" % device: list(range(device, 4_000, 5)) for device in range(5)}


async def test_record_that_is_too_long_is_left_out_and_counted(
    settings: KafkaSettings, topics: None
) -> None:
    publisher = DecodedPublisher(settings)
    await publisher.publish([decoded(1, b'"%s"' % (b"x" * 2_000_000)), decoded(1)])
    await publisher.stop()
    assert publisher.skipped == 1
    (record,) = await read(settings, 1)
    assert json.loads(record.value)["data"] == {"t": 21.5}


async def test_publishing_fails_while_kafka_is_away_and_repeats_under_the_same_message_id(
    own_kafka_broker: KafkaBroker, database: Database
) -> None:
    settings = kafka_settings(own_kafka_broker, acknowledge_timeout_s=1.0)
    await make_topics(settings, database)
    publisher, told = DecodedPublisher(settings), decoded()
    await publisher.publish([told])
    await asyncio.to_thread(own_kafka_broker.kill)
    publishing = asyncio.create_task(publisher.publish([told]))
    with pytest.raises(ConnectionLost):
        await asyncio.wait_for(publishing, 30)
    await asyncio.to_thread(own_kafka_broker.start)
    await publisher.publish([told])
    await publisher.stop()
    records = [json.loads(one.value)["messageId"] for one in await read(settings, 2)]
    assert set(records) == {told.uplink.message_id}


async def test_publisher_without_its_topic_names_what_to_run(settings: KafkaSettings) -> None:
    publisher = DecodedPublisher(replace(settings, decoded_topic="uplink.none"))
    with pytest.raises(ConnectionLost, match="tingbro migrate"):
        await publisher.publish([decoded()])
    async with administration(settings) as admin:
        assert "uplink.none" not in await admin.list_topics()
