"""Which topic is the journal, as the database knows it, and how its offsets become positions.

Partition p of the topic is the journal's partition `first_partition + p`. The record at offset o
is the entry whose position has the offset o + 1, so that the offset of a cursor is the offset
of the next record to read: a partition of which nothing is settled has a cursor of offset 0, which
is a position of that partition, too, and stands before all of its entries.
"""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Final

from sqlalchemy import bindparam, select, update

from protocols.errors import JournalMismatch
from storage.database import BulkInsert, Database, Reader, Transaction
from storage.journal import offset_of, partition_of, position_of
from storage.kafka.cluster import SeenTopic
from storage.kafka.records import kafka_partition_of, key_of
from storage.tables.fleet import journal_topic, unreadable_record
from storage.tables.pipeline import journal_cursor

_NAME: Final = "journal"
_FIRST_PARTITION: Final = 1

_SELECT = select(journal_topic).where(journal_topic.c.name == _NAME)
_INSERT = BulkInsert(
    journal_topic,
    (
        "name",
        "topic",
        "topic_id",
        "cluster_id",
        "partitions",
        "first_partition",
        "registered_at",
    ),
    {},
)
_UPDATE = (
    update(journal_topic)
    .where(journal_topic.c.name == _NAME)
    .values(
        topic=bindparam("new_topic"),
        topic_id=bindparam("new_topic_id"),
        cluster_id=bindparam("new_cluster_id"),
        partitions=bindparam("new_partitions"),
        first_partition=bindparam("new_first_partition"),
        registered_at=bindparam("new_registered_at"),
    )
)
_INSERT_CURSORS = BulkInsert(journal_cursor, ("partition", "position"), {})
_SELECT_CURSORS = select(journal_cursor.c.partition, journal_cursor.c.position).where(
    journal_cursor.c.partition.in_(bindparam("partitions", expanding=True))
)
_SELECT_UNREADABLE = select(unreadable_record.c.position).where(
    unreadable_record.c.position > bindparam("after"),
    unreadable_record.c.position <= bindparam("up_to"),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Registration:
    """The topic that is the journal. See the module for what its positions are."""

    topic: str
    topic_id: str
    cluster_id: str
    partitions: int
    first_partition: int = _FIRST_PARTITION
    registered_at: int
    """Microseconds."""

    @property
    def journal_partitions(self) -> range:
        return range(self.first_partition, self.first_partition + self.partitions)

    def journal_partition(self, kafka_partition: int) -> int:
        return self.first_partition + kafka_partition

    def kafka_partition(self, journal_partition: int) -> int:
        return journal_partition - self.first_partition

    def kafka_partition_at(self, position: int) -> int:
        return self.kafka_partition(partition_of(position))

    def kafka_partition_for(self, device_id: int) -> int:
        return kafka_partition_of(key_of(device_id), self.partitions)

    def position(self, kafka_partition: int, offset: int) -> int:
        """Return the position of the record at this offset."""
        return position_of(self.first_partition + kafka_partition, offset + 1)

    def cursor(self, kafka_partition: int, next_offset: int) -> int:
        """Return the cursor of a partition whose records before `next_offset` are settled."""
        return position_of(self.first_partition + kafka_partition, next_offset)

    @classmethod
    def of(cls, seen: SeenTopic, *, registered_at: int) -> "Registration":
        return cls(
            topic=seen.name,
            topic_id=seen.topic_id,
            cluster_id=seen.cluster_id,
            partitions=seen.partitions,
            registered_at=registered_at,
        )


def next_offset(cursor: int) -> int:
    """Return the offset of the first record that stands behind a cursor."""
    return offset_of(cursor)


def offset_at(position: int) -> int:
    """Return the offset of the record of this position."""
    return offset_of(position) - 1


async def read_registration(database: Database) -> Registration:
    """Raises JournalMismatch when no topic was registered yet."""
    found = await database.read(_registered)
    if found is None:
        raise JournalMismatch(
            "The database knows of no topic that is the journal: run `tingbro migrate` first."
        )
    return found


async def find_registration(database: Database) -> Registration | None:
    return await database.read(_registered)


async def register(
    database: Database, registration: Registration, beginnings: dict[int, int]
) -> Registration:
    """Make this topic the journal, from these offsets on, unless another is; return which is.

    `beginnings` holds an offset for each partition of the topic.
    """

    def unit(transaction: Transaction) -> Registration:
        transaction.insert_many(_INSERT, [(_NAME, *_values(registration))])
        registered = _registered(transaction)
        assert registered is not None, "it was just written, or was there before"
        if registered == registration:
            _make_cursors(transaction, registration, beginnings)
        return registered

    return await database.write(unit)


def replace_registration(
    transaction: Transaction, registration: Registration, beginnings: dict[int, int]
) -> None:
    """Write what a person has accepted, with a cursor for each partition."""
    names = (
        "new_topic",
        "new_topic_id",
        "new_cluster_id",
        "new_partitions",
        "new_first_partition",
        "new_registered_at",
    )
    transaction.execute(_UPDATE, dict(zip(names, _values(registration), strict=True)))
    _make_cursors(transaction, registration, beginnings)


def behind(registration: Registration, seen: SeenTopic) -> Registration:
    """Return a registration of another topic whose positions stand behind all of this one's."""
    following = registration.first_partition + registration.partitions
    return replace(
        Registration.of(seen, registered_at=registration.registered_at), first_partition=following
    )


async def read_cursors(database: Database, partitions: Iterable[int]) -> dict[int, int]:
    """Return the cursors of these partitions of the journal; those without one are missing."""
    wanted = {"partitions": list(partitions)}
    rows = await database.read(lambda reader: reader.fetch_all(_SELECT_CURSORS, wanted))
    return {row.partition: row.position for row in rows}


async def unreadable_between(database: Database, cursor: int, next_position: int) -> int:
    """Return how many records behind the cursor and before a position were kept as unreadable."""
    bounds = {"after": cursor, "up_to": next_position}
    assert partition_of(cursor) == partition_of(next_position)
    return len(await database.read(lambda reader: reader.fetch_all(_SELECT_UNREADABLE, bounds)))


def _registered(reader: Reader) -> Registration | None:
    row = reader.fetch_one(_SELECT)
    if row is None:
        return None
    return Registration(
        topic=row.topic,
        topic_id=row.topic_id,
        cluster_id=row.cluster_id,
        partitions=row.partitions,
        first_partition=row.first_partition,
        registered_at=row.registered_at,
    )


def _values(registration: Registration) -> tuple[object, ...]:
    return (
        registration.topic,
        registration.topic_id,
        registration.cluster_id,
        registration.partitions,
        registration.first_partition,
        registration.registered_at,
    )


def _make_cursors(
    transaction: Transaction, registration: Registration, beginnings: dict[int, int]
) -> None:
    rows = [
        (registration.journal_partition(partition), registration.cursor(partition, offset))
        for partition, offset in beginnings.items()
    ]
    transaction.insert_many(_INSERT_CURSORS, rows)
