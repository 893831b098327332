"""Making the topics: `tingbro migrate` does, and nothing else ever."""

from datetime import UTC, datetime
from typing import Final

import structlog

from protocols.errors import ConnectionLost
from storage.database import Database
from storage.instants import microseconds
from storage.kafka import events
from storage.kafka.agreement import check_all
from storage.kafka.cluster import MISSING_AFTER_S, ClusterView, WantedTopic, cluster_view
from storage.kafka.registration import Registration, find_registration, register
from storage.kafka.settings import KafkaSettings

# The largest body that can be set (16 MiB), with what a record has beside it.
_MAX_MESSAGE_BYTES: Final = 17 * 1024**2

_log = structlog.get_logger(__name__)


async def make_topics(
    settings: KafkaSettings, database: Database, *, now: datetime | None = None
) -> Registration:
    """Make the topics that are missing, register the journal's, and check that all agrees.

    Safe to run again, and by several at once. A journal's topic that was registered and is missing
    is not made again: messages may be lost, which is for a person to accept.

    Raises:
        ConnectionLost: Kafka cannot be reached.
        InvalidSettings: Kafka refuses a topic as it is wanted.
        JournalMismatch: the topic is not the one that was registered.
    """
    async with cluster_view(settings) as view:
        registered = await find_registration(database)
        if registered is None:
            registered_at = microseconds(now or datetime.now(UTC))
            registered = await _begin(view, settings, database, registered_at)
        await _make(view, decoded_topic(settings))
        await check_all(view, database, registered)
    return registered


async def _begin(
    view: ClusterView, settings: KafkaSettings, database: Database, registered_at: int
) -> Registration:
    await _make(view, raw_topic(settings))
    seen = await view.topic(settings.raw_topic, patience_s=MISSING_AFTER_S)
    if seen is None:
        raise ConnectionLost(
            f"Kafka has made the topic {settings.raw_topic}, but does not show it."
        )
    reaches = await view.reach(seen, range(seen.partitions))
    beginnings = {partition: reach.beginning for partition, reach in reaches.items()}
    wanted = Registration.of(seen, registered_at=registered_at)
    registered = await register(database, wanted, beginnings)
    if registered == wanted:
        _log.info(
            events.JOURNAL_TOPIC_REGISTER, topic=registered.topic, partitions=registered.partitions
        )
    return registered


async def _make(view: ClusterView, wanted: WantedTopic) -> None:
    if await view.topic(wanted.name) is None and await view.create(wanted):
        _log.info(events.KAFKA_TOPIC_CREATE, topic=wanted.name, partitions=wanted.partitions)


def raw_topic(settings: KafkaSettings) -> WantedTopic:
    return WantedTopic(
        name=settings.raw_topic,
        partitions=settings.partitions,
        replication=settings.replication,
        options={
            "retention.ms": str(settings.raw_retention_hours * 3_600_000),
            "retention.bytes": "-1",
            "cleanup.policy": "delete",
            "min.insync.replicas": str(settings.min_insync),
            "max.message.bytes": str(_MAX_MESSAGE_BYTES),
        },
    )


def decoded_topic(settings: KafkaSettings) -> WantedTopic:
    return WantedTopic(
        name=settings.decoded_topic,
        partitions=settings.partitions,
        replication=settings.replication,
        options={
            "retention.ms": str(settings.decoded_retention_hours * 3_600_000),
            "min.insync.replicas": str(settings.min_insync),
        },
    )
