"""How a data target fares: what is kept of it, what people are told, and when it is given up.

A target that has failed four times on end is *failing*, which is said once, and once more when
it has recovered. One that has failed for five days, and each day at least once, is disabled, and so is
one that says it is gone: its deliveries then wait for 72 hours to be pulled, or for somebody to enable it.
"""

from collections.abc import Callable
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any, Final

from actors.delivery.breaker import Breaker, BreakerState
from protocols.errors import DeliveryError, DeliveryFault
from protocols.messages import TargetId
from storage.delivery.outbox import TargetNote
from storage.delivery.target_events import NewEvent, TargetEventType
from storage.delivery.target_health import TargetHealth

_FAILING_AFTER: Final = 4
_GIVE_UP_AFTER: Final = timedelta(hours=120)
# A target that nothing was tried on for so long has not been failing all the time.
_LONGEST_GAP: Final = timedelta(hours=24)
# Deliveries are exhausted by the thousand after an outage of days; one event tells of all of a minute.
_EXHAUSTED_EVERY: Final = timedelta(minutes=1)


class TargetCondition:
    """Told what became of each attempt, with its breaker; plain, for one TargetActor."""

    def __init__(self, breaker: Breaker, now: Callable[[], datetime]) -> None:
        self.breaker = breaker
        self._now = now
        self._failures = 0
        self._failing_since: datetime | None = None
        self._last_failure_at: datetime | None = None
        self._last_error: str | None = None
        self._disabled_at: datetime | None = None
        self._disabled_reason: str | None = None
        self._is_announced = False
        self._exhausted = 0
        self._exhausted_told_at: datetime | None = None
        self._events: list[NewEvent] = []
        self._kept = TargetHealth()
        self._quiet_until_s = 0.0
        self._open_until: datetime | None = None

    @property
    def is_disabled(self) -> bool:
        return self._disabled_at is not None

    @property
    def disabled_reason(self) -> str | None:
        return self._disabled_reason

    def restore(self, kept: TargetHealth) -> None:
        """Go on from what another instance has left."""
        self._kept = kept
        self._failures = kept.failures
        self._failing_since = kept.failing_since
        self._last_failure_at = kept.last_failure_at
        self._last_error = kept.last_error
        self._disabled_at = kept.disabled_at
        self._disabled_reason = kept.disabled_reason
        self._is_announced = kept.failures >= _FAILING_AFTER
        if kept.open_until is not None:
            quiet_for_s = (kept.open_until - self._now()).total_seconds()
            if kept.breaker == BreakerState.CLOSED:
                self.breaker.rest(quiet_for_s)
            else:
                self.breaker.restore(kept.openings, quiet_for_s)
            self._quiet_until_s, self._open_until = self.breaker.quiet_until_s, kept.open_until

    def note_success(self) -> None:
        self.breaker.note_success()
        if not self._failures:
            return
        if self._is_announced:
            self._tell(TargetEventType.RECOVERED, self._failing())
        self._failures = 0
        self._failing_since = self._last_failure_at = self._last_error = None
        self._is_announced = False

    def note_failure(self, error: DeliveryError) -> None:
        self.breaker.note_failure(
            error.fault, status_code=error.status_code, wait_s=error.retry_after_s or 0.0
        )
        if error.fault is DeliveryFault.MESSAGE:
            return
        now = self._now()
        if self._last_failure_at is None or now - self._last_failure_at > _LONGEST_GAP:
            self._failing_since = now
        self._failures += 1
        self._last_failure_at, self._last_error = now, str(error)
        is_misconfigured = error.fault is DeliveryFault.CONFIGURATION and not self.breaker.is_closed
        if not self._is_announced and (self._failures >= _FAILING_AFTER or is_misconfigured):
            self._is_announced = True
            self._tell(TargetEventType.FAILING, self._failing())
        if error.fault is DeliveryFault.GONE:
            self._disable(str(error))
        elif self._failing_since is not None and now - self._failing_since >= _GIVE_UP_AFTER:
            self._disable("Every attempt of the last five days has failed.")

    def note_exhausted(self, reason: str) -> None:
        """A delivery will not be tried again."""
        self._exhausted += 1
        now = self._now()
        told_at = self._exhausted_told_at
        if told_at is None or now - told_at >= _EXHAUSTED_EVERY:
            self._tell(TargetEventType.EXHAUSTED, {"count": self._exhausted, "reason": reason})
            self._exhausted, self._exhausted_told_at = 0, now

    def take_note(self, target_id: TargetId) -> TargetNote | None:
        """Return what is to be written since it was last asked for; None if nothing is."""
        health = self._health()
        if health == self._kept and not self._events:
            return None
        events, self._events = self._events, []
        was_disabled, self._kept = self._kept.disabled_at is not None, health
        if was_disabled:
            # It is written already, and somebody may have enabled the target since.
            health = replace(health, disabled_at=None, disabled_reason=None)
        return TargetNote(target_id, health, events)

    def _health(self) -> TargetHealth:
        breaker = self.breaker
        open_until = None
        if breaker.state is not BreakerState.CLOSED or breaker.wait_s > 0:
            if self._quiet_until_s != breaker.quiet_until_s:
                # Reckoned once for each time of quiet: it would differ by what a clock jitters.
                self._quiet_until_s = breaker.quiet_until_s
                self._open_until = self._now() + _seconds(breaker.wait_s)
            open_until = self._open_until
        return TargetHealth(
            breaker=breaker.state.value,
            openings=breaker.openings,
            open_until=open_until,
            failures=self._failures,
            failing_since=self._failing_since,
            last_failure_at=self._last_failure_at,
            last_error=self._last_error,
            disabled_at=self._disabled_at,
            disabled_reason=self._disabled_reason,
        )

    def _disable(self, reason: str) -> None:
        if self._disabled_at is None:
            self._disabled_at, self._disabled_reason = self._now(), reason
            self._tell(TargetEventType.DISABLED, {"reason": reason, **self._failing()})

    def _failing(self) -> dict[str, Any]:
        since = self._failing_since
        return {
            "failures": self._failures,
            "failingSince": None if since is None else since.isoformat(timespec="milliseconds"),
            "lastError": self._last_error,
        }

    def _tell(self, event_type: TargetEventType, data: dict[str, Any]) -> None:
        self._events.append(NewEvent(event_type, self._now(), data))


def _seconds(duration_s: float) -> timedelta:
    return timedelta(seconds=max(0.0, duration_s))
