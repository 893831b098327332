"""How long to wait before the next attempt: exponential, capped, with jitter."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

__all__ = ["Backoff"]

# 2.0 ** 64 is far above any cap, and a float power does not overflow there.
_MAX_EXPONENT = 64


@dataclass(frozen=True, slots=True, kw_only=True)
class Backoff:
    """Delay before attempt number n (from 0): `initial_s * factor ** n`, at most `max_s`.

    `jitter` is the share by which a delay is spread to either side, so that a thousand targets on
    one dead host do not return in step. After `reset_after_s` of running without a failure the
    count starts again.
    """

    initial_s: float = 0.2
    max_s: float = 30.0
    factor: float = 2.0
    jitter: float = 0.2
    reset_after_s: float = 60.0

    def __post_init__(self) -> None:
        if self.initial_s < 0 or self.max_s < self.initial_s:
            raise ValueError("a back-off needs 0 <= initial_s <= max_s")
        if self.factor < 1 or not 0 <= self.jitter <= 1:
            raise ValueError("a back-off needs factor >= 1 and 0 <= jitter <= 1")

    def delay_s(self, attempt: int, random: Callable[[], float]) -> float:
        """The delay before `attempt`; `random()` is uniform in [0, 1)."""
        exponent = min(max(attempt, 0), _MAX_EXPONENT)
        delay_s = min(self.max_s, self.initial_s * self.factor**exponent)
        return min(self.max_s, delay_s * (1 + self.jitter * (2 * random() - 1)))
