"""Whether anything may be sent to a data target now, and how much at once.

Rules. Closed, everything may go. It opens when half of at least ten attempts of the last minute have
failed, when five connections on end could not be made, or when three answers on end say that the
owner has something to mend. Open, nothing is sent, and what waits spends no attempt: for 30 s, and
for twice as long each time it opens again, up to ten minutes. Then it is half open: one
attempt probes; each that succeeds doubles how many may go at once, until as many may as ever,
and it is closed. One that fails opens it again.

Beside that a receiver may ask for quiet: after a 429 it rests for a minute, or for as long as it says.
After a 502, a 504 or no answer in time it gets one attempt at a time for a minute.

Source: the reference of delivery for the figures; M. Nygard, "Release It!", for the pattern.
"""

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from protocols.errors import DeliveryFault

_WINDOW_S: Final = 60.0
_FEWEST_ATTEMPTS: Final = 10
_FAILED_SHARE: Final = 0.5
_CONNECTION_ERRORS: Final = 5
_CONFIGURATION_ERRORS: Final = 3
_FIRST_OPEN_S: Final = 30.0
_LONGEST_OPEN_S: Final = 600.0
_REST_S: Final = 60.0
# As far as a receiver's wish to be left alone is followed.
_LONGEST_REST_S: Final = 24 * 3600.0


class BreakerState(StrEnum):
    CLOSED = "closed"
    OPEN = "open"
    HALF_OPEN = "half_open"


@dataclass(slots=True)
class _Second:
    """What the attempts that ended within one second came to."""

    at_s: int
    attempts: int = 0
    failed: int = 0


class Breaker:
    """One for each data target; plain, and told what became of each attempt."""

    def __init__(self, monotonic: Callable[[], float], *, most_in_flight: int) -> None:
        self._monotonic = monotonic
        self._most = most_in_flight
        self.state = BreakerState.CLOSED
        self.openings = 0
        """How often it opened since it was last closed."""
        self._allowance = most_in_flight
        self.quiet_until_s = monotonic()
        """Until when nothing may be sent, by the monotonic clock."""
        self._slow_until_s = 0.0
        self._seconds: deque[_Second] = deque()
        self._connection_errors = 0
        self._configuration_errors = 0
        self._opened_at_s = 0.0
        self._open_before_s = 0.0

    def restore(self, openings: int, open_for_s: float) -> None:
        """Be as open as another instance was, for the time that is left of it."""
        self.openings = openings
        self.state = BreakerState.OPEN
        self._opened_at_s = self._monotonic()
        self.rest(open_for_s)

    def rest(self, rest_s: float) -> None:
        """Let nothing be sent for so long, whatever the state."""
        rest_s = min(max(rest_s, 0.0), _LONGEST_REST_S)
        self.quiet_until_s = max(self.quiet_until_s, self._monotonic() + rest_s)

    @property
    def allowance(self) -> int:
        """How many attempts may be under way at once, now; 0 for none."""
        if self.wait_s > 0:
            return 0
        if self.state is BreakerState.OPEN:
            self._half_open()
        if self._slow_until_s > self._monotonic():
            return 1
        return self._allowance

    @property
    def wait_s(self) -> float:
        """For how long nothing may be sent; not positive when something may."""
        return self.quiet_until_s - self._monotonic()

    @property
    def is_closed(self) -> bool:
        return self.state is BreakerState.CLOSED

    @property
    def open_s(self) -> float:
        """For how long it was not closed, all in all: outages do not count against a message."""
        if self.is_closed:
            return self._open_before_s
        return self._open_before_s + self._monotonic() - self._opened_at_s

    def note_success(self) -> None:
        self._connection_errors = self._configuration_errors = 0
        self._count(is_failed=False)
        if self.state is BreakerState.HALF_OPEN:
            self._allowance = min(self._allowance * 2, self._most)
            if self._allowance == self._most:
                self._close()

    def note_failure(self, fault: DeliveryFault, *, status_code: int | None, wait_s: float) -> None:
        """Take an attempt's failure into account.

        Args:
            wait_s: for how long the receiver asked to be left alone; 0 if it did not.
        """
        if fault is DeliveryFault.MESSAGE:
            # It was there and answered; there is something wrong with this message alone.
            return
        if fault is DeliveryFault.THROTTLED:
            self._throttle(status_code, wait_s)
        is_connection = fault is DeliveryFault.CONNECTION
        is_configuration = fault is DeliveryFault.CONFIGURATION
        self._connection_errors = self._connection_errors + 1 if is_connection else 0
        self._configuration_errors = self._configuration_errors + 1 if is_configuration else 0
        self._count(is_failed=True)
        if self.state is BreakerState.HALF_OPEN or (self.is_closed and self._has_enough()):
            self._open()

    def _throttle(self, status_code: int | None, wait_s: float) -> None:
        if status_code == 429 or wait_s > 0:
            self.rest(max(wait_s, _REST_S))
        else:
            self._slow_until_s = self._monotonic() + _REST_S

    def _has_enough(self) -> bool:
        if self._connection_errors >= _CONNECTION_ERRORS:
            return True
        if self._configuration_errors >= _CONFIGURATION_ERRORS:
            return True
        attempts = sum(second.attempts for second in self._seconds)
        failed = sum(second.failed for second in self._seconds)
        return attempts >= _FEWEST_ATTEMPTS and failed >= attempts * _FAILED_SHARE

    def _count(self, *, is_failed: bool) -> None:
        at_s = int(self._monotonic())
        if not self._seconds or self._seconds[-1].at_s != at_s:
            self._seconds.append(_Second(at_s))
            while self._seconds[0].at_s <= at_s - _WINDOW_S:
                self._seconds.popleft()
        second = self._seconds[-1]
        second.attempts += 1
        second.failed += is_failed

    def _open(self) -> None:
        now_s = self._monotonic()
        if self.is_closed:
            self._opened_at_s = now_s
        open_s = min(_FIRST_OPEN_S * 2**self.openings, _LONGEST_OPEN_S)
        self.state = BreakerState.OPEN
        self.openings += 1
        self.rest(open_s)

    def _half_open(self) -> None:
        self.state = BreakerState.HALF_OPEN
        self._allowance = 1

    def _close(self) -> None:
        self._open_before_s = self.open_s
        self.state = BreakerState.CLOSED
        self.openings = 0
        self._allowance = self._most
        self._seconds.clear()
