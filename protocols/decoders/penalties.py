"""When a decoder's version runs apart from the others, and when it does not run at all.

A version begins on probation: its first call runs in the penalty lane, and the next ones wait for
the verdict. A call that exceeds a limit or crashes the worker is a strike; if the version was
trusted, the call is first repeated, once per window, and the repetition counts. With a strike in the
window the version is a suspect and stays in the penalty lane; with `strikes` of them it is
quarantined, twice as long every time it happens again soon, and then on probation anew.

Times are seconds of a monotonic clock that the caller passes in.
"""

from collections import deque
from typing import TYPE_CHECKING

from protocols.decoders.settings import DecoderSettings

if TYPE_CHECKING:
    from protocols.decoders.job import Job


class Standing:
    """How one version of one decoder has behaved."""

    def __init__(self, settings: DecoderSettings) -> None:
        self._settings = settings
        self._strikes: deque[float] = deque()
        self._quarantines = 0
        self._quarantined_until: float | None = None
        self._lifted_at = 0.0
        self._doubted_at = -settings.strike_window_s
        self.is_on_probation = True
        # False means that it takes a closer look: probation, a strike, or quarantine.
        self.is_trusted = False
        # The job whose outcome ends probation, and those that wait for it.
        self.on_trial: Job | None = None
        self.held: deque[Job] = deque()

    def quarantined_until(self, now: float) -> float | None:
        """When the quarantine ends; None when there is none (any more)."""
        until = self._quarantined_until
        if until is not None and now >= until:
            self._quarantined_until = None
            self._lifted_at = until
            self._strikes.clear()
            self.is_on_probation = True
            return None
        return until

    def strikes(self, now: float) -> int:
        """How many lie within the window."""
        while self._strikes and now - self._strikes[0] > self._settings.strike_window_s:
            self._strikes.popleft()
        if not self._strikes and not self.is_on_probation and self._quarantined_until is None:
            self.is_trusted = True
        return len(self._strikes)

    def strike(self, now: float) -> bool:
        """Counts a strike; True when it was the one that brings quarantine."""
        if self.quarantined_until(now) is not None:
            return False
        self.is_on_probation = self.is_trusted = False
        self._strikes.append(now)
        if self.strikes(now) < self._settings.strikes:
            return False
        if now - self._lifted_at > self._settings.strike_window_s:
            self._quarantines = 0
        duration_s = self._settings.quarantine_s * 2.0**self._quarantines
        self._quarantined_until = now + min(duration_s, self._settings.quarantine_cap_s)
        self._quarantines = min(self._quarantines + 1, 32)
        return True

    def behave(self) -> None:
        """A call on probation ended without a strike."""
        self.is_on_probation = False
        self.is_trusted = True

    def doubt(self, job: "Job", now: float) -> bool:
        """This call exceeded a limit. True: the version is on probation until it has been repeated.

        False: there is no doubt, because the version was not trusted, or was doubted not long ago.
        """
        if not self.is_trusted or now - self._doubted_at < self._settings.strike_window_s:
            return False
        self._doubted_at = now
        self.is_on_probation = True
        self.is_trusted = False
        self.on_trial = job
        return True

    def release(self) -> None:
        """Forgives everything; the next call is on probation."""
        self._strikes.clear()
        self._quarantines = 0
        self._quarantined_until = None
        self.is_on_probation = True
        self.is_trusted = False
