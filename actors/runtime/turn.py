"""One actor's turn: what waits for it is handled, up to a limit.

Theory of operation. Handlers are called directly. One that suspends comes back as `Work`, which its
runner awaits by driving it step by step: that way the time it holds the loop is known, and another
runner can take over the lane while it waits. A handler that returns or raises without suspending
costs no more than a call.

One clock reading per message: its end is the next one's beginning.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Generator
from types import coroutine
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import structlog

from actors.runtime import events, lifecycle
from actors.runtime.cell import Operation
from actors.runtime.failures import HandlerCancelled
from actors.runtime.messages import WRAPPERS, Envelope
from actors.runtime.state import ActorState
from actors.runtime.unwrapping import handle_wrapped

if TYPE_CHECKING:
    from actors.runtime.cell import Cell
    from actors.runtime.dispatcher import Dispatcher

__all__ = ["TURN", "Turns", "Work"]

log = structlog.get_logger(__name__)

TURN: Final = 64  # messages per actor before the next one gets its turn
_LOOP_CLOSING_S: Final = 0.05  # a loop that closes down is gone by then
_MAX_FREE_DEQUES: Final = 256  # an empty deque is 600 bytes and worth recycling
_RUNNING = ActorState.RUNNING


class Work(NamedTuple):
    """A handler that has suspended."""

    handler: Coroutine[Any, Any, Any]
    awaited: Any  # what its first step yielded, for the runner's task to wait for
    item: Any  # what is being handled; an Operation for the runtime's own procedures
    began_s: float


class Turns:
    """Gives turns to cells for one dispatcher. Runs inside its runners."""

    def __init__(
        self,
        dispatcher: Dispatcher,
        monotonic: Callable[[], float],
        *,
        on_slow: Callable[[Cell, Any, float], None],
        slow_s: float,
    ) -> None:
        self._dispatcher = dispatcher
        self._monotonic = monotonic
        self._on_slow = on_slow
        self._slow_s = slow_s
        self.end_s = monotonic()  # when the latest message was through

    def take(self, cell: Cell) -> Work | None:
        """Handle what waits, up to a limit; a handler that must be awaited comes back as work."""
        if cell.urgent is not None:
            work = self._work_off_urgent(cell)
            if work is not None:
                return work
        if cell.queue and cell.state is _RUNNING:
            work = self._work_off_queue(cell)
            if work is not None:
                return work
        self.rest(cell)
        return None

    def _work_off_urgent(self, cell: Cell) -> Work | None:
        for _ in range(TURN):
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
                    work = _enter(result, item, self.end_s)
                elif type(item) is Operation:
                    item.settle()
            except Exception as error:
                work = self._failed(cell, item, error)
            except asyncio.CancelledError as error:
                work = self._failed(cell, item, lifecycle.cancelled_within(error))
            self.end_s = self._monotonic()
            if work is not None:
                return work
        return None

    def _work_off_queue(self, cell: Cell) -> Work | None:
        """The hot loop."""
        queue, actor, monotonic = cell.queue, cell.actor, self._monotonic
        assert queue is not None
        assert actor is not None
        receive = actor.on_receive
        slow_s = self._slow_s
        before_s = now_s = self.end_s
        handled = 0
        item: Any = None
        try:
            while queue and handled < TURN:
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
            self.end_s = now_s
            statistics = cell.props.statistics
            statistics.handled += handled
            if statistics.handled >= statistics.next_sample:
                statistics.sample(now_s - before_s)
            cell.ahead -= handled
        return None

    def rest(self, cell: Cell) -> None:
        """End of a turn: back into the lane, or idle."""
        dispatcher = self._dispatcher
        queue = cell.queue
        if queue:
            if cell.ahead <= 0:
                cell.ahead = len(queue)
                cell.touched_s = self.end_s
        else:
            cell.touched_s = dispatcher.now_s
            if queue is not None:
                cell.queue = None
                if len(dispatcher.free_deques) < _MAX_FREE_DEQUES:
                    dispatcher.free_deques.append(queue)
        if (queue and cell.state is _RUNNING) or (cell.urgent is not None and _has_urgent(cell)):
            dispatcher.lane.append(cell)
        else:
            cell.scheduled = False
        extras = cell.extras_if_any
        if extras is not None and extras.room:
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
            return _enter(crash.run(cell), crash, self.end_s)
        except Exception as second:  # a mistake in the runtime itself: end this actor, not all
            log.critical(events.DISPATCHER_FAIL, actor=cell.path, exc_info=second)
            lifecycle.close(cell, error)
            return None

    async def finish(self, cell: Cell, work: Work) -> Work | None:
        """Await a handler and deal with its result; the crash it ended in comes back as work."""
        item = work.item
        extras = cell.extras
        extras.runner = asyncio.current_task()
        try:
            result = await self._drive(cell, work)
        except asyncio.CancelledError as error:
            if _runner_was_cancelled(cell):
                self._leave_behind(cell, item, lifecycle.cancelled_within(error))
                raise
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
            self.end_s = self._monotonic()
            if type(item) is not Operation:
                statistics = cell.props.statistics
                statistics.handled += 1
                statistics.sample(self.end_s - work.began_s)
                cell.ahead -= 1
        return None

    def _put_back(self, cell: Cell, item: Any) -> None:
        if type(item) is Operation:
            item.settle()
        else:
            lifecycle.put_back(cell, item)

    def _leave_behind(self, cell: Cell, item: Any, error: HandlerCancelled) -> None:
        """The runner itself was cancelled: the loop closes down, or a handler cancelled its task.

        The runner must obey. If the loop still runs in a moment, the actor crashes properly.
        """

        def crash() -> None:
            cell.post(Operation(lambda failing: lifecycle.crash(failing, error)), first=True)
            cell.scheduled = True
            self._dispatcher.schedule(cell)

        self._put_back(cell, item)
        asyncio.get_running_loop().call_later(_LOOP_CLOSING_S, crash)

    @coroutine
    def _drive(self, cell: Cell, work: Work) -> Generator[Any, Any, Any]:
        """Await by hand: time each step, and let another runner take over while it is suspended."""
        dispatcher = self._dispatcher
        handler, awaited = work.handler, work.awaited
        step: Callable[[Any], Any]
        while True:
            dispatcher.note_suspended()
            try:
                value = yield awaited
                step = handler.send
            except BaseException as error:
                value = error
                step = handler.throw
            dispatcher.note_resumed(cell)
            began_s = self._monotonic()
            try:
                awaited = step(value)
            except StopIteration as end:
                return end.value
            finally:
                held_s = self._monotonic() - began_s
                if held_s > self._slow_s:
                    self._on_slow(cell, work.item, held_s)


def _runner_was_cancelled(cell: Cell) -> bool:
    task = asyncio.current_task()
    return not cell.extras.interrupted and task is not None and task.cancelling() > 0


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
