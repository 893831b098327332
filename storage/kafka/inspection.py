"""What a person can see of the journal's topic, and accept when it is not what it was.

Accepting makes new partitions of the journal, behind all earlier ones, whose cursors stand where the
topic is to be read from: positions never go back, and whoever still holds an old partition finds
its cursor gone and can settle nothing more.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import structlog
from sqlalchemy import bindparam, delete

from protocols.errors import Conflict, ConnectionLost
from storage.database import Database, Transaction
from storage.kafka import events
from storage.kafka.agreement import (
    Disagreement,
    Kind,
    reach_disagreements,
    topic_disagreement,
)
from storage.kafka.cluster import MISSING_AFTER_S, ClusterView, Reach, SeenTopic, cluster_view
from storage.kafka.registration import (
    Registration,
    behind,
    next_offset,
    read_cursors,
    read_registration,
    replace_registration,
    unreadable_between,
)
from storage.kafka.settings import KafkaSettings
from storage.kafka.topics import raw_topic
from storage.tables.pipeline import journal_cursor

_FORGET = delete(journal_cursor).where(
    journal_cursor.c.partition.in_(bindparam("partitions", expanding=True))
)

_log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class PartitionDescription:
    """Offsets are Kafka's. `next_offset` is the first record that is not settled."""

    partition: int
    next_offset: int
    reach: Reach | None
    """None where the topic does not have the partition."""
    unreadable: int
    """How many of the records that are not settled were kept as unreadable."""

    @property
    def waiting(self) -> int:
        """How many records are still to be settled."""
        if self.reach is None:
            return 0
        return max(0, self.reach.end - self.next_offset - self.unreadable)

    @property
    def is_within_reach(self) -> bool:
        reach = self.reach
        return reach is not None and reach.beginning <= self.next_offset <= reach.end


@dataclass(frozen=True, slots=True, kw_only=True)
class JournalDescription:
    """The journal as the database knows it, and as Kafka has it; without `disagreements` all is well."""

    registration: Registration
    seen: SeenTopic | None
    partitions: Sequence[PartitionDescription]
    disagreements: Sequence[Disagreement]


async def describe(settings: KafkaSettings, database: Database) -> JournalDescription:
    """Compare the registration with the cluster.

    Raises:
        ConnectionLost: Kafka cannot be reached.
        JournalMismatch: nothing is registered yet.
    """
    async with cluster_view(settings) as view:
        return await _describe(view, database)


async def accept(
    settings: KafkaSettings, database: Database, *, recreate: bool = False
) -> JournalDescription:
    """Go on with the topic as it is now, giving up what is gone; return what it is like afterwards.

    A topic that took the old one's place is read from its beginning. Of the same topic, each
    partition is read on from where it was settled, or from its beginning where that offset is
    not there any more. A changed count of partitions is taken over once nothing is left to settle.
    `recreate` makes a topic that is missing. Who appends notices within seconds, who reads at the
    next run. Where all agrees, nothing happens.

    Raises:
        ConnectionLost: Kafka cannot be reached.
        Conflict: the topic is missing, or there is something left to settle first.
    """
    async with cluster_view(settings) as view:
        before = await _describe(view, database)
        if not before.disagreements:
            return before
        seen = before.seen
        if seen is None:
            seen = await _recreate(view, settings, before, recreate=recreate)
        _check_nothing_waits(before)
        await _go_on_with(seen, await view.reach(seen, range(seen.partitions)), database, before)
        for one in before.disagreements:
            _log.warning(events.JOURNAL_TOPIC_ACCEPT, kind=one.kind.value, reason=one.text)
        return await _describe(view, database)


async def _describe(view: ClusterView, database: Database) -> JournalDescription:
    registration = await read_registration(database)
    seen = await view.topic(registration.topic, patience_s=MISSING_AFTER_S)
    reaches = {} if seen is None else await view.reach(seen, range(seen.partitions))
    cursors = await read_cursors(database, registration.journal_partitions)
    disagreements = [one for one in [topic_disagreement(registration, seen)] if one is not None]
    if not disagreements:
        disagreements += await reach_disagreements(database, registration, cursors, reaches)
    return JournalDescription(
        registration=registration,
        seen=seen,
        partitions=[
            await _describe_partition(database, registration, cursor, reaches)
            for cursor in cursors.values()
        ],
        disagreements=disagreements,
    )


async def _describe_partition(
    database: Database, registration: Registration, cursor: int, reaches: Mapping[int, Reach]
) -> PartitionDescription:
    partition = registration.kafka_partition_at(cursor)
    reach, unreadable = reaches.get(partition), 0
    if reach is not None and reach.end > next_offset(cursor):
        end = registration.cursor(partition, reach.end)
        unreadable = await unreadable_between(database, cursor, end)
    return PartitionDescription(
        partition=partition, next_offset=next_offset(cursor), reach=reach, unreadable=unreadable
    )


async def _recreate(
    view: ClusterView, settings: KafkaSettings, before: JournalDescription, *, recreate: bool
) -> SeenTopic:
    if not recreate:
        raise Conflict(before.disagreements[0].text)
    name = before.registration.topic
    await view.create(replace(raw_topic(settings), name=name))
    seen = await view.topic(name, patience_s=MISSING_AFTER_S)
    if seen is None:
        raise ConnectionLost(f"Kafka has made the topic {name}, but does not show it.")
    return seen


def _check_nothing_waits(before: JournalDescription) -> None:
    """Devices change their partitions with the count: what waits in the old ones must come first."""
    waiting = sum(one.waiting for one in before.partitions)
    if waiting and any(one.kind is Kind.PARTITIONS_GREW for one in before.disagreements):
        raise Conflict(
            f"{waiting} messages are not processed yet: the workers go on with them, and nothing "
            "new is taken in. Accept the new count of partitions when they are done."
        )


async def _go_on_with(
    seen: SeenTopic, reaches: Mapping[int, Reach], database: Database, before: JournalDescription
) -> None:
    offsets = {partition: reach.beginning for partition, reach in reaches.items()}
    if seen.topic_id == before.registration.topic_id:
        kept = {one.partition: one.next_offset for one in before.partitions if one.is_within_reach}
        offsets |= kept
    old = {"partitions": list(before.registration.journal_partitions)}

    def unit(transaction: Transaction) -> None:
        transaction.execute(_FORGET, old)
        replace_registration(transaction, behind(before.registration, seen), offsets)

    await database.write(unit)
