"""A supervisor's book about one child."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta
from random import Random
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from actors.runtime.cell import Cell
    from actors.runtime.clock import Clock, TimerHandle
    from actors.runtime.spec import ChildSpec

__all__ = ["Child"]


class Child:
    """One child: what it is made from, its cell, and how its restarts go."""

    __slots__ = (
        "attempt",
        "cell",
        "is_expected_down",
        "is_leaving",
        "is_out",
        "next_start_at",
        "spec",
        "started_s",
        "timer",
    )

    def __init__(self, spec: ChildSpec, cell: Cell) -> None:
        self.spec = spec
        self.cell = cell
        self.attempt = 0
        self.started_s: float | None = None
        self.timer: TimerHandle | None = None
        self.next_start_at: datetime | None = None
        self.is_leaving = False
        self.is_expected_down = False  # its latest end was an expected failure, or wanted
        self.is_out = False  # an outage was logged, and its end was not yet

    def next_delay_s(self, now_s: float, random: Random) -> float:
        """The back-off before the next start; counts the attempt."""
        backoff = self.spec.backoff
        if self.started_s is not None and now_s - self.started_s >= backoff.reset_after_s:
            self.attempt = 0
        self.started_s = None
        delay_s = backoff.delay_s(self.attempt, random.random)
        self.attempt += 1
        return delay_s

    def wait(self, clock: Clock, delay_s: float, begin: Callable[[], object]) -> None:
        """Call `begin` after the back-off."""
        self.cancel_timer()
        self.announce_start_in(clock, delay_s)
        self.timer = clock.call_later(delay_s, begin)

    def announce_start_in(self, clock: Clock, delay_s: float) -> None:
        self.next_start_at = clock.now() + timedelta(seconds=delay_s)

    def cancel_timer(self) -> None:
        if self.timer is not None:
            self.timer.cancel()
            self.timer = None
        self.next_start_at = None
