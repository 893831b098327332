"""The cell: what stays of an actor while its instances come and go.

Theory of operation. A ref points at a cell, the cell owns the current instance (pykka's own ref is
weak, so somebody must), the mailbox, and the state. A restart replaces the instance only: refs,
waiting messages and watchers survive it, and so do the cells of a restarted supervisor's children.

Rules:
1. Everything here is touched on the loop thread only. `put` and `post` from other threads are
   carried over by the dispatcher.
2. An idle cell holds no deque, no task, no timer; what few cells need lies in `CellExtras`.
3. `urgent` is the system lane: operations on the actor (start, halt, ...) and messages that no
   mailbox bound applies to. It is served before `queue`, within the same turn budget.
4. A cell is in the dispatcher's lane at most once: `scheduled` says whether it is, or is being run.
"""

from __future__ import annotations

import asyncio
import uuid
from collections import deque
from collections.abc import Callable, Coroutine
from threading import get_ident
from typing import TYPE_CHECKING, Any

from pykka import ActorDeadError
from pykka.messages import _ActorStop

from actors.runtime.events import DropReason
from actors.runtime.mailbox import RoomQueue, overflow
from actors.runtime.messages import Envelope, unwrapped
from actors.runtime.state import ActorState

if TYPE_CHECKING:
    from actors.runtime.actor import Actor
    from actors.runtime.directory import Directory
    from actors.runtime.family import Family
    from actors.runtime.messages import Poison, Redelivery
    from actors.runtime.props import Props
    from actors.runtime.timer import Timer

__all__ = ["Cell", "CellExtras", "Operation"]

_RUNNING = ActorState.RUNNING
_CLOSED = frozenset({ActorState.STOPPED})


class Operation:
    """Something to do to a cell on its own lane, and who waits for it."""

    __slots__ = ("done", "run")

    def __init__(
        self,
        run: Callable[[Cell], Coroutine[Any, Any, None] | None],
        done: asyncio.Future[None] | None = None,
    ) -> None:
        self.run = run
        self.done = done

    def settle(self) -> None:
        if self.done is not None and not self.done.done():
            self.done.set_result(None)


class CellExtras:
    """What only some cells need: made at first use."""

    __slots__ = (
        "directory",
        "error",
        "family",
        "interrupted",
        "retry",
        "room",
        "runner",
        "starts",
        "tasks",
        "timers",
        "urn",
        "watchers",
        "watching",
    )

    def __init__(self) -> None:
        self.family: Family | None = None  # of a supervisor
        self.directory: Directory[Any] | None = None  # of a directory's keeper
        self.error: Exception | None = None  # what ended the previous instance
        self.starts = 0
        self.retry: Redelivery | Poison | None = None  # goes first to the next instance
        self.runner: asyncio.Task[None] | None = None  # set while a handler is suspended
        self.interrupted = False
        self.room = RoomQueue()
        self.timers: set[Timer] = set()
        self.tasks: set[asyncio.Task[Any]] = set()
        self.watchers: set[Cell] = set()
        self.watching: set[Cell] = set()
        self.urn: str | None = None


