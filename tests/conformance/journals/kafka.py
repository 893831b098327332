"""The journal as a topic of the real Kafka."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from storage import Database
from storage.kafka import KafkaAppender, KafkaReader, KafkaSettings, make_topics
from tests.conformance.journals import OpenJournal
from tests.support.kafka import KafkaBroker
from tests.support.kafka_journal import kafka_settings
from tests.support.pipeline import RecordingListener, running

NEEDS = ("kafka_broker",)


class KafkaPlace:
    def __init__(self, settings: KafkaSettings) -> None:
        self._settings = settings

    async def prepare(self, database: Database) -> None:
        await make_topics(self._settings, database)

    @asynccontextmanager
    async def open(
        self, database: Database, listener: RecordingListener
    ) -> AsyncIterator[OpenJournal]:
        reader = KafkaReader(database, self._settings, holder="test")
        async with (
            running(reader, listener),
            KafkaAppender(database, self._settings) as appender,
        ):
            yield OpenJournal(appender, reader)


def make_place(kafka_broker: KafkaBroker) -> KafkaPlace:
    return KafkaPlace(kafka_settings(kafka_broker))
