"""Time as the runtime sees it, so that tests can turn it by hand.

`SystemClock` is the loop's time. `VirtualClock` stands still until a test moves it: `advance` fires
what falls due, in order, and lets the actors work off what that caused before it goes on.
Everything runs on the loop thread.
"""

from __future__ import annotations

import asyncio
import heapq
import itertools
import time
from abc import ABC, abstractmethod
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Protocol

__all__ = ["Clock", "SystemClock", "TimerHandle", "VirtualClock"]

# Loop turns without work after which a virtual clock believes that everything has settled: a wake-up
# travels through at most a few callbacks (future, task, runner).
_QUIET_TURNS = 6
_DEFAULT_START = datetime(2030, 1, 1, tzinfo=UTC)


class TimerHandle(Protocol):
    """A pending call. Cancelling one that has run, or was cancelled, does nothing."""

    def cancel(self) -> None: ...


class Clock(ABC):
    """Where actors get the time and their timers. Loop thread only."""

    @abstractmethod
    def monotonic(self) -> float:
        """Seconds since some fixed moment; never goes back."""

    @abstractmethod
    def now(self) -> datetime:
        """The wall clock, aware, in UTC."""

    @abstractmethod
    def call_later(self, delay_s: float, callback: Callable[[], object]) -> TimerHandle:
        """Call `callback` on the loop after `delay_s` seconds (at once if not positive)."""

    async def sleep(self, delay_s: float) -> None:
        """Wait; cancelling the waiting task cancels the timer."""
        woken: asyncio.Future[None] = asyncio.get_running_loop().create_future()

        def wake() -> None:
            if not woken.done():
                woken.set_result(None)

        handle = self.call_later(delay_s, wake)
        try:
            await woken
        finally:
            handle.cancel()


class SystemClock(Clock):
    """The running loop's timers and the machine's clocks."""

    # The function itself, not a method around it: the dispatcher reads it once per message.
    monotonic = staticmethod(time.monotonic)

    def now(self) -> datetime:
        return datetime.now(UTC)

    def call_later(self, delay_s: float, callback: Callable[[], object]) -> TimerHandle:
        return asyncio.get_running_loop().call_later(max(delay_s, 0.0), callback)


class _VirtualHandle:
    __slots__ = ("callback",)

    def __init__(self, callback: Callable[[], object]) -> None:
        self.callback: Callable[[], object] | None = callback

    def cancel(self) -> None:
        self.callback = None


class VirtualClock(Clock):
    """A clock for tests.

    `await advance(seconds)` is the usual way; `shift(seconds)` moves the time without firing
    anything, which is how a handler in a test pretends to have taken long.
    """

    def __init__(self, start_at: datetime = _DEFAULT_START) -> None:
        self._start_at = start_at
        self._elapsed_s = 0.0
        self._due: list[tuple[float, int, _VirtualHandle]] = []
        self._order = itertools.count()
        self._probes: list[Callable[[], int | None]] = []

    def monotonic(self) -> float:
        return self._elapsed_s

    def now(self) -> datetime:
        return self._start_at + timedelta(seconds=self._elapsed_s)

    def call_later(self, delay_s: float, callback: Callable[[], object]) -> TimerHandle:
        handle = _VirtualHandle(callback)
        due_s = self._elapsed_s + max(delay_s, 0.0)
        heapq.heappush(self._due, (due_s, next(self._order), handle))
        return handle

    def watch_activity(self, probe: Callable[[], int | None]) -> None:
        """Have `settle` wait while `probe()` is None or changes, as an ActorSystem does."""
        self._probes.append(probe)

    def shift(self, seconds: float) -> None:
        """Let time pass without firing timers; they fire at the next `advance`."""
        self._elapsed_s += seconds

    async def settle(self) -> None:
        """Let the loop run until no actor has anything to do at this moment."""
        quiet = 0
        before: list[int | None] = []
        while quiet < _QUIET_TURNS:
            await asyncio.sleep(0)
            now = [probe() for probe in self._probes]
            quiet = quiet + 1 if now == before and None not in now else 0
            before = now

    async def advance(self, seconds: float) -> None:
        """Let `seconds` pass: fire each timer at its moment and let its effects settle."""
        target_s = self._elapsed_s + seconds
        await self.settle()
        while self._due and self._due[0][0] <= target_s:
            due_s, _, handle = heapq.heappop(self._due)
            if handle.callback is None:
                continue
            self._elapsed_s = max(self._elapsed_s, due_s)
            handle.callback()
            await self.settle()
        self._elapsed_s = max(self._elapsed_s, target_s)
