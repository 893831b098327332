"""What happens to a cell's instance: begin, crash, finish, halt, restart, end, passivate.

Each function is an Operation: it runs on the cell's own lane, never beside a handler of the same
actor, and returns a coroutine when it has to wait (the dispatcher then carries on elsewhere). A
crash is announced to the guardian first, so that the decision is made before hooks take their time.

The order in which an instance goes: timers off, children halted (last first), its hook, its tasks
cancelled and waited for, dropped.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from contextvars import ContextVar
from types import CoroutineType
from typing import TYPE_CHECKING, Any

import structlog
from pykka import ActorRegistry

from actors.runtime import events
from actors.runtime.cell import Operation
from actors.runtime.events import DropReason
from actors.runtime.failures import ActorKilled, HandlerCancelled, RestartRequested
from actors.runtime.messages import (
    WRAPPERS,
    Poison,
    Redelivery,
    Restarted,
    Terminated,
    TimerFired,
    unwrapped,
)
from actors.runtime.props import Verdict
from actors.runtime.state import ActorState

if TYPE_CHECKING:
    from actors.runtime.actor import Actor
    from actors.runtime.cell import Cell

log = structlog.get_logger(__name__)

# The cell whose instance is being made: the instance must be attached before its __init__ runs,
# which may already ask for its own ref, path or clock.
under_construction: ContextVar[Cell | None] = ContextVar("under_construction", default=None)

# How long the cancelled tasks of an ending instance may take to unwind.
_TASK_GRACE_S = 1.0


def begin(cell: Cell) -> Coroutine[Any, Any, None] | None:
    """Make an instance and start it; nothing if there is one, or the cell is closed."""
    if cell.actor is not None or cell.is_closed:
        return None
    cell.state = ActorState.STARTING
    try:
        cell.actor = _construct(cell)
    except Exception as error:
        return crash(cell, error)
    if cell.props.is_virtual and cell.props.starts_quietly and not cell.has_extras:
        cell.state = ActorState.RUNNING
        return None
    return _start(cell, cell.actor)


def begin_now(cell: Cell) -> None:
    """Make the instance at once, in the caller's turn; the rest of its start follows on its own."""
    starting = begin(cell)
    if starting is not None:
        cell.post(Operation(lambda _cell: starting))


def _construct(cell: Cell) -> Actor:
    token = under_construction.set(cell)
    try:
        actor = cell.props.create(cell.name)
    finally:
        under_construction.reset(token)
        cell.actor = None
    if cell.props.is_virtual and type(actor) is not cell.props.actor_class:
        cell.props.adopt(type(actor))
    if getattr(actor, "_cell", None) is not cell:
        raise TypeError(f"{cell.path}: `create` must return an actor that it makes at that moment")
    return actor


async def _start(cell: Cell, actor: Actor) -> None:
    extras = cell.extras
    extras.starts += 1
    if extras.starts > 1:
        cell.props.statistics.restarts += 1
    if not cell.props.is_virtual:
        cell.props.statistics.since = cell.props.clock.now()
    try:
        await settled(actor.on_start())
    except Exception as error:
        await crash(cell, error)
        return
    except asyncio.CancelledError as error:
        if not was_interrupted(cell):
            await crash(cell, cancelled_within(error))
        return
    cell.state = ActorState.RUNNING
    if extras.family is not None:
        extras.family.start_children()
    _announce_start(cell)


def _announce_start(cell: Cell) -> None:
    extras = cell.extras
    if extras.retry is not None:
        cell.post(extras.retry, first=True)
        extras.retry = None
    if extras.starts > 1:
        notice = Restarted(cell.path, extras.error)
        for watcher in tuple(extras.watchers):
            notify(watcher, notice)
    cell.props.guardian.on_started(cell)


