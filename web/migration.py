"""`tingbro migrate`: the schema, and where Kafka is set the topics and what has to go there.

Every step finds its work done when it is run again, and several runs at once do it once between them.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from protocols.errors import ClaimLost, JournalMismatch, StorageUnavailable
from storage import Database, open_database
from storage.journal_handover import JournalHandover, entries_left
from storage.migrations import head_revision
from storage.place import place_of
from web.kafka_settings import KafkaSettings
from web.settings import Settings

# How long another process may take to hand the journal over, before it is taken for a hub that runs.
_PATIENCE_S = 60.0
_POLL_S = 1.0


async def migrate(settings: Settings) -> list[str]:
    """Bring everything to what this version needs; returns sentences about what there is now.

    Raises:
        StorageUnavailable: a hub uses the database, or it cannot be reached.
        SchemaMismatch: the database is from a newer version.
        ConnectionLost: Kafka cannot be reached.
        JournalMismatch: the topic is not the one that the database knows.
        InvalidSettings: Kafka refuses a topic as it is wanted.
    """
    url = settings.storage.database_url
    # The processes of a fleet share the database, also while it is migrated; `up` has it alone.
    async with _opened(url, is_shared=settings.kafka is not None) as database:
        done = [f"{place_of(url)} has schema {head_revision()}, which this version needs."]
        if settings.kafka is not None:
            done.append(await _make_topics(settings.kafka, database))
            done += await _hand_over(settings, settings.kafka, database)
    return done


async def check_handed_over(database: Database) -> None:
    """See that nothing waits where the processes of a fleet do not look.

    Raises:
        JournalMismatch: a hub without Kafka has left messages; new ones would pass them.
    """
    if left := await entries_left(database):
        raise JournalMismatch(
            f"{left:,} messages that a hub without Kafka accepted wait in the database: run "
            "`tingbro migrate` with Kafka set, which hands them over."
        )


async def _make_topics(kafka: KafkaSettings, database: Database) -> str:
    from storage.kafka import make_topics
    from web.assembly import kafka_of

    wanted = kafka_of(kafka)
    registered = await make_topics(wanted, database)
    sentence = (
        f"The journal is the topic {registered.topic} with {registered.partitions} partitions"
    )
    if registered.partitions != kafka.partitions or registered.topic != wanted.raw_topic:
        return f"{sentence}, as it was registered first; the settings say otherwise."
    return f"{sentence}; what is decoded is told in {wanted.decoded_topic}."


async def _hand_over(settings: Settings, kafka: KafkaSettings, database: Database) -> list[str]:
    """Move what a hub without Kafka accepted and did not finish."""
    deadline_s = asyncio.get_running_loop().time() + _PATIENCE_S
    while await entries_left(database):
        try:
            return await _hand_over_alone(settings, kafka)
        except (StorageUnavailable, ClaimLost):
            # Another migration has the database for itself, or a hub without Kafka still runs.
            if asyncio.get_running_loop().time() >= deadline_s:
                raise
            await asyncio.sleep(_POLL_S)
    return []


async def _hand_over_alone(settings: Settings, kafka: KafkaSettings) -> list[str]:
    from storage.kafka import KafkaAppender
    from web.assembly import kafka_of

    async with (
        _opened(settings.storage.database_url, is_shared=False) as database,
        KafkaAppender(database, kafka_of(kafka)) as appender,
    ):
        handover = JournalHandover(database, appender, holder=settings.process_name)
        report = await handover.run()
    told = [
        (report.handed_over, "messages that were accepted before went over to Kafka."),
        (report.set_aside, "messages that Kafka does not take are set aside."),
    ]
    return [f"{count:,} {what}" for count, what in told if count]


@asynccontextmanager
async def _opened(url: str, *, is_shared: bool) -> AsyncIterator[Database]:
    database = open_database(url, is_shared=is_shared)
    await database.open()
    try:
        yield database
    finally:
        await database.close()
