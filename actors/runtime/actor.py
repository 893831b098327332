"""The actor: subclass it, handle messages one at a time."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from types import TracebackType
from typing import TYPE_CHECKING, Any, ClassVar, NoReturn, TypeVar

from actors.runtime import lifecycle
from actors.runtime.cell import Cell, Operation
from actors.runtime.failures import HandlerCancelled
from actors.runtime.future import ActorFuture
from actors.runtime.mailbox import Overflow
from actors.runtime.messages import Terminated
from actors.runtime.pykka_actor import PykkaActor
from actors.runtime.ref import ActorRef
from actors.runtime.stopped_flag import StoppedFlag
from actors.runtime.timer import Timer

if TYPE_CHECKING:
    from actors.runtime.clock import Clock
    from actors.runtime.system import ActorSystem

__all__ = ["Actor"]

T = TypeVar("T")


class Actor(PykkaActor):
    """One unit of state with one mailbox, run on the event loop of its system.

    `on_receive` and the other `on_*` hooks may be plain or `async`; a task or asyncio future they
    return is awaited as well. A pykka future is not: it is a value, as in pykka. One actor's
    handlers never overlap.
    They run on the loop thread: a handler that blocks, blocks every actor.

    An actor is made by its supervisor from a `ChildSpec`, or by a `Directory`. Constructed by hand
    it is a plain object, good for testing what needs no runtime.
    """

    mailbox_capacity: ClassVar[int | None] = None
    """How many messages may wait. None is unbounded, for where credits bound it elsewhere."""

    mailbox_overflow: ClassVar[Overflow] = Overflow.FAIL
    """What happens to the message that does not fit."""

    registered: ClassVar[bool] = True
    """Whether pykka's ActorRegistry lists it. Its removal is linear: False for actors by the
    thousand. Virtual actors never are."""

    redeliver_once: ClassVar[bool] = False
    """Whether a told message whose handler crashed is handled once more, first, by the restarted
    instance. If it crashes that one too, it is dead-lettered as poison and handed to `on_poison` of
    the next. Handlers must then stand handling a message twice."""

    _cell: Cell

    def __new__(cls, *_args: Any, **_kwargs: Any) -> Actor:
        actor = super().__new__(cls)
        cell = lifecycle.under_construction.get()
        if cell is not None:
            lifecycle.under_construction.set(None)
            cell.actor = actor
            actor._cell = cell
        return actor

    def __init__(self, *_args: Any, **_kwargs: Any) -> None:
        """Nothing to do: the cell was attached before. (pykka's own makes an Event and a UUID.)"""

    @classmethod
    def start(cls, *args: Any, **kwargs: Any) -> ActorRef[Any]:
        """Start an unsupervised actor in the system running on this thread, as pykka does it.

        For experiments and pykka's idioms; a hub's actors are spawned with a `ChildSpec`.
        """
        from actors.runtime.system import ActorSystem

        return ActorSystem.of_this_thread().spawn_temporary(cls, args, kwargs)

    @classmethod
    def overrides(cls, hook: str) -> bool:
        """Whether this class has an own implementation of one of the hooks."""
        return getattr(cls, hook) is not getattr(Actor, hook)

    def __str__(self) -> str:
        return f"{type(self).__name__} ({self._cell.path if hasattr(self, '_cell') else 'loose'})"

    @property
    def actor_ref(self) -> ActorRef[Any]:
        """This actor's address; the only thing about itself it may give away."""
        return self._cell.props.system.ref_of(self._cell)

    @property
    def path(self) -> str:
        """The place in the tree, such as ``/hub/router``."""
        return self._cell.path

    @property
    def system(self) -> ActorSystem:
        return self._cell.props.system

    @property
    def clock(self) -> Clock:
        return self._cell.props.clock

    def schedule(self, delay_s: float, message: Any) -> Timer:
        """Tell oneself `message` in `delay_s` seconds; ends with this instance."""
        timer = Timer(self._cell, delay_s, message)
        self._cell.extras.timers.add(timer)
        return timer

    def watch(self, ref: ActorRef[Any]) -> None:
        """Have `Terminated` and `Restarted` of another actor told to this one.

        Survives restarts of both. Watching what has ended is answered at once. Repeating it
        changes nothing.
        """
        watched = ref._cell
        if watched.is_closed:
            error = watched.extras.error if watched.has_extras else None
            lifecycle.notify(self._cell, Terminated(watched.path, error))
            return
        watched.extras.watchers.add(self._cell)
        self._cell.extras.watching.add(watched)

    def unwatch(self, ref: ActorRef[Any]) -> None:
        """No further notices about that actor (one that is on its way already still arrives)."""
        ref._cell.extras.watchers.discard(self._cell)
        self._cell.extras.watching.discard(ref._cell)

    def create_task(self, coroutine: Coroutine[Any, Any, T]) -> asyncio.Task[T]:
        """Run something beside the handlers. Its failure is the actor's; it ends with the instance.

        It runs between this actor's handlers' awaits: what it changes of the actor's state, a
        handler may see change. Best let it tell the results to `actor_ref`.
        """
        cell = self._cell
        task = asyncio.get_running_loop().create_task(coroutine, name=f"task of {cell.path}")
        cell.extras.tasks.add(task)
        task.add_done_callback(self._on_task_done)
        return task

    def on_start(self) -> Any:
        """Called first; messages wait until it is done. Raising is a crash."""

    def on_receive(self, message: Any) -> Any:
        """Handle one message; what it returns answers an `ask`.

        Raising crashes the actor if the message was told; if it was asked, the asker gets the
        exception and the actor lives on.
        """
        super().on_receive(message)

    def on_stop(self) -> Any:
        """Called last when the actor ends in an orderly way or is passivated: save, flush, close."""

    def on_restart(self, error: Exception | None) -> Any:
        """Called on an instance that will be replaced: release what it holds.

        `error` is what it crashed on; None if it goes because a sibling, its supervisor or a person
        wants it to. It is also called when `on_start` was not through, so expect half of a start.
        """

    def on_failure(
        self,
        exception_type: type[BaseException] | None,
        exception_value: BaseException | None,
        traceback: TracebackType | None,
    ) -> Any:
        """pykka's hook for a crash that nobody answers with a restart. Does as `on_restart`."""
        return self.on_restart(exception_value if isinstance(exception_value, Exception) else None)

    def on_poison(self, message: Any, error: Exception) -> Any:
        """A message crashed two instances on end and will not be tried again.

        It is in the dead letters already. Settle here what still waits for it. If this raises, the
        actor crashes, but the message does not return.
        """

    def can_passivate(self) -> bool:
        """Whether a Directory may put this instance away now, as far as the actor is concerned."""
        return True

    def handle_proxied(self, message: Any) -> Any:
        """Answer a message of an `ActorProxy` (for the dispatcher)."""
        return super()._handle_receive(message)

    # What pykka.Actor declares as attributes or wants implemented:

    @property
    def actor_urn(self) -> str:
        return self._cell.urn

    @property
    def actor_inbox(self) -> Cell:
        return self._cell

    @property
    def actor_stopped(self) -> StoppedFlag:
        return StoppedFlag(self._cell)

    @property
    def _actor_ref(self) -> ActorRef[Any]:
        return self.actor_ref

    @staticmethod
    def _create_actor_inbox() -> NoReturn:
        raise NotImplementedError("the cell is the inbox")

    @staticmethod
    def _create_future() -> ActorFuture[Any]:
        return ActorFuture()

    def _start_actor_loop(self) -> None:
        """No loop of its own: it runs when there is something to do."""

    def _on_task_done(self, task: asyncio.Task[Any]) -> None:
        cell = self._cell
        cell.extras.tasks.discard(task)
        if task.cancelled() or task.exception() is None or cell.actor is not self:
            return
        cause = task.exception()
        error = cause if isinstance(cause, Exception) else HandlerCancelled(repr(cause))

        def fail(failing: Cell) -> Coroutine[Any, Any, None] | None:
            return lifecycle.crash(failing, error) if failing.actor is self else None

        cell.post(Operation(fail), first=True)
        cell.interrupt()  # a handler that waits for the task would wait for ever