async def crash(cell: Cell, error: Exception, item: Any = None) -> None:
    """The instance failed, on `item` if it was handling one. The guardian decides what follows."""
    if cell.is_closed:
        return
    props = cell.props
    extras = cell.extras
    cell.state = ActorState.FAILED
    extras.starts = max(extras.starts, 1)  # a quiet start was not counted
    extras.error = error
    props.statistics.note_error(error, props.clock.now())
    if item is not None:
        _set_aside(cell, item, error)
    if props.guardian.on_failed(cell, error) is Verdict.KEEP:
        await _release(cell, lambda actor: actor.on_restart(error))
        if not cell.is_closed:
            cell.state = ActorState.BACKING_OFF if props.parent is not None else ActorState.FAILED
    else:
        await _release(
            cell, lambda actor: actor.on_failure(type(error), error, error.__traceback__)
        )
        close(cell, error)


def _set_aside(cell: Cell, item: Any, error: Exception) -> None:
    """Decide about the message that crashed the actor: once more, poison, or a dead letter."""
    if type(item) is Poison:
        return  # `on_poison` itself raised; the letter is written already
    message = unwrapped(item)
    if type(item) is Redelivery and item.crashed:
        cell.drop(message, DropReason.POISON, error)
        cell.extras.retry = Poison(message, error)
    elif may_be_redelivered(cell, item):
        cell.extras.retry = Redelivery(message, crashed=True)
    else:
        cell.drop(message, DropReason.FAILED, error)


def may_be_redelivered(cell: Cell, item: Any) -> bool:
    """What was told, also by a timer. An asker gets the error instead, and may ask again."""
    return cell.props.redeliver_once and (
        type(item) is Redelivery or type(item) is TimerFired or type(item) not in WRAPPERS
    )


def put_back(cell: Cell, item: Any) -> None:
    """The handler was interrupted from outside: not the message's fault, so no strike."""
    if type(item) is Poison:
        cell.extras.retry = item
    elif may_be_redelivered(cell, item):
        crashed = type(item) is Redelivery and item.crashed
        cell.extras.retry = Redelivery(unwrapped(item), crashed=crashed)
    else:
        cell.drop(item, DropReason.INTERRUPTED)


async def finish(cell: Cell) -> None:
    """The instance comes to a request to stop, all earlier messages being handled."""
    if cell.is_closed:
        return
    if cell.props.is_virtual:
        await passivate(cell)
    elif cell.props.guardian.on_finished(cell) is Verdict.KEEP:
        cell.extras.error = None
        await _release(cell, lambda actor: actor.on_stop())
        if not cell.is_closed:
            cell.state = ActorState.BACKING_OFF
    else:
        await end(cell)


async def end(cell: Cell) -> None:
    """Stop for good, now; what waits in the mailbox becomes dead letters."""
    if cell.is_closed:
        return
    cell.state = ActorState.STOPPED
    await _release(cell, lambda actor: actor.on_stop())
    close(cell, None)


async def passivate(cell: Cell) -> None:
    """Let a virtual actor's instance go in an orderly way.

    The cell closes if nothing came meanwhile; else a fresh instance takes over.
    """
    cell.state = ActorState.STARTING
    await _release(cell, lambda actor: actor.on_stop())
    if cell.queue or cell.urgent:
        starting = begin(cell)
        if starting is not None:
            await starting
    elif not cell.is_closed:
        close(cell, None)


async def halt(cell: Cell) -> None:
    """Drop the instance and keep the cell: its supervisor restarts, or a sibling it goes with."""
    if cell.is_closed:
        return
    cell.state = ActorState.BACKING_OFF
    await _release(cell, lambda actor: actor.on_restart(None))


async def restart(cell: Cell) -> None:
    """Replace the instance because somebody asked for it."""
    if cell.is_closed:
        return
    await halt(cell)
    cell.extras.starts = max(cell.extras.starts, 1)
    cell.extras.error = RestartRequested(f"somebody asked to restart {cell.path}")
    starting = begin(cell)
    if starting is not None:
        await starting


