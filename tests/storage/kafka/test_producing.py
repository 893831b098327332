"""A producer whose sender ends by an error, as it may when a broker is away for long."""

import asyncio
from typing import Any

import pytest
from aiokafka.errors import KafkaError

from storage.kafka import KafkaSettings
from storage.kafka.producing import end_producer, open_producer


async def test_sender_that_ends_by_itself_fails_what_waits_and_leaves_nothing_to_be_logged(
    settings: KafkaSettings, topics: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    complaints: list[dict[str, Any]] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, found: complaints.append(found))
    producer = await open_producer(settings, settings.raw_topic)

    def fail(**_: object) -> None:
        raise RuntimeError("a defect")

    monkeypatch.setattr(producer._message_accumulator, "drain_by_nodes", fail)
    waiting = await producer.send(settings.raw_topic, b"value")
    with pytest.raises(KafkaError):
        await waiting
    with pytest.raises(KafkaError):
        await producer.send(settings.raw_topic, b"value")
    await end_producer(producer)
    assert complaints == []
