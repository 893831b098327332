"""The address of an actor."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from threading import get_ident
from typing import TYPE_CHECKING, Any, Generic, TypeVar, cast

import pykka
from pykka import ActorDeadError
from pykka.messages import _ActorStop

from actors.runtime import lifecycle
from actors.runtime.cell import Operation
from actors.runtime.failures import WouldDeadlock
from actors.runtime.future import ActorFuture
from actors.runtime.messages import Envelope
from actors.runtime.state import ActorState
from actors.runtime.stopped_flag import StoppedFlag

if TYPE_CHECKING:
    from actors.runtime.actor import Actor
    from actors.runtime.cell import Cell

__all__ = ["ActorRef"]

A = TypeVar("A", bound="Actor")


class ActorRef(pykka.ActorRef[Any], Generic[A]):
    """Where to send messages for one actor. It stays the same through restarts.

    Any thread may `tell`, `ask`, `stop` and `kill`; the rest belongs to the loop thread. Two refs
    of the same actor are equal. Do not keep the ref of a virtual actor over time: keep its key.
    """

    def __init__(self, cell: Cell) -> None:  # pykka's own would copy and so hold fast the instance
        self._cell = cell

    def __eq__(self, other: object) -> bool:
        return isinstance(other, ActorRef) and other._cell is self._cell

    def __hash__(self) -> int:
        return hash(id(self._cell))

    def __str__(self) -> str:
        return f"{self.actor_class.__name__} ({self.path})"

    @property
    def path(self) -> str:
        """The actor's place in the tree, such as ``/hub/targets/17``."""
        return self._cell.path

    @property
    def actor_class(self) -> type[A]:  # type: ignore[override]  # read from the cell, not stored
        return cast("type[A]", self._cell.props.actor_class)

    @property
    def actor_urn(self) -> str:  # type: ignore[override]  # made when first asked for
        return self._cell.urn

    @property
    def actor_inbox(self) -> Cell:  # type: ignore[override]  # the cell is the inbox
        return self._cell

    @property
    def actor_stopped(self) -> StoppedFlag:  # type: ignore[override]  # an Event per actor is 2 us
        return StoppedFlag(self._cell)

    @property
    def _actor_weakref(self) -> Callable[[], A | None]:  # type: ignore[override]  # for proxies
        cell = self._cell
        return lambda: cast("A | None", cell.actor)

    def is_alive(self) -> bool:
        """False once the actor has ended for good; true while it backs off."""
        return not self._cell.is_closed

    def is_running(self) -> bool:
        """True while an instance handles messages: not before its start is through, nor in back-off."""
        return self._cell.state is ActorState.RUNNING

    def tell(self, message: Any) -> None:
        """Put a message into the mailbox; never blocks.

        From another thread the message is on its way when this returns: what goes wrong with it
        afterwards (a full mailbox) is a dead letter instead of an exception.

        Raises:
            ActorDeadError: the actor has ended for good.
            MailboxFull: no room, and the actor's policy is `Overflow.FAIL`.
        """
        self._cell.put(message)

    def ask(  # does not block by default: on a loop nobody may
        self,
        message: Any,
        *,
        block: bool = False,
        timeout: float | None = None,
        timeout_s: float | None = None,
    ) -> Any:
        """Send a message and get an `ActorFuture` for the answer; `await` it, with a `timeout_s`.

        With `timeout_s` the future fails with `pykka.Timeout` when there is no answer in time (the
        handler is not stopped by that). `block=True` waits for the answer and returns it; it
        needs another thread than the loop's, as `get()` does, and raises `WouldDeadlock` there.
        A stopped actor or a full mailbox is reported through the future.
        """
        if block and asyncio._get_running_loop() is not None:
            raise WouldDeadlock("ask(block=True) would block the loop that must answer: await it")
        reply: ActorFuture[Any] = ActorFuture()
        try:
            self._cell.put(Envelope(message, reply))
        except ActorDeadError as error:
            reply.set_error(error)
        if timeout_s is not None:
            self._limit(reply, timeout_s)
        return reply.get(timeout=timeout) if block else reply

    async def offer(self, message: Any) -> None:
        """`tell` that waits until the mailbox has room, first come first served.

        For the edge, where a socket can wait. Two actors that offer to each other stand still.

        Raises:
            ActorDeadError: the actor has ended for good, perhaps while this waited.
        """
        cell = self._cell
        if get_ident() != cell.props.dispatcher.thread_id:
            raise RuntimeError("offer() belongs to the loop thread; other threads tell()")
        await cell.wait_for_room()
        cell.put(message)

    def stop(  # see `ask`
        self, *, block: bool = False, timeout: float | None = None
    ) -> Any:
        """Ask the actor to stop when it has handled what it has; an awaitable future of a bool.

        The future is True if this stopped it, False if it was dead already. A *permanent* child
        comes back after its back-off: to be rid of it, use `ActorSystem.stop_child`.
        """
        if block and asyncio._get_running_loop() is not None:
            raise WouldDeadlock("stop(block=True) would block the loop that must stop it: await it")
        asked: ActorFuture[Any] = self.ask(_ActorStop(), block=False)
        stopped = asked.outcome(ActorDeadError)
        return stopped.get(timeout=timeout) if block else stopped

    def kill(self) -> None:
        """Crash the actor now, in the middle of an `await` if need be, ahead of its mailbox.

        Its supervisor answers as to any crash. A told message it was busy with comes back if the
        class asks for redelivery (a kill is no strike against it), else it is a dead letter.
        """
        dispatcher = self._cell.props.dispatcher
        if get_ident() != dispatcher.thread_id:
            dispatcher.call_from_outside(self.kill)
            return
        if not self._cell.is_closed:
            self._cell.post(Operation(lifecycle.be_killed), first=True)
            self._cell.interrupt()

    def _limit(self, reply: ActorFuture[Any], timeout_s: float) -> None:
        props = self._cell.props

        def give_up() -> None:
            reply.set_error(pykka.Timeout(f"{self.path} did not answer within {timeout_s} seconds"))

        def arm() -> None:
            handle = props.clock.call_later(timeout_s, give_up)
            if not reply.add_waiter(lambda: self._on_loop(handle.cancel)):
                handle.cancel()

        self._on_loop(arm)

    def _on_loop(self, callback: Callable[[], object]) -> None:
        dispatcher = self._cell.props.dispatcher
        if get_ident() == dispatcher.thread_id:
            callback()
        else:
            dispatcher.call_from_outside(callback)
