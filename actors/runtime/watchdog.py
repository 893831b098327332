"""Says where the loop is stuck, while it is.

A handler that blocks cannot be measured until it returns, if it ever does. This thread looks at the
dispatcher from outside, and when one turn has taken too long it logs the loop thread's stack, once.
"""

from __future__ import annotations

import sys
import threading
import traceback
from typing import TYPE_CHECKING, Final

import structlog

from actors.runtime import events

if TYPE_CHECKING:
    from actors.runtime.dispatcher import Dispatcher

__all__ = ["Watchdog"]

log = structlog.get_logger(__name__)

_LOOKS_PER_STALL: Final = 4
_MAX_FRAMES: Final = 8


class Watchdog:
    """A daemon thread that wakes a few times per `stall_s`, reads two attributes, sleeps again."""

    def __init__(self, dispatcher: Dispatcher, stall_s: float) -> None:
        self._dispatcher = dispatcher
        self._interval_s = stall_s / _LOOKS_PER_STALL
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="actor-watchdog", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        self._ended.set()
        self._thread.join()

    def _watch(self) -> None:
        seen: tuple[object, object] | None = None
        looks = 0
        while not self._ended.wait(self._interval_s):
            # Both change with every turn; the same objects again mean the same turn still.
            cell = self._dispatcher.current
            now = (cell, self._dispatcher.turn_end_s)
            is_same = seen is not None and now[0] is seen[0] and now[1] is seen[1]
            looks = looks + 1 if is_same and cell is not None else 0
            seen = now
            if cell is not None and looks == _LOOKS_PER_STALL:
                log.error(events.LOOP_STALL, actor=cell.path, stack=self._stack())

    def _stack(self) -> list[str]:
        """The loop thread's innermost frames, the latest last."""
        frame = sys._current_frames().get(self._dispatcher.thread_id)
        if frame is None:
            return []
        frames = traceback.extract_stack(frame)[-_MAX_FRAMES:]
        return [f"{each.filename}:{each.lineno} {each.name}" for each in frames]
