"""A message an actor sends to itself later."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from actors.runtime.messages import TimerFired

if TYPE_CHECKING:
    from actors.runtime.cell import Cell
    from actors.runtime.clock import TimerHandle

__all__ = ["Timer"]


class Timer:
    """Made by `Actor.schedule`. It ends with the instance that made it: never fires into its successor.

    The message goes through the mailbox, behind what waits there, but is exempt from its capacity:
    an actor that waits for its own retry must not lose it to a flood.
    """

    __slots__ = ("_cell", "_handle", "message")

    def __init__(self, cell: Cell, delay_s: float, message: Any) -> None:
        self.message = message
        self._cell: Cell | None = cell
        self._handle: TimerHandle = cell.props.clock.call_later(delay_s, self._fire)

    @property
    def is_pending(self) -> bool:
        """True until its message is handled or the timer is cancelled."""
        return self._cell is not None

    def cancel(self) -> None:
        """Call it off, even if the message already waits in the mailbox. Repeating it is harmless."""
        cell, self._cell = self._cell, None
        if cell is not None:
            self._handle.cancel()
            cell.extras.timers.discard(self)

    def take(self) -> bool:
        """The message is about to be handled; False if the timer was cancelled after it fired."""
        cell, self._cell = self._cell, None
        if cell is not None:
            cell.extras.timers.discard(self)
        return cell is not None

    def _fire(self) -> None:
        if self._cell is not None:
            self._cell.put_exempt(TimerFired(self))
