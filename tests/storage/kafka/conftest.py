"""A journal of its own for each test, on the broker that they share."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from storage import Database, open_database
from storage.kafka import KafkaSettings
from storage.kafka.appender import KafkaAppender
from storage.kafka.topics import make_topics
from tests.support.kafka import KafkaBroker
from tests.support.kafka_journal import kafka_settings


@pytest.fixture
async def database(tmp_path: Path) -> AsyncIterator[Database]:
    opened = open_database(f"sqlite:///{tmp_path / 'hub.db'}")
    await opened.open()
    yield opened
    await opened.close()


@pytest.fixture
def settings(kafka_broker: KafkaBroker) -> KafkaSettings:
    return kafka_settings(kafka_broker)


@pytest.fixture
async def topics(settings: KafkaSettings, database: Database) -> None:
    """The topics of `settings`, registered in `database`."""
    await make_topics(settings, database)


@pytest.fixture
async def appender(
    settings: KafkaSettings, database: Database, topics: None
) -> AsyncIterator[KafkaAppender]:
    async with KafkaAppender(database, settings) as started:
        assert started.health.is_ok, started.health.reason
        yield started
