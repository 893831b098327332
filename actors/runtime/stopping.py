"""Stopping a child within its time: asked first, then interrupted, then abandoned.

These times are the event loop's, not the system clock's: how long a process takes to end is a
promise about real time, also when a test turns the clock by hand.
"""

from __future__ import annotations

import asyncio
from enum import StrEnum
from typing import TYPE_CHECKING, Any, Final

import structlog
from pykka.messages import _ActorStop

from actors.runtime import events, lifecycle
from actors.runtime.cell import Operation
from actors.runtime.future import ActorFuture
from actors.runtime.messages import Envelope
from actors.runtime.state import ActorState

if TYPE_CHECKING:
    from collections.abc import Coroutine

    from actors.runtime.cell import Cell
    from actors.runtime.child import Child

__all__ = ["StopOutcome", "halt_within", "stop_within"]

log = structlog.get_logger(__name__)

# What an interrupted handler or hook gets to unwind before the actor is given up.
_UNWIND_S: Final = 1.0


class StopOutcome(StrEnum):
    """How a child came to its end."""

    DRAINED = "drained"  # handled everything, `on_stop` was through
    INTERRUPTED = "interrupted"  # out of time: its handler was cancelled, its mailbox given up
    ABANDONED = "abandoned"  # did not even react to being cancelled


async def halt_within(child: Child) -> None:
    """Drop the child's instance, keep its cell. Interrupts a handler that takes too long.

    Never gives up: a successor must not run beside a predecessor that does not end.
    """
    cell = child.cell
    if cell.is_closed:
        return
    if cell.actor is None and not cell.scheduled:
        cell.state = ActorState.BACKING_OFF
        return
    halted = cell.request(lifecycle.halt)
    loop = asyncio.get_running_loop()
    alarm = loop.call_later(child.spec.shutdown_timeout_s, cell.interrupt)
    try:
        await halted
    finally:
        alarm.cancel()


async def stop_within(child: Child) -> StopOutcome:
    """Stop the child for good: drained if its time allows, else interrupted, else abandoned."""
    cell = child.cell
    if cell.is_closed:
        return StopOutcome.DRAINED
    stopping = _Stopping(cell)
    cell.post(Operation(stopping.wind_down))
    loop = asyncio.get_running_loop()
    timeout_s = cell.props.system.stop_time_s(child)
    alarms = [
        loop.call_later(timeout_s, stopping.hurry),
        loop.call_later(timeout_s + _UNWIND_S, stopping.abandon),
    ]
    try:
        await stopping.ended
    finally:
        for alarm in alarms:
            alarm.cancel()
    cell.props.system.note_stop(cell.path, stopping.outcome)
    return stopping.outcome


class _Stopping:
    """One stop under way."""

    def __init__(self, cell: Cell) -> None:
        self._cell = cell
        self.outcome = StopOutcome.DRAINED
        self.ended: ActorFuture[Any] = ActorFuture()

    def wind_down(self, cell: Cell) -> Coroutine[Any, Any, None] | None:
        """On the cell's lane: stop behind what waits; at once if there is nobody to handle it."""
        if cell.state is ActorState.RUNNING:
            cell.put_exempt(Envelope(_ActorStop(), self.ended))
            return None
        return self._end(cell)

    def hurry(self) -> None:
        """Out of time: stop ahead of what waits, and interrupt what runs."""
        if not self.ended.is_done:
            self.outcome = StopOutcome.INTERRUPTED
            self._cell.post(Operation(self._end), first=True)
            self._cell.interrupt()

    def abandon(self) -> None:
        """It ignores being cancelled: go on without it."""
        if not self.ended.is_done:
            self.outcome = StopOutcome.ABANDONED
            log.error(events.ACTOR_ABANDON, actor=self._cell.path)
            lifecycle.close(self._cell, None)
            self.ended.answer(None)

    async def _end(self, cell: Cell) -> None:
        await lifecycle.end(cell)
        self.ended.answer(None)
