"""The journal: where a message is durable before its sender is told so.

It has one or more partitions; all messages of a device are in one of them, in the order of their
acceptance. A *position* names an entry: its partition, and its offset there. Within a partition
positions grow, none is ever given twice, and there may be gaps. An entry is *settled* when its message row, or
its place among those set aside, has been committed; the cursor of a partition stands before its
first entry that is not.

Two kinds of processes use a journal. Who takes messages in appends (`JournalAppender`). Who
decodes them reads (`JournalReader`): it is assigned partitions, claims their cursors in the
database, and settles entries under that claim. The embedded journal is a table in the hub's own
database, one partition, and both at once; the scaled one is a topic of Kafka.
"""

from abc import ABC, abstractmethod
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Final, Protocol

import msgspec

from protocols.messages import DeviceId, MessageId, Uplink
from storage.settling import Settling

EMBEDDED: Final = 0
"""The partition of the embedded journal. Those of a topic count from 1, so that in the order of
positions they stand behind what the embedded journal held before."""

_OFFSET_BITS: Final = 48
_OFFSET_MASK: Final = (1 << _OFFSET_BITS) - 1

Cursors = Mapping[int, int]
"""A position for each of some partitions."""


def position_of(partition: int, offset: int) -> int:
    """Return the position of an offset; within a partition positions are ordered as offsets are."""
    return partition << _OFFSET_BITS | offset


def partition_of(position: int) -> int:
    return position >> _OFFSET_BITS


def offset_of(position: int) -> int:
    return position & _OFFSET_MASK


class JournalEntry(msgspec.Struct, frozen=True, gc=False):
    """One accepted message and its place in the order of acceptance."""

    position: int
    uplink: Uplink


class Appended(msgspec.Struct, frozen=True, gc=False):
    """What became of an append. For a duplicate, `message_id` is the first message's and
    `position` is None."""

    message_id: MessageId
    position: int | None
    is_duplicate: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class JournalLimits:
    """When the journal says that the hub is full, and how long it knows a `source_key`."""

    backlog_entries: int = 500_000
    """Ten minutes of a busy hub; recovery reads them all."""
    backlog_bytes: int = 2 * 1024**3
    free_bytes: int = 256 * 1024**2
    """Kept free on the disk, so that results and deliveries of what was accepted still fit."""
    source_key_window: timedelta = timedelta(hours=24)
    retry_after_s: int = 5
    burst_s: float = 0.001
    """How long at most the first message of a burst waits for those that come right after it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PartitionStatus:
    """How far one partition has got, as last heard; `lag` is how many entries are not settled."""

    partition: int
    cursor: int
    lag: int


class JournalListener(Protocol):
    """Who reads from a journal. Called on the loop; only `revoked` may take time."""

    def assigned(self, cursors: Cursors, *, crashes: int) -> None:
        """These partitions, and no others, are ours from now on; what stands behind these positions is ours to settle.

        `crashes` is how often, at the most, a claim of one of these partitions ended in disorder
        without moving the cursor.
        """

    async def revoked(self) -> None:
        """Every partition is about to be given up: return when what was taken is on disk, or its time is over.

        What is written afterwards is refused.
        """

    def appended(self, entries: list[JournalEntry]) -> None:
        """These entries can be taken, in the order of each partition, each told once.

        What cannot be taken now is read later with `unsettled_after`.
        """


class JournalAppender(ABC):
    """Used on the event loop only."""

    @abstractmethod
    async def append(self, uplink: Uplink) -> Appended:
        """Make `uplink` durable; return after the commit has reached the disk.

        Cancelling the caller does not take the entry back. Where the journal itself knows source keys, one that this device
        has used within the window appends nothing and gives the first message's id; elsewhere
        the repetition is recognised when it is settled.

        Raises:
            HubFull: too much is waiting, or nothing can be made durable at present.
            RowRefused: this uplink cannot be stored; others are not affected.
            StorageUnavailable: it is unknown whether it was stored; the sender must try again.
        """

    @property
    @abstractmethod
    def waiting(self) -> int:
        """How many appends wait to become durable, or, where that is known, to be settled."""

    @property
    def obstacle(self) -> str | None:
        """Why nothing can be made durable at present, as a sentence; None if nothing is known to be in the way."""
        return None


class JournalReader(ABC):
    """Used on the event loop only."""

    @abstractmethod
    async def run(self, listener: JournalListener) -> None:
        """Take part until cancelled: claim what is assigned, tell of it, give it up in the end.

        However it ends, `listener.revoked` has been awaited if anything was assigned, and the
        claims are given up. It may be run again.

        Raises:
            ConnectionLost, StorageUnavailable: run it again in a while.
            JournalMismatch: the journal is not the one that the database has settled; a person
                has to decide, the text says how.
        """

    @abstractmethod
    async def unsettled_after(self, position: int, limit: int) -> list[JournalEntry]:
        """Return up to `limit` entries of its partition beyond `position`, in order.

        There may be more when there are `limit`. None for a partition that is not assigned.
        """

    @abstractmethod
    async def cursors(self) -> Cursors:
        """Return the cursors of the assigned partitions, as last committed."""

    @property
    @abstractmethod
    def settling(self) -> Settling:
        """How entries are settled within the transaction of their results."""

    @abstractmethod
    def holds(self, device_id: DeviceId) -> bool:
        """Say whether what this device sends, and has sent, is this process's to settle."""

    @abstractmethod
    def lose(self, partitions: Collection[int]) -> None:
        """A transaction has found that these are claimed by another process: `run` ends, with the reason."""

    @abstractmethod
    def release(self, *, entries: int, size_bytes: int, cursors: Cursors) -> None:
        """So many entries were settled, and the cursors of these partitions moved: let go of them."""

    @abstractmethod
    def status(self) -> list[PartitionStatus]:
        """Return how far the assigned partitions have got. Cheap."""

    @property
    @abstractmethod
    def source_key_window(self) -> timedelta:
        """How long a `source_key` is known; older ones may be deleted."""
