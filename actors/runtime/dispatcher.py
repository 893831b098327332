"""Runs actors on demand: one dispatcher for each event loop.

Theory of operation. A cell with something to do lies once in `lane`. Runner tasks take cells from
it and give each a turn of at most `TURN` messages; after `_SLICE_S` or `_SLICE` turns a runner
lets the loop do its I/O. Handlers are called directly, inside a runner, so `current_task()` is a
real task for them and timeouts work. A handler that suspends keeps its runner until it is done;
meanwhile another runner serves the lane. Idle runners wait in `_idle_runners` for the next message.

Rules:
1. `_looking` counts the runners that will come to look at the lane. While cells lie in the lane it
   is at least one; whoever makes it zero with cells in the lane calls another runner.
2. Only the loop thread touches any of this, except `carry_over`.
3. Contextvars are those of the runner and mean nothing to an actor.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from threading import get_ident
from typing import TYPE_CHECKING, Any, Final

from pykka import ActorDeadError

from actors.runtime.events import DropReason
from actors.runtime.failures import MailboxFull
from actors.runtime.turn import TURN, Turns, Work

if TYPE_CHECKING:
    from actors.runtime.cell import Cell

__all__ = ["Dispatcher"]

_SLICE: Final = 1024  # turns per loop iteration, and
_SLICE_S: Final = 0.005  # seconds per loop iteration, before I/O gets its turn
_MAX_IDLE_RUNNERS: Final = 64


class Dispatcher:
    """Scheduling of all actors of one system on the running loop."""

    def __init__(
        self,
        monotonic: Callable[[], float],
        *,
        on_slow: Callable[[Cell, Any, float], None],
        on_fatal: Callable[[Cell, BaseException], None],
        slow_s: float,
    ) -> None:
        self.loop = asyncio.get_running_loop()
        self.thread_id = get_ident()
        self.monotonic = monotonic
        self.now_s = monotonic()  # refreshed once per slice
        self.free_deques: list[deque[Any]] = []
        self.current: Cell | None = None  # read by the watchdog thread
        self._turns = Turns(self, monotonic, on_slow=on_slow, slow_s=slow_s)
        self._on_fatal = on_fatal
        self.lane: deque[Cell] = deque()
        self._looking = 0
        self._suspended = 0
        self._resumed = 0
        self._is_closed = False
        self._idle_runners: list[asyncio.Future[None]] = []
        self._runners: set[asyncio.Task[None]] = set()
        self._from_outside: deque[tuple[Cell, Any]] = deque()
        self._carry_pending = False

    @property
    def turn_end_s(self) -> float:
        """When the latest turn ended; another object each time, for the watchdog."""
        return self._turns.end_s

    @property
    def is_busy(self) -> bool:
        """Whether anything can be done at this moment; suspended handlers do not count."""
        return bool(self.lane) or self._looking > 0 or bool(self._from_outside)

    @property
    def activity(self) -> int | None:
        """For virtual clocks: None while there is something to do, else a count of what resumed."""
        return None if self.is_busy else self._resumed

    @property
    def is_active(self) -> bool:
        """Whether anything is being done or can be: `is_busy`, or a handler is suspended."""
        return self.is_busy or self._suspended > 0

    def schedule(self, cell: Cell) -> None:
        """Give the cell a turn. The caller has set `cell.scheduled`."""
        self.lane.append(cell)
        if not self._looking:
            self._call_runner()
            self.now_s = self.monotonic()
        cell.touched_s = self.now_s
        cell.ahead = 1

    def carry_over(self, cell: Cell, item: Any) -> None:
        """Put a message of another thread into the cell's mailbox, soon. Thread-safe."""
        self._from_outside.append((cell, item))
        if not self._carry_pending:
            self._carry_pending = True
            self.call_from_outside(self._take_over)

    def call_from_outside(self, callback: Callable[[], object]) -> None:
        """Run `callback` on the loop thread. Raises ActorDeadError when the loop has closed."""
        try:
            self.loop.call_soon_threadsafe(callback)
        except RuntimeError as error:
            self._carry_pending = False
            raise ActorDeadError("the actors' event loop has closed") from error

    def _take_over(self) -> None:
        self._carry_pending = False
        for _ in range(min(len(self._from_outside), _SLICE)):
            cell, item = self._from_outside.popleft()
            try:
                cell.put(item)
            except MailboxFull:
                cell.drop(item, DropReason.MAILBOX_FULL)
            except ActorDeadError:
                pass  # counted as a dead letter already; the sender's thread cannot be told
        if self._from_outside and not self._carry_pending:
            self._carry_pending = True
            self.loop.call_soon(self._take_over)

    def close(self) -> None:
        """Let the idle runners end; those at work end when they would become idle."""
        self._is_closed = True
        for waiting in self._idle_runners:
            if not waiting.done():
                waiting.set_result(None)
                self._looking += 1
        self._idle_runners.clear()

    def _call_runner(self) -> None:
        self._looking += 1
        while self._idle_runners:
            waiting = self._idle_runners.pop()
            if not waiting.done():
                waiting.set_result(None)
                return
        runner = self.loop.create_task(self._run(), name="actor-runner")
        self._runners.add(runner)
        runner.add_done_callback(self._runners.discard)

    async def _run(self) -> None:
        try:
            while True:
                await self._serve()
                self.current = None
                if self._is_closed or len(self._idle_runners) >= _MAX_IDLE_RUNNERS:
                    self._looking -= 1
                    return
                waiting = self.loop.create_future()
                self._idle_runners.append(waiting)
                await self._idle(waiting)
        except BaseException as error:
            self._lose_runner(error)
            raise

    async def _idle(self, waiting: asyncio.Future[None]) -> None:
        self._looking -= 1
        try:
            await waiting
        except asyncio.CancelledError:
            if waiting.cancelled():  # else whoever called this runner has counted it
                self._looking += 1
            raise

    def _lose_runner(self, error: BaseException) -> None:
        """A runner ends: with its loop, or because a handler raised what no actor may survive."""
        cell, self.current = self.current, None
        self._looking = max(self._looking - 1, 0)
        if isinstance(error, (asyncio.CancelledError, GeneratorExit)):
            return
        if cell is not None:
            cell.scheduled = False
            self._on_fatal(cell, error)
        if self.lane and not self._looking and not self.loop.is_closed():
            self._call_runner()

    async def _serve(self) -> None:
        """Give turns until the lane is empty, letting the loop breathe between slices."""
        lane = self.lane
        turns = self._turns
        while lane:
            self.now_s = turns.end_s = self.monotonic()
            slice_ends_s = self.now_s + _SLICE_S
            left = _SLICE
            while lane and left and turns.end_s < slice_ends_s:
                left -= 1
                self.current = cell = lane.popleft()
                work = turns.take(cell)
                if work is not None:
                    await self._see_through(cell, work, slice_ends_s)
            if lane:
                await asyncio.sleep(0)

    async def _see_through(self, cell: Cell, work: Work | None, slice_ends_s: float) -> None:
        """Await a handler, then go on with the same actor while its turn lasts."""
        served = 0
        while work is not None:
            follow_up = await self._turns.finish(cell, work)
            served += 1
            self.current = cell
            if follow_up is not None:
                work = follow_up
            elif served >= TURN or self._turns.end_s >= slice_ends_s:
                self._turns.rest(cell)
                return
            else:
                work = self._turns.take(cell)

    def note_resumed(self, cell: Cell) -> None:
        """This runner's handler goes on."""
        self._looking += 1
        self._suspended -= 1
        self._resumed += 1
        self.current = cell

    def note_suspended(self) -> None:
        """This runner is going to wait for its handler: somebody else must look at the lane."""
        self.current = None
        self._looking -= 1
        self._suspended += 1
        if self.lane and not self._looking:
            self._call_runner()
