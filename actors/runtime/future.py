"""A pykka future that belongs on an event loop.

Rules:
1. `await` suspends the awaiting task only. (pykka's own `await` blocks the whole loop.)
2. `get()` blocks, so it is for other threads. Under a running loop it raises `WouldDeadlock`
   unless the result is there already.
3. The result is set once; setting it again raises, as in pykka.
4. What `map`, `filter`, `reduce`, `join` and `ActorRef.stop` derive can be awaited as well. A future
   whose get hook somebody else installed cannot: awaiting it raises `WouldDeadlock`.
"""

from __future__ import annotations

import asyncio
import functools
import queue
import sys
import threading
from collections.abc import Callable, Coroutine, Generator
from types import TracebackType
from typing import Any, TypeVar, cast

import pykka

from actors.runtime.failures import WouldDeadlock

__all__ = ["ActorFuture"]

T = TypeVar("T")
U = TypeVar("U")

ExcInfo = tuple[type[BaseException] | None, BaseException | None, TracebackType | None]

# Guards only the step from "waiting" to "done", a few instructions; one for all saves memory per ask.
_SETTLING = threading.Lock()


class ActorFuture(pykka.Future[T]):
    """The answer to an `ask`. Set by any thread, awaited on any loop, got from any other thread."""

    # Most asks are answered without needing more than one or two of these: an instance holds only
    # what differs.
    _is_done = False
    _value: T | None = None
    _error: BaseException | None = None
    _waiters: tuple[Callable[[], object], ...] = ()
    _get_hook: Callable[[float | None], T] | None = None
    _await_hook: Callable[[], Coroutine[Any, Any, T]] | None = None
    _was_got = False

    def __init__(self) -> None:
        """Pending. (pykka's own would set what stands above.)"""

    def __repr__(self) -> str:
        return f"<ActorFuture {'done' if self._is_done else 'pending'}>"

    @property
    def is_done(self) -> bool:
        """Whether a result was set. False for derived futures until somebody asks for them."""
        return self._is_done

    def set(self, value: T | None = None) -> None:
        self._settle(value, None)

    def set_exception(self, exc_info: ExcInfo | None = None) -> None:
        kind, error, traceback = exc_info if exc_info is not None else sys.exc_info()
        if error is None:
            error = kind() if kind is not None else RuntimeError("set_exception() without one")
        if traceback is not None and error.__traceback__ is not traceback:
            error = error.with_traceback(traceback)
        self._settle(None, error)

    def set_error(self, error: BaseException) -> None:
        """Settle with an exception at hand; does nothing if the asker has given up already."""
        if not self._is_done:
            self._settle(None, error)

    def answer(self, value: T) -> None:
        """Settle with a value; does nothing if the asker has given up already."""
        if not self._is_done:
            self._settle(value, None)

    def set_get_hook(self, func: Callable[[float | None], T]) -> None:
        with _SETTLING:
            if self._is_done:
                raise queue.Full
            self._get_hook = func

    def add_waiter(self, wake: Callable[[], object]) -> bool:
        """Have `wake()` called once when settled, on the settling thread; False if it already is."""
        with _SETTLING:
            if self._is_done:
                return False
            self._waiters = (*self._waiters, wake)
            return True

    def get(self, *, timeout: float | None = None) -> T:
        if self._get_hook is not None:
            if not self._was_got:
                self._value = self._get_hook(timeout)
                self._was_got = True
            return cast("T", self._value)
        if not self._is_done:
            self._block(timeout)
        return self._result()

    def __await__(self) -> Generator[Any, None, T]:
        if self._await_hook is not None:
            return (yield from self._await_hook().__await__())
        if self._get_hook is not None:
            raise WouldDeadlock("this future has only a blocking get hook: get() it in a thread")
        if not self._is_done:
            settled = self._settled_on_this_loop()
            if settled is not None:
                yield from settled
        return self._result()

    __iter__ = __await__

    def map(self, func: Callable[[T], U]) -> ActorFuture[U]:
        async def mapped() -> U:
            return func(await self)

        return self._derive(lambda timeout: func(self.get(timeout=timeout)), mapped)

    def filter(self: pykka.Future[Any], func: Callable[[Any], bool]) -> pykka.Future[Any]:
        return self.map(lambda items: [item for item in items if func(item)])

    def reduce(self: pykka.Future[Any], func: Callable[[Any, Any], Any], *args: Any) -> Any:
        return self.map(lambda items: functools.reduce(func, items, *args))

    def join(self: pykka.Future[Any], *futures: pykka.Future[Any]) -> Any:
        joined = (self, *futures)

        async def all_of_them() -> list[Any]:
            return [await future for future in joined]

        first = cast("ActorFuture[Any]", self)
        return first._derive(
            lambda timeout: [future.get(timeout=timeout) for future in joined], all_of_them
        )

    def outcome(self, negative: type[BaseException]) -> ActorFuture[bool]:
        """A future that is True when this one succeeds and False when it fails with `negative`."""

        def got(timeout: float | None) -> bool:
            try:
                self.get(timeout=timeout)
            except negative:
                return False
            return True

        async def awaited() -> bool:
            try:
                await self
            except negative:
                return False
            return True

        return self._derive(got, awaited)

    def _derive(
        self,
        get_hook: Callable[[float | None], U],
        await_hook: Callable[[], Coroutine[Any, Any, U]],
    ) -> ActorFuture[U]:
        derived: ActorFuture[U] = ActorFuture()
        derived.set_get_hook(get_hook)
        derived._await_hook = await_hook
        return derived

    def _settle(self, value: T | None, error: BaseException | None) -> None:
        with _SETTLING:
            if self._is_done or self._get_hook is not None:
                raise queue.Full
            self._value, self._error, self._is_done = value, error, True
            waiters = self._waiters
        if waiters:
            self._waiters = ()
            for wake in waiters:
                wake()

    def _block(self, timeout: float | None) -> None:
        if asyncio._get_running_loop() is not None:
            raise WouldDeadlock("get() would block the loop that must set the result: await it")
        settled = threading.Event()
        if self.add_waiter(settled.set) and not settled.wait(timeout):
            raise pykka.Timeout(f"{timeout} seconds")

    def _settled_on_this_loop(self) -> asyncio.Future[None] | None:
        """A loop's future that is set when this is; None if it is already."""
        loop = asyncio.get_running_loop()
        thread_id = threading.get_ident()
        settled: asyncio.Future[None] = loop.create_future()

        def release() -> None:
            if not settled.done():
                settled.set_result(None)

        def wake() -> None:
            if threading.get_ident() == thread_id:
                release()
            elif not loop.is_closed():
                loop.call_soon_threadsafe(release)

        return settled if self.add_waiter(wake) else None

    def _result(self) -> T:
        if self._error is not None:
            raise self._error
        return cast("T", self._value)
