"""The journal: where a message is durable before its sender is told so.

Positions order the entries; none is ever given twice; they may have gaps (a partitioned log counts control
records too). An entry is *settled* when its message row, or its place among those set aside, has been
committed; the journal's cursor stands before the first entry that is not. The embedded journal is a table in the hub's own
database; a partitioned log can take its place, and then settling moves offsets instead of
deleting rows.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta

from protocols.messages import MessageId, Uplink

OnAppended = Callable[[list["JournalEntry"]], None]


@dataclass(frozen=True, slots=True)
class JournalEntry:
    """One accepted message and its place in the order of acceptance."""

    position: int
    uplink: Uplink


@dataclass(frozen=True, slots=True)
class Appended:
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


class Journal(ABC):
    """Used on the event loop only. Subscribe before the first append."""

    @abstractmethod
    async def open(self) -> None:
        """Learn how much is still unsettled. Call once, after the database is open."""

    @abstractmethod
    async def append(self, uplink: Uplink) -> Appended:
        """Make `uplink` durable; return after the commit has reached the disk.

        A `source_key` that this device has used within the window appends nothing and gives the first
        message's id. Cancelling the caller does not take the entry back.

        Raises:
            HubFull: too much is unsettled, the disk is nearly full or cannot be written.
            RowRefused: this uplink cannot be stored; others are not affected.
            StorageUnavailable: the hub was stopped before the commit; the sender must try again.
        """

    @abstractmethod
    def subscribe(self, on_appended: OnAppended) -> None:
        """Have `on_appended` called on the loop after each commit, before its appends resolve.

        Entries come in the order of their positions, each once. It must not raise or block; what
        it cannot take now it reads later with `unsettled_after`.
        """

    @abstractmethod
    async def unsettled_after(self, position: int, limit: int) -> list[JournalEntry]:
        """Return the first `limit` unsettled entries beyond `position`, in order."""

    @abstractmethod
    async def cursor(self) -> int:
        """Return the position up to which everything is settled, as last committed."""

    @property
    @abstractmethod
    def source_key_window(self) -> timedelta:
        """How long a `source_key` is known; older ones may be deleted."""

    @property
    @abstractmethod
    def backlog(self) -> int:
        """How many entries are unsettled, including those whose commit is under way."""

    @abstractmethod
    def release(self, entries: int, size_bytes: int) -> None:
        """Take settled entries off the backlog; called by the result store after its commit."""
