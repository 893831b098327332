"""How many pushes a second a data target takes: a token bucket."""

from collections.abc import Callable
from typing import Final

# What sums of fractions may be wrong by: who waits for less than that waits for ever.
_ROUNDING: Final = 1e-6


class Pace:
    """Lets `rate_per_s` through on average and a second's worth at once; None lets all through."""

    def __init__(self, rate_per_s: float | None, monotonic: Callable[[], float]) -> None:
        self._rate_per_s = rate_per_s
        self._monotonic = monotonic
        self._most = max(1.0, rate_per_s or 0.0)
        # Empty at first: a target whose actor is started anew gets no second helping.
        self._tokens = 1.0
        self._at_s = monotonic()

    @property
    def wait_s(self) -> float:
        """For how long the next push has to wait; 0 when it may go."""
        if self._rate_per_s is None:
            return 0.0
        now_s = self._monotonic()
        self._tokens = min(self._most, self._tokens + (now_s - self._at_s) * self._rate_per_s)
        self._at_s = now_s
        missing = 1.0 - self._tokens
        return missing / self._rate_per_s if missing > _ROUNDING else 0.0

    def take(self, pushes: int = 1) -> None:
        """Count pushes that go; a batch may overdraw, and the next one waits for longer."""
        if self._rate_per_s is not None:
            self._tokens -= pushes
