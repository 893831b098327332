"""What is counted about an actor, cheaply enough to count always.

One object per supervised actor; all actors of a Directory share one. Counters are touched once per
turn (up to 64 messages), the histogram once per turn until it knows the actor and then once in
`_STRIDE` messages.
"""

from __future__ import annotations

import math
from datetime import datetime
from typing import Final

__all__ = ["ActorStatistics"]

# Half-octave buckets from 1 microsecond: 52 of them reach to 67 seconds.
_BUCKETS: Final = 52
_SMALLEST_S: Final = 1e-6
_WARM_UP: Final = 256
_STRIDE: Final = 16


class ActorStatistics:
    """Counters and handling times. Written by the dispatcher, read by inspection."""

    __slots__ = (
        "_buckets",
        "dropped",
        "handled",
        "last_error",
        "last_error_at",
        "last_stall_at",
        "next_sample",
        "refused",
        "restarts",
        "samples",
        "since",
        "slow_handlers",
    )

    def __init__(self, since: datetime) -> None:
        self.since = since
        self.handled = 0
        self.dropped = 0
        self.refused = 0
        self.restarts = 0
        self.slow_handlers = 0
        self.samples = 0
        self.last_error: str | None = None
        self.last_error_at: datetime | None = None
        self.last_stall_at: datetime | None = None
        self._buckets: list[int] | None = None
        self.next_sample = 0  # due when `handled` has come so far; the turn looks after that

    def sample(self, took_s: float) -> None:
        """Note how long a message took, and when the next one shall be noted."""
        self.next_sample = self.handled + (1 if self.samples < _WARM_UP else _STRIDE)
        if self._buckets is None:
            self._buckets = [0] * _BUCKETS
        ratio = took_s / _SMALLEST_S
        index = int(2 * math.log2(ratio)) if ratio > 1 else 0
        self._buckets[min(index, _BUCKETS - 1)] += 1
        self.samples += 1

    def note_error(self, error: Exception, at: datetime) -> None:
        text = str(error)
        self.last_error = f"{type(error).__name__}: {text}" if text else type(error).__name__
        self.last_error_at = at

    def percentile_s(self, share: float) -> float | None:
        """The handling time that `share` of the samples stay under, within a factor of 1.4."""
        if self._buckets is None:
            return None
        wanted = share * self.samples
        seen = 0
        for index, count in enumerate(self._buckets):
            seen += count
            if seen >= wanted:
                return _SMALLEST_S * math.sqrt(2.0) ** (index + 1)
        return None
