"""Supervision of virtual actors: a back-off for each key that failed, nothing for the others."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

import structlog

from actors.runtime import events, lifecycle
from actors.runtime.backoff import Backoff
from actors.runtime.cell import Cell, Operation
from actors.runtime.log_limiter import LogLimiter
from actors.runtime.props import Verdict

if TYPE_CHECKING:
    from actors.runtime.clock import TimerHandle

__all__ = ["VirtualFailure", "VirtualGuardian"]

log = structlog.get_logger(__name__)


@dataclass(slots=True)
class VirtualFailure:
    """What is remembered of a key that failed, until it has run well for a while."""

    error: Exception
    at: datetime
    is_expected: bool
    cell: Cell
    count: int = 0
    attempt: int = 0
    next_start_at: datetime | None = None
    timer: TimerHandle | None = None


class VirtualGuardian:
    """The guardian of one directory's cells.

    It never ends an actor because of a crash, and never escalates: one key's trouble is its own.
    """

    def __init__(
        self,
        *,
        backoff: Backoff,
        expected: tuple[type[Exception], ...],
        on_restarted: Callable[[Any, Exception], None] | None,
        on_closed: Callable[[Cell], None],
    ) -> None:
        self._backoff = backoff
        self._expected = expected
        self._on_restarted = on_restarted
        self._on_closed = on_closed
        self._limiter = LogLimiter()
        self.failures: dict[Any, VirtualFailure] = {}
        self.count = 0

    def on_failed(self, cell: Cell, error: Exception) -> Verdict:
        clock = cell.props.clock
        self.count += 1
        failure = self.failures.get(cell.name)
        if failure is None:
            failure = VirtualFailure(error, clock.now(), False, cell)
            self.failures[cell.name] = failure
        failure.error, failure.at, failure.cell = error, clock.now(), cell
        failure.is_expected = isinstance(error, self._expected)
        failure.count += 1
        if failure.timer is not None:
            failure.timer.cancel()
        delay_s = self._backoff.delay_s(failure.attempt, cell.props.system.random.random)
        failure.attempt += 1
        failure.next_start_at = clock.now() + timedelta(seconds=delay_s)
        failure.timer = clock.call_later(delay_s, lambda: cell.post(Operation(lifecycle.begin)))
        if self._limiter.allows(clock.monotonic()):
            suppressed = self._limiter.take_suppressed()
            log.error(events.ACTOR_FAIL, actor=cell.path, exc_info=error, suppressed=suppressed)
        return Verdict.KEEP

    def on_finished(self, cell: Cell) -> Verdict:
        return Verdict.END

    def on_started(self, cell: Cell) -> None:
        failure = self.failures.get(cell.name)
        error = cell.extras.error
        if failure is not None:
            failure.next_start_at = None
            if failure.timer is not None:
                failure.timer.cancel()
            failure.timer = cell.props.clock.call_later(
                self._backoff.reset_after_s, lambda: self._forget(cell.name, failure)
            )
        if error is not None and cell.extras.starts > 1:
            cell.extras.error = None
            self._report(cell.name, error)

    def on_stopped(self, cell: Cell, error: Exception | None) -> None:
        failure = self.failures.get(cell.name)
        if failure is not None and failure.cell is cell and failure.next_start_at is not None:
            if failure.timer is not None:
                failure.timer.cancel()
            del self.failures[cell.name]
        self._on_closed(cell)

    def close(self) -> None:
        """Call off every restart."""
        for failure in self.failures.values():
            if failure.timer is not None:
                failure.timer.cancel()

    def _forget(self, key: Any, failure: VirtualFailure) -> None:
        if self.failures.get(key) is failure:
            del self.failures[key]

    def _report(self, key: Any, error: Exception) -> None:
        if self._on_restarted is None:
            return
        try:
            self._on_restarted(key, error)
        except Exception:
            log.exception(events.HOOK_FAIL, actor=str(key), hook="on_restarted")
