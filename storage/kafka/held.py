"""The entries of one partition that were read and are not settled yet."""

from bisect import bisect_right
from collections.abc import Iterable
from operator import attrgetter

from storage.journal import JournalEntry
from storage.kafka.registration import next_offset

_position = attrgetter("position")


class HeldPartition:
    """Filled in order at its end, emptied at its beginning as the cursor moves."""

    def __init__(self, cursor: int, end: int) -> None:
        """`end` is the offset, Kafka's, up to which the partition reached when last asked."""
        self.cursor = cursor
        self.end = end
        self.size_bytes = 0
        self._read_up_to = next_offset(cursor)
        self._entries: list[JournalEntry] = []

    def __len__(self) -> int:
        return len(self._entries)

    @property
    def lag(self) -> int:
        """How many entries are not settled: what is held, and what is still to be read."""
        return len(self._entries) + max(0, self.end - self._read_up_to)

    def add(self, entries: Iterable[JournalEntry], *, read_up_to: int) -> None:
        """Take what was read; `read_up_to` is the offset of the next record to be read."""
        for entry in entries:
            self._entries.append(entry)
            self.size_bytes += len(entry.uplink.payload)
        self._read_up_to = read_up_to

    def after(self, position: int, limit: int) -> list[JournalEntry]:
        """Return up to `limit` entries beyond `position`."""
        start = bisect_right(self._entries, position, key=_position)
        return self._entries[start : start + limit]

    def release(self, cursor: int) -> None:
        """Let go of what is settled. A cursor that is behind the last one changes nothing."""
        if cursor <= self.cursor:
            return
        self.cursor = cursor
        settled = bisect_right(self._entries, cursor, key=_position)
        self.size_bytes -= sum(len(entry.uplink.payload) for entry in self._entries[:settled])
        del self._entries[:settled]
