"""Targets and a topic for each test, on the broker that they share."""

from collections.abc import AsyncIterator

import pytest

from protocols.targets.http.session import http_session
from tests.support.guards import loopback_guard
from tests.support.kafka import KafkaBroker
from tests.support.kafka_targets import KafkaTargets
from tests.support.kafka_topics import TestTopic


@pytest.fixture
async def targets() -> AsyncIterator[KafkaTargets]:
    async with http_session(guard=loopback_guard()) as session:
        made = KafkaTargets(session)
        yield made
        await made.close()


@pytest.fixture
async def topic(kafka_broker: KafkaBroker) -> TestTopic:
    made = TestTopic(kafka_broker.bootstrap_servers)
    await made.make()
    return made
