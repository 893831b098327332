"""`tingbro journal`: what the topic that is the journal is like, and going on when it has changed."""

from collections.abc import Awaitable, Callable

from protocols.errors import InvalidSettings
from storage import Database, open_database
from storage.kafka import accept as accept_topic
from storage.kafka import describe
from storage.kafka.inspection import JournalDescription, PartitionDescription
from storage.kafka.settings import KafkaSettings as JournalSettings
from web.assembly import kafka_of
from web.settings import Settings
from web.variables import PREFIX


async def show(settings: Settings) -> tuple[bool, list[str]]:
    """Whether all agrees, and lines for people.

    Raises:
        InvalidSettings: no Kafka is set.
        ConnectionLost: Kafka cannot be reached.
        JournalMismatch: nothing is registered yet.
    """
    return await _asking(settings, describe)


async def accept(settings: Settings, *, recreate: bool) -> tuple[bool, list[str]]:
    """Go on with the topic as it is now, and give up what is gone; see `storage.kafka.accept`."""

    async def ask(wanted: JournalSettings, database: Database) -> JournalDescription:
        return await accept_topic(wanted, database, recreate=recreate)

    return await _asking(settings, ask)


async def _asking(
    settings: Settings,
    ask: Callable[[JournalSettings, Database], Awaitable[JournalDescription]],
) -> tuple[bool, list[str]]:
    if settings.kafka is None:
        raise InvalidSettings(
            [f"{PREFIX}KAFKA_BOOTSTRAP_SERVERS must be set: the journal of this hub is no topic."]
        )
    database = open_database(settings.storage.database_url, is_shared=True, migrate=False)
    await database.open()
    try:
        description = await ask(kafka_of(settings.kafka), database)
    finally:
        await database.close()
    return not description.disagreements, _lines(description)


def _lines(description: JournalDescription) -> list[str]:
    registered = description.registration
    waiting = sum(one.waiting for one in description.partitions)
    return [
        f"topic       {registered.topic} (id {registered.topic_id})",
        f"cluster     {registered.cluster_id}",
        f"partitions  {registered.partitions} registered"
        + (f", {description.seen.partitions} in Kafka" if description.seen else ", none in Kafka"),
        f"waiting     {waiting:,} messages",
        "",
        f"{'partition':>9} {'settled before':>15} {'first':>15} {'end':>15} {'waiting':>12}",
        *(_line(one) for one in description.partitions),
        "",
        *(
            [one.text for one in description.disagreements]
            or ["Kafka and the database agree: there is nothing to accept."]
        ),
    ]


def _line(one: PartitionDescription) -> str:
    first, end = (one.reach.beginning, one.reach.end) if one.reach else ("-", "-")
    return f"{one.partition:>9} {one.next_offset:>15} {first:>15} {end:>15} {one.waiting:>12,}"
