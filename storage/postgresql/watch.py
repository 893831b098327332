"""Noticing a server that neither answers nor hangs up.

A frozen machine still acknowledges packets, so no timeout of the network ends the wait, and those of the
server are frozen with it. The driver's blocking call has no timeout of its own: the watch cuts
the connection from a thread beside it, and the call returns as for any lost connection.
"""

import threading
import time
from collections.abc import Callable
from types import TracebackType
from typing import Final

import structlog

from storage import events
from storage.postgresql.address import STATEMENT_TIMEOUT_S

_EVERY_S: Final = 1.0
# The server's own timeout comes first, where it still runs.
SILENCE_LIMIT_S: Final = STATEMENT_TIMEOUT_S + 5.0

_log = structlog.get_logger(__name__)


class Waiting:
    """Since when a thread has been waiting for an answer; entered by it, read by others."""

    def __init__(self) -> None:
        self._since: list[float] = []

    def __enter__(self) -> None:
        self._since.append(time.monotonic())

    def __exit__(
        self,
        _type: type[BaseException] | None,
        _error: BaseException | None,
        _trace: TracebackType | None,
    ) -> None:
        self._since.pop()

    @property
    def seconds(self) -> float:
        """How long the answer to what was asked last has been waited for."""
        since = self._since[-1:]
        return time.monotonic() - since[0] if since else 0.0


class Watch:
    """One thread; `interrupt` is called when `waiting` has gone on for longer than the limit."""

    def __init__(
        self, waiting: Waiting, interrupt: Callable[[], None], *, limit_s: float = SILENCE_LIMIT_S
    ) -> None:
        self._waiting = waiting
        self._interrupt = interrupt
        self._limit_s = limit_s
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._work, name="postgresql-watch", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        self._stopping.set()
        self._thread.join()

    def _work(self) -> None:
        while not self._stopping.wait(min(_EVERY_S, self._limit_s)):
            if self._waiting.seconds > self._limit_s:
                _log.warning(events.DATABASE_SESSION_CUT, duration_s=self._waiting.seconds)
                self._interrupt()
