"""The window of messages between the journal and the database, and the credits that bound it.

The router admits at most `window` messages; the writer's commits give the credits back. What is
admitted is held here until it is settled, whatever happens to the actors in between: this is the
completion of each position. Nothing is lost when the window is full, because the journal holds
what was not admitted, and `behind` says which partitions have to be read again.
"""

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from protocols.messages import DeviceId
from storage.journal import Cursors, JournalEntry, partition_of

# A decode that takes this long is the exception (the median is below a millisecond): its message is
# deferred, so that the watermark can pass it.
DEFER_AFTER_S = 0.05
# When the whole hub is busy every message takes long, and deferring all of them would only add
# work: a message is an exception if it takes several times as long as its contemporaries, and if
# others have overtaken it that were admitted later. After a pause thousands are admitted at once,
# and whoever stands at the end of that queue is no exception.
DEFER_AFTER_RATIO = 4.0
# Who is overtaken by nobody holds nobody up, but the journal does not get on either.
DEFER_AT_LAST_S = 5.0
_SMOOTHING = 0.2


@dataclass(slots=True)
class Admitted:
    entry: JournalEntry
    admitted_at_s: float
    crashes: int = 0
    is_late: bool = False


class AdmissionWindow:
    """Owned by the router; not thread-safe. Times are those of `monotonic`, in seconds."""

    def __init__(self, *, window: int, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._window = window
        self._monotonic = monotonic
        self._admitted: dict[int, Admitted] = {}
        self._typical_s = 0.0
        self._overtaker_s = float("-inf")
        self.last: dict[int, int] = {}
        """The last position that was admitted of each partition that may be admitted from."""
        self.behind: set[int] = set()
        """Partitions that hold entries which found no room: nothing is admitted past those."""

    def __len__(self) -> int:
        return len(self._admitted)

    @property
    def room(self) -> int:
        return max(0, self._window - len(self._admitted))

    def widen(self, window: int) -> None:
        """Admit up to `window` messages from now on."""
        self._window = window

    def begin(self, cursors: Cursors) -> None:
        """Forget everything; from now on admit what lies behind these positions, and it only."""
        self._admitted.clear()
        self.last = dict(cursors)
        self.behind = set()

    def admit(self, entries: list[JournalEntry]) -> list[JournalEntry]:
        """Take what is new and finds room; what finds none is left to the journal (`behind`)."""
        admitted: list[JournalEntry] = []
        now_s = self._monotonic()
        last, behind = self.last, self.behind
        for entry in entries:
            position = entry.position
            partition = partition_of(position)
            if partition in behind or position <= last.get(partition, position):
                continue
            if len(self._admitted) >= self._window:
                behind.add(partition)
                continue
            self._admitted[position] = Admitted(entry, now_s)
            last[partition] = position
            admitted.append(entry)
        return admitted

    def settle(self, positions: list[int]) -> None:
        """Give back the credits of these positions; unknown ones are passed over."""
        newest: Admitted | None = None
        for position in positions:
            newest = self._admitted.pop(position, None) or newest
            if newest is not None and newest.admitted_at_s > self._overtaker_s:
                self._overtaker_s = newest.admitted_at_s
        if newest is not None and not newest.is_late:
            took_s = self._monotonic() - newest.admitted_at_s
            self._typical_s += _SMOOTHING * (took_s - self._typical_s)

    def late(self) -> Iterator[JournalEntry]:
        """Yield, once each, the entries that have waited so long that they should be deferred."""
        now_s, usual_s = self._monotonic(), DEFER_AFTER_RATIO * self._typical_s
        overtaken_s = min(now_s - max(DEFER_AFTER_S, usual_s), self._overtaker_s - DEFER_AFTER_S)
        limit_s = max(overtaken_s, now_s - max(DEFER_AT_LAST_S, usual_s))
        for admitted in self._admitted.values():
            if admitted.admitted_at_s > limit_s:
                return
            if not admitted.is_late:
                admitted.is_late = True
                yield admitted.entry

    def of_device(self, device_id: DeviceId) -> list[JournalEntry]:
        """Return what is admitted of one device, in order."""
        return [a.entry for a in self._admitted.values() if a.entry.uplink.device_id == device_id]

    def entries(self) -> list[JournalEntry]:
        return [admitted.entry for admitted in self._admitted.values()]

    def count_crash(self, position: int) -> int:
        """Count that an actor crashed on this position; return how often it has by now."""
        admitted = self._admitted.get(position)
        if admitted is None:
            return 0
        admitted.crashes += 1
        return admitted.crashes

    def entry(self, position: int) -> JournalEntry | None:
        admitted = self._admitted.get(position)
        return None if admitted is None else admitted.entry
