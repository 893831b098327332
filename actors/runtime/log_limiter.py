"""Keeps a flood of like events out of the log: some, then silence, then one that says how many."""

from __future__ import annotations

from typing import Final

__all__ = ["LogLimiter"]

_FIRST: Final = 10
_PAUSE_S: Final = 300.0


class LogLimiter:
    """The first 10 events pass; then one every five minutes, with the count of those held back."""

    def __init__(self, first: int = _FIRST, pause_s: float = _PAUSE_S) -> None:
        self._left = first
        self._first = first
        self._pause_s = pause_s
        self._silent_until_s = 0.0
        self.suppressed = 0

    def allows(self, now_s: float) -> bool:
        """Whether to log this one. `suppressed` tells how many were not, until the next call."""
        if self._left == 0 and now_s >= self._silent_until_s:
            self._left = self._first
        if self._left == 0:
            self.suppressed += 1
            return False
        self._left -= 1
        if self._left == 0:
            self._silent_until_s = now_s + self._pause_s
        return True

    def take_suppressed(self) -> int:
        """How many were held back since this was last asked."""
        count, self.suppressed = self.suppressed, 0
        return count
