"""When a delivery that failed is tried again.

Eleven attempts within 72 hours, close together at first, because most outages are short, and far
apart at the end, because the rest last for days. Every delay is spread by up to a fifth, so that
what failed together does not come back together.
"""

from collections.abc import Callable
from datetime import datetime
from random import random

_MINUTE_S = 60.0
_HOUR_S = 3600.0

DELAYS_S = (
    0.0,
    5.0,
    30.0,
    5 * _MINUTE_S,
    30 * _MINUTE_S,
    2 * _HOUR_S,
    5 * _HOUR_S,
    10 * _HOUR_S,
    14 * _HOUR_S,
    20 * _HOUR_S,
    20 * _HOUR_S,
)
"""The delay before each attempt; 71 h 35 min 35 s in all."""

EXPIRES_AFTER_S = 72 * _HOUR_S
"""How long a delivery is pursued, from when it was made."""

_JITTER = 0.2
_RETRY_AFTER_LIMIT_S = 24 * _HOUR_S


def next_delay_s(
    attempts: int,
    *,
    now: datetime,
    expires_at: datetime,
    retry_after_s: float | None = None,
    random: Callable[[], float] = random,
) -> float | None:
    """Return how long to wait before the next attempt, or None when there is to be none.

    A delay that would pass the expiry ends at the expiry: the attempt due at that very moment is
    still to be made, and it is the last.

    Args:
        attempts: how many were made, the one that just failed included; 0 before the first.
        retry_after_s: what the receiver asked for. A floor under the delay, of at most 24 hours;
            it never gives a delivery more attempts.
        random: uniform over 0 to 1; places the delay between 80 % and 120 % of the scheduled one.
    """
    remaining_s = (expires_at - now).total_seconds()
    if attempts >= len(DELAYS_S) or remaining_s <= 0:
        return None
    delay_s = DELAYS_S[attempts] * (1 - _JITTER + 2 * _JITTER * random())
    if retry_after_s is not None:
        delay_s = max(delay_s, min(retry_after_s, _RETRY_AFTER_LIMIT_S))
    return min(delay_s, remaining_s)
