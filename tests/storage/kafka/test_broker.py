"""What the tests expect of the broker that they are given."""

import asyncio

from aiokafka import AIOKafkaProducer
from aiokafka.admin import AIOKafkaAdminClient, NewTopic

from tests.support.kafka import KafkaBroker


async def test_what_was_acknowledged_is_there_after_the_broker_was_killed(
    own_kafka_broker: KafkaBroker,
) -> None:
    servers = own_kafka_broker.bootstrap_servers
    admin = AIOKafkaAdminClient(bootstrap_servers=servers)
    await admin.start()
    await admin.create_topics([NewTopic("kept", 1, 1)])
    await admin.close()
    assert await _offset_of_one_more(servers) == 0
    await asyncio.to_thread(own_kafka_broker.kill)
    await asyncio.to_thread(own_kafka_broker.start)
    assert await _offset_of_one_more(servers) == 1


async def _offset_of_one_more(servers: str) -> int:
    producer = AIOKafkaProducer(bootstrap_servers=servers, acks="all")
    await producer.start()
    try:
        kept = await producer.send_and_wait("kept", b"value")
        return int(kept.offset)
    finally:
        await producer.stop()