async def be_killed(cell: Cell) -> None:
    """End the instance as a crash, ahead of everything that waits."""
    if cell.actor is not None:
        await crash(cell, ActorKilled(f"{cell.path} was killed"))


def close(cell: Cell, error: Exception | None) -> None:
    """Make the end final: unregister, empty the mailbox, tell whoever watches or waits."""
    cell.state = ActorState.STOPPED
    cell.actor = None
    if cell.props.registered:
        ActorRegistry.unregister(cell.props.system.ref_of(cell))
    if cell.has_extras:
        _close_extras(cell, error)
    cell.flush()
    cell.props.guardian.on_stopped(cell, error)


def _close_extras(cell: Cell, error: Exception | None) -> None:
    extras = cell.extras
    if type(extras.retry) is Redelivery:
        cell.drop(extras.retry.message, DropReason.STOPPED)
    extras.retry = None
    extras.room.wake_all()
    notice = Terminated(cell.path, error)
    for watcher in tuple(extras.watchers):
        notify(watcher, notice)
        watcher.extras.watching.discard(cell)
    for watched in extras.watching:
        watched.extras.watchers.discard(cell)
    extras.watchers.clear()
    extras.watching.clear()


def notify(watcher: Cell, notice: Terminated | Restarted) -> None:
    """Deliver a death watch's notice on the system lane: no mailbox bound may swallow it."""
    if not watcher.is_closed:
        watcher.post(notice)


async def _release(cell: Cell, hook: Callable[[Actor], Any]) -> None:
    """Let the instance go; see the module's docstring for the order. Hooks cannot make it fail."""
    actor = cell.actor
    extras = cell.extras if cell.has_extras else None
    if extras is not None:
        for timer in tuple(extras.timers):
            timer.cancel()
        if extras.family is not None:
            await _run_hook(cell, extras.family.halt)
    if actor is not None:
        await _run_hook(cell, lambda: hook(actor))
    if extras is not None and extras.tasks:
        await _cancel_tasks(cell, extras.tasks)
    cell.actor = None


async def _run_hook(cell: Cell, hook: Callable[[], Any]) -> None:
    try:
        await settled(hook())
    except Exception as error:
        cell.props.statistics.note_error(error, cell.props.clock.now())
        log.exception(events.HOOK_FAIL, actor=cell.path)
    except asyncio.CancelledError:
        was_interrupted(cell)  # raises if it is the whole process that ends
        log.error(events.HOOK_FAIL, actor=cell.path, reason="cancelled")


async def _cancel_tasks(cell: Cell, tasks: set[asyncio.Task[Any]]) -> None:
    for task in tuple(tasks):
        task.cancel()
    _, stuck = await asyncio.wait(tuple(tasks), timeout=_TASK_GRACE_S)
    if stuck:
        log.error(events.ACTOR_ABANDON, actor=cell.path, tasks=len(stuck))
    tasks.clear()


def was_interrupted(cell: Cell) -> bool:
    """After CancelledError: whether it was `Cell.interrupt`. Raises on if the loop is closing down."""
    task = asyncio.current_task()
    extras = cell.extras
    if extras.interrupted and task is not None:
        extras.interrupted = False
        task.uncancel()
        return True
    if task is not None and task.cancelling():
        raise asyncio.CancelledError
    return False


def cancelled_within(cause: asyncio.CancelledError) -> HandlerCancelled:
    error = HandlerCancelled("something the handler awaited was cancelled")
    error.__cause__ = cause
    return error


async def settled(result: Any) -> Any:
    """The value of something that may have to be awaited first."""
    return await result if must_be_awaited(result) else result


def must_be_awaited(result: Any) -> bool:
    """Coroutines and asyncio's futures and tasks; any other object is a plain value.

    So is a pykka future, ours included, as it is in pykka: an actor that hands out a future of
    work it has still to do itself would otherwise wait for itself.
    """
    return type(result) is CoroutineType or isinstance(result, asyncio.Future)
