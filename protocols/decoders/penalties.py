"""When a decoder's version runs apart from the others, and when it does not run at all.

A version begins on probation: its first call runs in the penalty lane, and the next ones wait for
the verdict. That call is a trial with a shorter limit; cut short, it is no strike, but is repeated
with the whole limit. A call that exceeds a limit or crashes the worker is a strike; if the version was
trusted, the call is first repeated, once per window, and the repetition counts. With a strike in the
window the version is a suspect and stays in the penalty lane; with `strikes` of them it is
quarantined, twice as long every time it happens again soon, and then on probation anew.

A version that has not behaved yet, or that strikes twice in the window, rests after each call that was
cut: the longer the call took, the longer it rests. So it has a bounded share of the processor,
however many messages wait for it; they are deferred, as those of a version in quarantine.

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
        self._rests_until = float("-inf")
        self._lifted_at = 0.0
        self._doubted_at = -settings.strike_window_s
        self.is_on_probation = True
        # False means that it takes a closer look: probation, a strike, or quarantine.
        self.is_trusted = False
        self._has_behaved = False
        self._is_tried = False
        # The job whose outcome ends probation, and those that wait for it.
        self.on_trial: Job | None = None
        self.held: deque[Job] = deque()

    @property
    def wants_trial(self) -> bool:
        """The next call is the first of this version, or the first after a quarantine."""
        settings = self._settings
        return not self._is_tried and settings.trial_limit_s < settings.cpu_limit_s

    def shut_out_until(self, now: float) -> float | None:
        """When it may run again; None when it may run now."""
        until = self.quarantined_until(now)
        if until is None and now < self._rests_until:
            return self._rests_until
        return until

    def quarantined_until(self, now: float) -> float | None:
        """When the quarantine ends; None when there is none (any more)."""
        until = self._quarantined_until
        if until is not None and now >= until:
            self._quarantined_until = None
            self._lifted_at = until
            self._strikes.clear()
            self._begin_anew()
            return None
        return until

    def strikes(self, now: float) -> int:
        """How many lie within the window."""
        while self._strikes and now - self._strikes[0] > self._settings.strike_window_s:
            self._strikes.popleft()
        if not self._strikes and not self.is_on_probation and self._quarantined_until is None:
            self.is_trusted = True
        return len(self._strikes)

    def cut_short(self, now: float, spent_s: float) -> None:
        """A trial was cut after so much time: the next call has the whole limit."""
        self._is_tried = True
        self._rest(now, spent_s)

    def strike(self, now: float, spent_s: float) -> bool:
        """Counts a strike for a call that took so long; True when it was the one that brings quarantine."""
        if self.quarantined_until(now) is not None:
            return False
        self.is_on_probation = self.is_trusted = False
        self._is_tried = True
        self._strikes.append(now)
        if self.strikes(now) < self._settings.strikes:
            if not self._has_behaved or len(self._strikes) > 1:
                self._rest(now, spent_s)
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
        self.is_trusted = self._has_behaved = self._is_tried = True

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
        self._rests_until = float("-inf")
        self._begin_anew()

    def _begin_anew(self) -> None:
        self.is_on_probation = True
        self.is_trusted = self._has_behaved = self._is_tried = False

    def _rest(self, now: float, spent_s: float) -> None:
        rest_s = min(spent_s * self._settings.rest_factor, self._settings.quarantine_s)
        self._rests_until = max(self._rests_until, now + rest_s)
