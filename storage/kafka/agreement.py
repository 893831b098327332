"""Whether the topic is still the one that the database has settled.

Wherever the two disagree, going on would pass over messages in silence or take them twice. So the
hub stops there and says what a person can do; nothing is decided by itself. A topic that grew stops
only what takes messages in: the workers read it to its end under the registered count, since devices
change their partitions when the new one is accepted.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from protocols.errors import JournalMismatch
from storage.database import Database
from storage.kafka.cluster import MISSING_AFTER_S, ClusterView, Reach, SeenTopic
from storage.kafka.registration import (
    Registration,
    next_offset,
    read_cursors,
    unreadable_between,
)

WAY_OUT: Final = "`tingbro journal show` tells more; `tingbro journal accept`"


class Kind(StrEnum):
    """What does not agree."""

    TOPIC_MISSING = "topic_missing"
    CLUSTER_CHANGED = "cluster_changed"
    TOPIC_REPLACED = "topic_replaced"
    PARTITIONS_GREW = "partitions_grew"
    """More than were registered; nothing can take partitions away but making the topic anew."""
    CURSOR_BEYOND_END = "cursor_beyond_end"
    ENTRIES_GONE = "entries_gone"


@dataclass(frozen=True, slots=True)
class Disagreement:
    """`text` is a sentence for whoever has to decide."""

    kind: Kind
    text: str


def topic_disagreement(registration: Registration, seen: SeenTopic | None) -> Disagreement | None:
    """Compare the topic as it was registered with the topic as it is."""
    name = registration.topic
    if seen is None:
        return Disagreement(
            Kind.TOPIC_MISSING,
            f"The topic {name} is missing in Kafka. Bring it back, or, if what was not processed "
            f"may be given up, make it anew: {WAY_OUT} --recreate makes it and goes on there.",
        )
    if seen.cluster_id != registration.cluster_id:
        return Disagreement(
            Kind.CLUSTER_CHANGED,
            f"The Kafka cluster is {seen.cluster_id}, not {registration.cluster_id} where the "
            f"journal is. Check the bootstrap servers. {WAY_OUT} goes on with the topic {name} "
            "there, from its beginning.",
        )
    if seen.topic_id != registration.topic_id:
        return Disagreement(
            Kind.TOPIC_REPLACED,
            f"The topic {name} was deleted and made anew: what was not processed of the old one is "
            f"gone. {WAY_OUT} goes on with the new one, from its beginning.",
        )
    if seen.partitions != registration.partitions:
        return Disagreement(
            Kind.PARTITIONS_GREW,
            f"The topic {name} has {seen.partitions} partitions, and {registration.partitions} "
            "were registered: devices would change their partition and lose their order. "
            f"{WAY_OUT} goes on with the new count once everything is processed.",
        )
    return None


def reach_disagreement(
    registration: Registration, cursor: int, reach: Reach, *, known_unreadable: int = 0
) -> Disagreement | None:
    """Compare a partition's cursor with the offsets that the partition has.

    `known_unreadable` is how many of the records before the partition's beginning were kept as
    unreadable: passing those by loses nothing.
    """
    offset = next_offset(cursor)
    named = f"Partition {registration.kafka_partition_at(cursor)} of {registration.topic}"
    if offset > reach.end:
        return Disagreement(
            Kind.CURSOR_BEYOND_END,
            f"{named} ends at offset {reach.end}, but it was processed up to {offset}: Kafka has "
            f"lost records, or the topic was emptied. {WAY_OUT} goes on from its beginning.",
        )
    gone = reach.beginning - offset - known_unreadable
    if gone > 0:
        return Disagreement(
            Kind.ENTRIES_GONE,
            f"{named} begins at offset {reach.beginning}, but it was processed only up to "
            f"{offset}: the topic's retention has deleted up to {gone} messages unread. "
            f"{WAY_OUT} gives them up and goes on.",
        )
    return None


async def check_topic(view: ClusterView, registration: Registration) -> SeenTopic:
    """Return the topic as it is now.

    Raises:
        JournalMismatch: it is not what was registered.
    """
    seen = await view.topic(registration.topic, patience_s=MISSING_AFTER_S)
    refuse(topic_disagreement(registration, seen))
    assert seen is not None, "a missing topic is a disagreement"
    return seen


async def check_readable(view: ClusterView, registration: Registration) -> SeenTopic:
    """Check for a worker, which reads a topic that only grew to its end under the registered count.

    Raises:
        JournalMismatch: the topic is not what was registered.
    """
    seen = await view.topic(registration.topic, patience_s=MISSING_AFTER_S)
    found = topic_disagreement(registration, seen)
    if found is not None and found.kind is not Kind.PARTITIONS_GREW:
        refuse(found)
    assert seen is not None, "a missing topic is a disagreement"
    return seen


def check_settled(
    registration: Registration, cursors: Mapping[int, int], reaches: Mapping[int, Reach]
) -> None:
    """Compare with offsets only what matters to who appends: that nothing new stands before a cursor.

    Raises:
        JournalMismatch: a partition ends before what was settled of it.
    """
    for cursor in cursors.values():
        reach = reaches[registration.kafka_partition_at(cursor)]
        if next_offset(cursor) > reach.end:
            refuse(reach_disagreement(registration, cursor, reach))


async def check_reach(
    database: Database,
    registration: Registration,
    cursors: Mapping[int, int],
    reaches: Mapping[int, Reach],
) -> None:
    """Compare cursors, by the journal's partitions, with offsets, by the topic's.

    Raises:
        JournalMismatch: going on from one of the cursors would pass over records.
    """
    found = await reach_disagreements(database, registration, cursors, reaches)
    refuse(found[0] if found else None)


async def reach_disagreements(
    database: Database,
    registration: Registration,
    cursors: Mapping[int, int],
    reaches: Mapping[int, Reach],
) -> Sequence[Disagreement]:
    found: list[Disagreement] = []
    for partition, cursor in sorted(cursors.items()):
        kafka_partition = registration.kafka_partition(partition)
        reach = reaches[kafka_partition]
        unreadable = 0
        if next_offset(cursor) < reach.beginning:
            first_there = registration.cursor(kafka_partition, reach.beginning)
            unreadable = await unreadable_between(database, cursor, first_there)
        one = reach_disagreement(registration, cursor, reach, known_unreadable=unreadable)
        if one is not None:
            found.append(one)
    return found


async def check_all(view: ClusterView, database: Database, registration: Registration) -> None:
    """Check the topic and every partition of it. Raises JournalMismatch."""
    seen = await check_topic(view, registration)
    cursors = await read_cursors(database, registration.journal_partitions)
    await check_reach(
        database, registration, cursors, await view.reach(seen, range(seen.partitions))
    )


def refuse(disagreement: Disagreement | None) -> None:
    """Raises JournalMismatch when there is one."""
    if disagreement is not None:
        raise JournalMismatch(disagreement.text)
