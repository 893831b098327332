"""The watermark: how far the journal is settled without a gap.

Decodes finish out of order, so a cursor that only counts would either lose messages or wait. Each
admitted position is remembered until it is settled; the cursor is the position before the oldest
one that is not. Positions rise but need not be contiguous: what lies between two admitted positions
was never accepted, or was settled before a restart.
"""

from collections import deque
from collections.abc import Iterable


class Watermark:
    """Owned by one writer; not thread-safe."""

    def __init__(self, cursor: int, open_positions: Iterable[int] = ()) -> None:
        """All up to `cursor` is settled, except `open_positions`, which rise."""
        self._waiting = deque(open_positions)
        self._last_admitted = cursor
        self._cursor = self._waiting[0] - 1 if self._waiting else cursor
        self._settled: set[int] = set()

    @property
    def cursor(self) -> int:
        """All positions up to and including this one are settled."""
        return self._cursor

    def admit(self, positions: Iterable[int]) -> None:
        """Remember positions, rising; those that are known already are passed over."""
        for position in positions:
            if position > self._last_admitted:
                self._waiting.append(position)
                self._last_admitted = position

    def is_open(self, position: int) -> bool:
        """Whether a result for this position is still wanted."""
        return self._cursor < position <= self._last_admitted and position not in self._settled

    def is_settled(self, position: int) -> bool:
        """Whether a result for this position is on disk."""
        return position <= self._cursor or position in self._settled

    def after(self, positions: Iterable[int]) -> int:
        """Return what the cursor will be once `positions` are settled too; changes nothing."""
        coming = self._settled.union(positions)
        cursor = self._cursor
        for position in self._waiting:
            if position not in coming:
                return cursor
            cursor = position
        return max(cursor, self._last_admitted)

    def settle(self, positions: Iterable[int]) -> None:
        """Mark positions whose results are on disk, and move the cursor."""
        self._settled.update(positions)
        waiting = self._waiting
        while waiting and waiting[0] in self._settled:
            self._cursor = waiting.popleft()
            self._settled.discard(self._cursor)
        if not waiting:
            self._cursor = max(self._cursor, self._last_admitted)
