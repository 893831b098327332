"""Who is put away, and when: the idle, and the least recently used when room is short.

The active cells stand in a ring. Room is made by taking the least recently used of the first few and
moving the others to the end; the sweep goes round in small steps. Nothing ever copies the ring.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final

import structlog

from actors.runtime import events, lifecycle
from actors.runtime.cell import Cell, Operation
from actors.runtime.state import ActorState

if TYPE_CHECKING:
    from actors.runtime.actor import Actor
    from actors.runtime.clock import Clock, TimerHandle

__all__ = ["Passivator"]

log = structlog.get_logger(__name__)

_SAMPLE: Final = 16  # candidates per eviction: the victim is among the oldest seventeenth
_MAX_EVICTIONS_PER_ACTIVATION: Final = 2  # more than one, so that an overshoot shrinks again
_STEP: Final = 512  # ring entries per step, well below a millisecond
_STEP_PAUSE_S: Final = 0.005
_MAX_INTERVAL_S: Final = 1.0
_ROUNDS_PER_IDLE_TIME: Final = 4
_MEASURE_EVERY: Final = 64  # actors visited or made per measurement of a size
_MEAN_WEIGHT: Final = 0.05  # of a new measurement in the running mean


class Passivator:
    """Bounds the number, the bytes and the idleness of one directory's instances."""

    def __init__(
        self,
        *,
        max_active: int,
        max_bytes_estimate: int | None,
        idle_after_s: float,
        size_of: Callable[[Any], int],
    ) -> None:
        self._max_active = max_active
        self._max_bytes = max_bytes_estimate
        self._idle_after_s = idle_after_s
        self._size_of = size_of
        self._mean_bytes = 0.0
        self._seen = 0
        self._ring: deque[Cell] = deque()
        self._clock: Clock | None = None
        self._timer: TimerHandle | None = None
        self.evictions = 0

    def bytes_estimate(self, active: int) -> int:
        return int(self._mean_bytes * active)

    def start(self, clock: Clock) -> None:
        """Sweep from now on, about four times round per `idle_after_s`."""
        self.stop()
        self._clock = clock
        self._interval_s = min(_MAX_INTERVAL_S, self._idle_after_s / _ROUNDS_PER_IDLE_TIME)
        self._timer = clock.call_later(self._interval_s, self._sweep)

    def stop(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def add(self, cell: Cell) -> None:
        """Take in a cell that has an instance."""
        self._ring.append(cell)
        self._measure(cell)

    def make_room(self, active: int) -> None:
        """Put away one or two if there are as many as allowed; fewer if all seen are busy."""
        for _ in range(_MAX_EVICTIONS_PER_ACTIVATION):
            if not self._is_full(active):
                return
            victim = self._choose()
            if victim is None:
                return
            self._put_away(victim)
            active -= 1

    def put_away_some(self, *, is_final: bool) -> int:
        """Put away whoever is not busy among the next few; returns how many.

        If `is_final`, those that back off with nothing to do go as well.
        """
        before = self.evictions
        for _ in range(min(_STEP, len(self._ring))):
            cell = self._next()
            if cell is None:
                continue
            if _is_at_rest(cell):
                self._put_away(cell)
            elif is_final and _has_nothing_to_return_for(cell):
                lifecycle.close(cell, None)
            else:
                self._ring.append(cell)
        return self.evictions - before

    def _is_full(self, active: int) -> bool:
        if active >= self._max_active:
            return True
        return self._max_bytes is not None and self.bytes_estimate(active + 1) > self._max_bytes

    def _choose(self) -> Cell | None:
        """The least recently used of the first few that are at rest; the others go to the end."""
        victim: Cell | None = None
        for _ in range(min(_SAMPLE, len(self._ring))):
            cell = self._next()
            if cell is None:
                continue
            if not _is_at_rest(cell) or (victim is not None and cell.touched_s >= victim.touched_s):
                self._ring.append(cell)
                continue
            if victim is not None:
                self._ring.append(victim)
            victim = cell
        return victim

    def _next(self) -> Cell | None:
        cell = self._ring.popleft()
        return None if cell.is_closed else cell

    def _put_away(self, cell: Cell) -> None:
        self.evictions += 1
        if cell.has_extras or cell.props.actor_class.overrides("on_stop"):
            cell.post(Operation(self._passivate))
        else:
            lifecycle.close(cell, None)

    async def _passivate(self, cell: Cell) -> None:
        """On the cell's lane: let the instance go, unless a message was faster."""
        if cell.actor is not None and not cell.queue:
            await lifecycle.passivate(cell)
        if not cell.is_closed:
            self.evictions -= 1
            self._ring.append(cell)

    def _sweep(self) -> None:
        """One interval's share of a round."""
        assert self._clock is not None
        rounds_left = self._interval_s * _ROUNDS_PER_IDLE_TIME / self._idle_after_s
        self._sweep_step(math.ceil(len(self._ring) * min(1.0, rounds_left)))

    def _sweep_step(self, share: int) -> None:
        clock = self._clock
        assert clock is not None
        limit_s = clock.monotonic() - self._idle_after_s
        for _ in range(min(share, _STEP, len(self._ring))):
            cell = self._next()
            if cell is None:
                continue
            if cell.touched_s <= limit_s and _is_at_rest(cell):
                self._put_away(cell)
            else:
                self._ring.append(cell)
                self._measure(cell)
        left = share - _STEP
        if left > 0:
            self._timer = clock.call_later(_STEP_PAUSE_S, lambda: self._sweep_step(left))
        else:
            self._timer = clock.call_later(self._interval_s, self._sweep)

    def _measure(self, cell: Cell) -> None:
        self._seen += 1
        if cell.actor is None or (self._seen % _MEASURE_EVERY and self._seen != 1):
            return
        size_bytes = self._size_of(cell.actor)
        weight = max(_MEAN_WEIGHT, _MEASURE_EVERY / self._seen) if self._seen > 1 else 1.0
        self._mean_bytes += (size_bytes - self._mean_bytes) * min(weight, 1.0)


def _is_at_rest(cell: Cell) -> bool:
    """Nothing to do, nothing waiting, and the actor agrees."""
    return (
        cell.state is ActorState.RUNNING
        and not cell.scheduled
        and not cell.queue
        and cell.actor is not None
        and _agrees(cell, cell.actor)
    )


def _agrees(cell: Cell, actor: Actor) -> bool:
    try:
        return actor.can_passivate()
    except Exception:  # it must not hit whoever needs the room
        log.exception(events.HOOK_FAIL, actor=cell.path, hook="can_passivate")
        return False


def _has_nothing_to_return_for(cell: Cell) -> bool:
    return (
        cell.state is ActorState.BACKING_OFF
        and not cell.scheduled
        and not cell.queue
        and cell.extras.retry is None
    )
