"""Runs actors on demand: one dispatcher for each event loop.

Theory of operation. A cell with something to do lies once in `_lane`. Runner tasks take cells from
it and give each a turn of at most `_TURN` messages; after `_SLICE_S` or `_SLICE` turns a runner
lets the loop do its I/O. Handlers are called directly, inside a runner, so `current_task()` is a
real task for them and timeouts work. A handler that suspends keeps its runner until it is done;
meanwhile another runner serves the lane. Idle runners wait in `_idle_runners` for the next message.

Rules:
1. `_looking` counts the runners that will come to look at the lane. While cells lie in the lane it
   is at least one; whoever makes it zero with cells in the lane calls another runner.
2. Only the loop thread touches any of this, except `carry_over`.
3. One clock reading per message: its end is the next one's beginning.
4. Contextvars are those of the runner and mean nothing to an actor.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Coroutine, Generator
from threading import get_ident
from types import coroutine
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import structlog
from pykka import ActorDeadError

from actors.runtime import events, lifecycle
from actors.runtime.cell import Operation
from actors.runtime.events import DropReason
from actors.runtime.failures import MailboxFull
from actors.runtime.messages import WRAPPERS, Envelope
from actors.runtime.state import ActorState
from actors.runtime.unwrapping import handle_wrapped

if TYPE_CHECKING:
    from actors.runtime.cell import Cell

__all__ = ["Dispatcher"]

log = structlog.get_logger(__name__)

_TURN: Final = 64  # messages per actor before the next one gets its turn
_SLICE: Final = 1024  # turns per loop iteration, and
_SLICE_S: Final = 0.005  # seconds per loop iteration, before I/O gets its turn
_MAX_IDLE_RUNNERS: Final = 64
_MAX_FREE_DEQUES: Final = 256  # an empty deque is 600 bytes and worth recycling
_RUNNING = ActorState.RUNNING


class Work(NamedTuple):
    """A handler that has suspended."""

    handler: Coroutine[Any, Any, Any]
    awaited: Any  # what its first step yielded, for the runner's task to wait for
    item: Any  # what is being handled; an Operation for the runtime's own procedures
    began_s: float


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
        self._end_s = self.now_s  # when the latest message was through
        self._on_slow = on_slow
        self._on_fatal = on_fatal
        self._slow_s = slow_s
        self._lane: deque[Cell] = deque()
        self._looking = 0
        self._suspended = 0
        self._resumed = 0
        self._is_closed = False
        self._idle_runners: list[asyncio.Future[None]] = []
        self._runners: set[asyncio.Task[None]] = set()
        self._from_outside: deque[tuple[Cell, Any]] = deque()
        self._carry_pending = False

    @property
    def is_busy(self) -> bool:
        """Whether anything can be done at this moment; suspended handlers do not count."""
        return bool(self._lane) or self._looking > 0 or bool(self._from_outside)

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
        self._lane.append(cell)
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
                self._looking -= 1
                await waiting
        except BaseException as error:
            self._lose_runner(error)
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
        if self._lane and not self._looking and not self.loop.is_closed():
            self._call_runner()

    async def _serve(self) -> None:
        """Give turns until the lane is empty, letting the loop breathe between slices."""
        lane = self._lane
        while lane:
            self.now_s = self._end_s = self.monotonic()
            slice_ends_s = self.now_s + _SLICE_S
            turns = _SLICE
            while lane and turns and self._end_s < slice_ends_s:
                turns -= 1
                cell = lane.popleft()
                self.current = cell
                work = self._turn(cell)
                if work is not None:
                    await self._see_through(cell, work, slice_ends_s)
            if lane:
                await asyncio.sleep(0)

    async def _see_through(self, cell: Cell, work: Work | None, slice_ends_s: float) -> None:
        """Await a handler, then go on with the same actor while its turn lasts."""
        served = 0
        while work is not None:
            follow_up = await self._finish(cell, work)
            served += 1
            self.current = cell
            if follow_up is not None:
                work = follow_up
            elif served >= _TURN or self._end_s >= slice_ends_s:
                self._rest(cell)
                return
            else:
                work = self._turn(cell)

    def _turn(self, cell: Cell) -> Work | None:
        """Handle what waits, up to a limit; a handler that must be awaited comes back as work."""
        if cell.urgent is not None:
            work = self._work_off_urgent(cell)
            if work is not None:
                return work
        if cell.queue and cell.state is _RUNNING:
            work = self._work_off_queue(cell)
            if work is not None:
                return work
        self._rest(cell)
        return None

    def _work_off_urgent(self, cell: Cell) -> Work | None:
        for _ in range(_TURN):
            item = _next_urgent(cell)
            if item is None:
                return None
            work = None
            try:
                if type(item) is Operation:
                    result = item.run(cell)
                else:
                    assert cell.actor is not None
                    result = handle_wrapped(cell, cell.actor, item)
                if result is not None and lifecycle.must_be_awaited(result):
                    work = _enter(result, item, self._end_s)
                elif type(item) is Operation:
                    item.settle()
            except Exception as error:
                work = self._failed(cell, item, error)
            except asyncio.CancelledError as error:
                work = self._failed(cell, item, lifecycle.cancelled_within(error))
            self._end_s = self.monotonic()
            if work is not None:
                return work
        return None

    def _work_off_queue(self, cell: Cell) -> Work | None:
        """The hot loop."""
        queue, actor, monotonic = cell.queue, cell.actor, self.monotonic
        assert queue is not None
        assert actor is not None
        receive = actor.on_receive
        slow_s = self._slow_s
        before_s = now_s = self._end_s
        handled = 0
        item: Any = None
        try:
            while queue and handled < _TURN:
                item = queue.popleft()
                handled += 1
                if type(item) in WRAPPERS:
                    result = handle_wrapped(cell, actor, item)
                else:
                    result = receive(item)
                if result is not None and lifecycle.must_be_awaited(result):
                    work = _enter(result, item, now_s)
                    if work is not None:
                        handled -= 1  # counted when it is done
                        return work
                before_s, now_s = now_s, monotonic()
                if now_s - before_s > slow_s:
                    self._on_slow(cell, item, now_s - before_s)
                if cell.urgent is not None:
                    break
        except Exception as error:
            return self._failed(cell, item, error)
        except asyncio.CancelledError as error:
            return self._failed(cell, item, lifecycle.cancelled_within(error))
        finally:
            self._end_s = now_s
            if handled:
                cell.props.statistics.count(handled, now_s - before_s)
                cell.ahead -= handled
        return None

    def _rest(self, cell: Cell) -> None:
        """End of a turn: back into the lane, or idle."""
        queue = cell.queue
        if queue:
            if cell.ahead <= 0:
                cell.ahead = len(queue)
                cell.touched_s = self._end_s
        elif queue is not None:
            cell.queue = None
            if len(self.free_deques) < _MAX_FREE_DEQUES:
                self.free_deques.append(queue)
        if (queue and cell.state is _RUNNING) or (cell.urgent is not None and _has_urgent(cell)):
            self._lane.append(cell)
        else:
            cell.scheduled = False
            cell.touched_s = self.now_s
        if cell.has_extras:
            cell.wake_senders()

    def _failed(self, cell: Cell, item: Any, error: Exception) -> Work | None:
        """An asker gets the error and the actor lives on; anything else is a crash."""
        if type(item) is Envelope:
            item.reply.set_error(error)
            return None
        if type(item) is Operation:
            log.critical(events.DISPATCHER_FAIL, actor=cell.path, exc_info=error)
            item.settle()
            item = None
        crash = Operation(lambda failing: lifecycle.crash(failing, error, item))
        try:
            return _enter(crash.run(cell), crash, self._end_s)
        except Exception as second:  # a mistake in the runtime itself: end this actor, not all
            log.critical(events.DISPATCHER_FAIL, actor=cell.path, exc_info=second)
            lifecycle.close(cell, error)
            return None

    async def _finish(self, cell: Cell, work: Work) -> Work | None:
        """Await a handler and deal with its result; the crash it ended in comes back as work."""
        item = work.item
        extras = cell.extras
        extras.runner = asyncio.current_task()
        try:
            result = await self._drive(cell, work)
        except asyncio.CancelledError as error:
            if not lifecycle.was_interrupted(cell):
                return self._failed(cell, item, lifecycle.cancelled_within(error))
            self._put_back(cell, item)
        except Exception as error:
            return self._failed(cell, item, error)
        else:
            if type(item) is Envelope:
                item.reply.answer(result)
            elif type(item) is Operation:
                item.settle()
        finally:
            extras.runner = None
            if extras.interrupted:  # it ended in spite of being cancelled
                lifecycle.was_interrupted(cell)
            self._end_s = self.monotonic()
            if type(item) is not Operation:
                cell.props.statistics.count(1, self._end_s - work.began_s)
                cell.ahead -= 1
        return None

    def _put_back(self, cell: Cell, item: Any) -> None:
        if type(item) is Operation:
            item.settle()
        else:
            lifecycle.put_back(cell, item)

    @coroutine
    def _drive(self, cell: Cell, work: Work) -> Generator[Any, Any, Any]:
        """Await by hand: time each step, and let another runner take over while it is suspended."""
        handler, awaited = work.handler, work.awaited
        step: Callable[[Any], Any]
        while True:
            self._suspend()
            try:
                value = yield awaited
                step = handler.send
            except BaseException as error:
                value = error
                step = handler.throw
            self._looking += 1
            self._suspended -= 1
            self._resumed += 1
            self.current = cell
            began_s = self.monotonic()
            try:
                awaited = step(value)
            except StopIteration as end:
                return end.value
            finally:
                held_s = self.monotonic() - began_s
                if held_s > self._slow_s:
                    self._on_slow(cell, work.item, held_s)

    def _suspend(self) -> None:
        """This runner is going to wait for its handler: somebody else must look at the lane."""
        self.current = None
        self._looking -= 1
        self._suspended += 1
        if self._lane and not self._looking:
            self._call_runner()


def _next_urgent(cell: Cell) -> Any:
    """The next of the system lane; without a running instance only operations can be done."""
    urgent = cell.urgent
    if not urgent:
        cell.urgent = None
        return None
    if cell.state is _RUNNING:
        return urgent.popleft()
    for index, item in enumerate(urgent):
        if type(item) is Operation:
            del urgent[index]
            return item
    return None


def _has_urgent(cell: Cell) -> bool:
    if not cell.urgent:
        cell.urgent = None
        return False
    return cell.state is _RUNNING or any(type(item) is Operation for item in cell.urgent)


def _enter(awaitable: Any, item: Any, began_s: float) -> Work | None:
    """Run a handler's first step; None if that was all, which is the rule for many of them."""
    handler = awaitable if asyncio.iscoroutine(awaitable) else lifecycle.settled(awaitable)
    try:
        awaited = handler.send(None)
    except StopIteration as end:
        if type(item) is Envelope:
            item.reply.answer(end.value)
        elif type(item) is Operation:
            item.settle()
        return None
    return Work(handler, awaited, item, began_s)
