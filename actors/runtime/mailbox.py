"""How a full mailbox answers, and who waits for room.

The messages themselves lie in a plain deque that the cell owns (and has only while there are any);
this module holds what is rare: the overflow policies and the queue of senders in `offer`.
"""

from __future__ import annotations

import asyncio
from collections import deque
from enum import StrEnum
from typing import TYPE_CHECKING, Any

from pykka.messages import _ActorStop

from actors.runtime.events import DropReason
from actors.runtime.failures import MailboxFull
from actors.runtime.messages import Envelope

if TYPE_CHECKING:
    from actors.runtime.cell import Cell

__all__ = ["Overflow", "RoomQueue", "overflow"]


class Overflow(StrEnum):
    """What a bounded mailbox does with the message that does not fit."""

    FAIL = "fail"  # `tell` raises MailboxFull; the sender still owns the message
    DROP_OLDEST = "drop_oldest"  # the head makes room and becomes a dead letter
    DROP_NEWEST = "drop_newest"  # the new message becomes a dead letter; `tell` returns


def overflow(cell: Cell, queue: deque[Any], item: Any) -> None:
    """Deal with `item`, for which `queue` has no room. A request to stop always gets in."""
    if _is_stop(item):
        queue.append(item)
        return
    match cell.props.overflow:
        case Overflow.DROP_OLDEST:
            oldest = queue.popleft()
            if _is_stop(oldest):
                # It was the head: what is behind it will never be handled, so push out that.
                queue.appendleft(oldest)
                cell.drop(item, DropReason.DROP_NEWEST)
                return
            queue.append(item)
            cell.drop(oldest, DropReason.DROP_OLDEST)
        case Overflow.DROP_NEWEST:
            cell.drop(item, DropReason.DROP_NEWEST)
        case _:
            cell.props.statistics.refused += 1
            error = MailboxFull(f"{cell.path} has {len(queue)} messages waiting and takes no more")
            if type(item) is not Envelope:
                raise error
            item.reply.set_error(error)


def _is_stop(item: Any) -> bool:
    return type(item) is _ActorStop or (type(item) is Envelope and type(item.message) is _ActorStop)


class RoomQueue:
    """Senders waiting in `offer`, first come first served."""

    __slots__ = ("_promised", "_waiting")

    def __init__(self) -> None:
        self._waiting: deque[asyncio.Future[None]] = deque()
        self._promised = 0  # let through, but not yet running again

    def __bool__(self) -> bool:
        return bool(self._waiting)

    async def wait(self) -> None:
        """Return when `wake` has let this sender through."""
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append(turn)
        try:
            await turn
        except asyncio.CancelledError:
            if turn.done() and not turn.cancelled():
                self._promised -= 1
                self.wake(self._promised + 1)  # gave up at that moment: pass it on
            raise
        self._promised -= 1

    def wake(self, room: int) -> None:
        """Let senders through until `room` of them are on their way."""
        while self._promised < room and self._waiting:
            turn = self._waiting.popleft()
            if not turn.done():
                turn.set_result(None)
                self._promised += 1

    def wake_all(self) -> None:
        """There will be no room any more: let everyone find out."""
        self.wake(self._promised + len(self._waiting))
