"""pykka's view of "the actor has stopped": the part of `threading.Event` it uses."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING

from actors.runtime.failures import WouldDeadlock

if TYPE_CHECKING:
    from actors.runtime.cell import Cell

__all__ = ["StoppedFlag"]

_POLL_S = 0.002


class StoppedFlag:
    """Reads the cell's state. `wait` polls: it is for tests and for leaving a program only."""

    __slots__ = ("_cell",)

    def __init__(self, cell: Cell) -> None:
        self._cell = cell

    def is_set(self) -> bool:
        return self._cell.is_closed

    def wait(self, timeout: float | None = None) -> bool:
        if not self._cell.is_closed and asyncio._get_running_loop() is not None:
            raise WouldDeadlock("waiting here would block the loop that must stop the actor")
        deadline_s = None if timeout is None else time.monotonic() + timeout
        while not self._cell.is_closed:
            if deadline_s is not None and time.monotonic() >= deadline_s:
                return False
            time.sleep(_POLL_S)
        return True