class Cell:
    """Mailbox, state and owner of one actor's instances."""

    __slots__ = (
        "actor",
        "ahead",
        "extras_if_any",
        "name",
        "props",
        "queue",
        "scheduled",
        "state",
        "touched_s",
        "urgent",
    )

    def __init__(self, props: Props, name: Any) -> None:
        self.props = props
        self.name = name  # a child's name, or a virtual actor's key
        self.actor: Actor | None = None
        self.state = ActorState.STARTING
        self.queue: deque[Any] | None = None
        self.urgent: deque[Any] | None = None
        self.scheduled = False
        # When the mailbox is empty: when it became so. Otherwise: about when its head came in;
        # `ahead` messages were there by then. Kept once per turn instead of a time per message.
        self.touched_s = props.dispatcher.now_s
        self.ahead = 0
        self.extras_if_any: CellExtras | None = None

    def __repr__(self) -> str:
        return f"<Cell {self.path} {self.state}>"

    @property
    def path(self) -> str:
        parent = self.props.parent
        return f"{parent.path if parent is not None else ''}/{self.name}"

    @property
    def extras(self) -> CellExtras:
        if self.extras_if_any is None:
            self.extras_if_any = CellExtras()
        return self.extras_if_any

    @property
    def has_extras(self) -> bool:
        return self.extras_if_any is not None

    @property
    def is_closed(self) -> bool:
        return self.state in _CLOSED

    @property
    def urn(self) -> str:
        extras = self.extras
        if extras.urn is None:
            extras.urn = uuid.uuid4().urn
        return extras.urn

    @property
    def length(self) -> int:
        """How many messages wait."""
        return len(self.queue) if self.queue is not None else 0

    def put(self, item: Any) -> None:
        """Take a message in. Raises MailboxFull or ActorDeadError, on the loop thread only."""
        props = self.props
        dispatcher = props.dispatcher
        if get_ident() != dispatcher.thread_id:
            if self.state in _CLOSED and props.revive is None:
                raise ActorDeadError(f"{self.path} has stopped")
            dispatcher.carry_over(self, item)
            return
        queue = self.queue
        if queue is None:
            if self.state in _CLOSED:
                self.refuse(item)
                return
            free = dispatcher.free_deques
            self.queue = queue = free.pop() if free else deque()
        elif len(queue) >= props.capacity:
            overflow(self, queue, item)
            return
        queue.append(item)
        if not self.scheduled:
            if self.state is _RUNNING:
                self.scheduled = True
                dispatcher.schedule(self)
            elif len(queue) == 1:
                self.touched_s = dispatcher.monotonic()

    def put_exempt(self, item: Any) -> None:
        """Like `put`, but past the mailbox's bound. Loop thread only; ignored if closed."""
        if self.state in _CLOSED:
            return
        if self.queue is None:
            self.queue = deque()
        self.queue.append(item)
        if not self.scheduled and self.state is _RUNNING:
            self.scheduled = True
            self.props.dispatcher.schedule(self)

    def post(self, item: Any, *, first: bool = False) -> None:
        """Put an Operation, or a message past all bounds, into the system lane. Loop thread only."""
        if self.urgent is None:
            self.urgent = deque()
        if first:
            self.urgent.appendleft(item)
        else:
            self.urgent.append(item)
        if not self.scheduled:
            self.scheduled = True
            self.props.dispatcher.schedule(self)

    def request(
        self, run: Callable[[Cell], Coroutine[Any, Any, None] | None]
    ) -> asyncio.Future[None]:
        """Post an operation; the future is set when it has been carried out."""
        done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.post(Operation(run, done))
        return done

    async def wait_for_room(self) -> None:
        """Return when a `put` would fit, in the order of arrival. Raises ActorDeadError."""
        room = self.extras.room
        must_wait = bool(room)
        while must_wait or self.length >= self.props.capacity:
            if self.state in _CLOSED:
                break
            await room.wait()
            must_wait = False
        if self.state in _CLOSED:
            raise ActorDeadError(f"{self.path} has stopped")

    def wake_senders(self) -> None:
        """Let as many waiting senders through as there is room for."""
        if self.extras_if_any is not None and self.extras_if_any.room:
            self.extras_if_any.room.wake(self.props.capacity - self.length)

    def interrupt(self) -> None:
        """Cancel the handler that is suspended just now, if any."""
        extras = self.extras_if_any
        if extras is not None and extras.runner is not None and not extras.interrupted:
            extras.interrupted = True
            extras.runner.cancel()

    def refuse(self, item: Any) -> None:
        """Answer a message that came after the end."""
        if self.props.revive is not None:
            self.props.revive(self.name, item)
            return
        self.drop(item, DropReason.STOPPED)
        if type(item) is not Envelope:
            raise ActorDeadError(f"{self.path} has stopped")

    def drop(self, item: Any, reason: DropReason, error: Exception | None = None) -> None:
        """Make a dead letter of an item; whoever asked is told."""
        if type(item) is Envelope:
            if type(item.message) is _ActorStop and reason is DropReason.STOPPED:
                item.reply.set_error(ActorDeadError(f"{self.path} has stopped"))
                return
            item.reply.set_error(
                error or ActorDeadError(f"{self.path} did not handle the message: {reason}")
            )
        elif type(item) is _ActorStop or type(item) is Operation:
            return
        self.props.statistics.dropped += 1
        self.props.system.dead_letters.add(self.path, unwrapped(item), reason, error)

    def flush(self) -> None:
        """Make dead letters of everything that waits. Requests to stop are fulfilled by now."""
        queue, self.queue = self.queue, None
        urgent, self.urgent = self.urgent, None
        for item in urgent or ():
            if type(item) is Operation:
                item.settle()
            else:
                self.drop(item, DropReason.STOPPED)
        for item in queue or ():
            if type(item) is Envelope and type(item.message) is _ActorStop:
                item.reply.answer(None)
            else:
                self.drop(item, DropReason.STOPPED)
