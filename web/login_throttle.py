"""Slowing down those who guess passwords, without locking out those they guess at.

Failures are counted per address and name together, so that a stranger's guesses never keep the
owner out, and per address alone, so that one address cannot go through all names.
"""

from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass

from web.errors import Refusal

WINDOW_S = 300.0
_FAILURES_PER_NAME = 5
_FAILURES_PER_ADDRESS = 50
# A counter takes about 200 bytes; what is forgotten first is what was touched longest ago.
_COUNTERS_LIMIT = 20_000


@dataclass(slots=True)
class _Counter:
    failures: int
    ends_s: float


class LoginThrottle:
    """`clock_s` is any clock that only goes forward."""

    def __init__(self, clock_s: Callable[[], float]) -> None:
        self._clock_s = clock_s
        self._counters: OrderedDict[tuple[str, str | None], _Counter] = OrderedDict()

    def attempt(self, address: str, name: str) -> None:
        """Call before a password is looked at. Counts as a failure until `succeed` is called.

        Raises: Refusal (429) with the seconds to wait.
        """
        now_s = self._clock_s()
        limits = self._limits(address, name)
        for key, limit in limits:
            counter = self._counters.get(key)
            if counter and counter.failures >= limit and counter.ends_s > now_s:
                wait_s = int(counter.ends_s - now_s) + 1
                raise Refusal(
                    429,
                    f"Too many failed attempts; try again in {wait_s} seconds.",
                    headers={"Retry-After": str(wait_s)},
                )
        for key, _ in limits:
            self._count(key, now_s)

    def succeed(self, address: str, name: str) -> None:
        """Take back what `attempt` counted; the name starts afresh."""
        self._counters.pop((address, _folded(name)), None)
        if counter := self._counters.get((address, None)):
            counter.failures -= 1

    def _count(self, key: tuple[str, str | None], now_s: float) -> None:
        counter = self._counters.pop(key, None)
        if counter is None or counter.ends_s <= now_s:
            counter = _Counter(0, now_s + WINDOW_S)
        counter.failures += 1
        self._counters[key] = counter
        while len(self._counters) > _COUNTERS_LIMIT:
            self._counters.popitem(last=False)

    def _limits(
        self, address: str, name: str
    ) -> tuple[tuple[tuple[str, str | None], int], tuple[tuple[str, str | None], int]]:
        return (
            ((address, _folded(name)), _FAILURES_PER_NAME),
            ((address, None), _FAILURES_PER_ADDRESS),
        )


def _folded(name: str) -> str:
    # Cut: a name is as long as the sender likes.
    return name.strip().lower()[:254]
