import asyncio
import queue
import threading
from collections.abc import Iterator

import pykka
import pytest

from actors.runtime import ActorFuture, WouldDeadlock


async def test_awaiting_suspends_only_the_task_that_awaits() -> None:
    future: ActorFuture[int] = ActorFuture()
    ticks = 0

    async def tick() -> None:
        nonlocal ticks
        for _ in range(5):
            await asyncio.sleep(0)
            ticks += 1
        future.set(3)

    ticking = asyncio.create_task(tick())
    assert await future == 3
    assert ticks == 5
    await ticking


async def test_blocking_get_on_a_running_loop_raises_at_once() -> None:
    future: ActorFuture[int] = ActorFuture()
    with pytest.raises(WouldDeadlock):
        future.get()
    future.set(1)
    assert future.get() == 1


def test_get_blocks_another_thread_until_the_value_is_set() -> None:
    future: ActorFuture[str] = ActorFuture()
    timer = threading.Timer(0.01, future.set, ("late",))
    timer.start()
    assert future.get(timeout=5) == "late"
    timer.join()


def test_get_gives_up_after_its_timeout() -> None:
    with pytest.raises(pykka.Timeout):
        ActorFuture[None]().get(timeout=0.001)


def test_a_result_can_be_set_once_only() -> None:
    future: ActorFuture[int] = ActorFuture()
    future.set(1)
    with pytest.raises(queue.Full):
        future.set(2)
    with pytest.raises(queue.Full):
        future.set_exception((ValueError, ValueError(), None))
    with pytest.raises(queue.Full):
        future.set_get_hook(lambda timeout: 3)
    future.answer(4)
    assert future.get() == 1


def test_set_exception_without_arguments_takes_the_current_one() -> None:
    future: ActorFuture[int] = ActorFuture()
    try:
        raise KeyError("gone")
    except KeyError:
        future.set_exception()
    with pytest.raises(KeyError, match="gone"):
        future.get()


async def test_a_result_set_by_another_thread_wakes_the_awaiting_task() -> None:
    future: ActorFuture[str] = ActorFuture()
    thread = threading.Timer(0.01, future.set, ("from outside",))
    thread.start()
    assert await future == "from outside"
    thread.join()


async def test_derived_futures_can_be_awaited() -> None:
    one: ActorFuture[list[int]] = ActorFuture()
    two: ActorFuture[list[int]] = ActorFuture()
    joined = one.join(two)
    evens = one.filter(lambda number: number % 2 == 0)
    total = one.reduce(lambda left, right: left + right)
    length = one.map(len)
    one.set([1, 2, 3, 4])
    two.set([])
    assert await joined == [[1, 2, 3, 4], []]
    assert await evens == [2, 4]
    assert await total == 10
    assert await length == 4


def test_derived_futures_can_be_got_by_threads_and_run_their_function_once() -> None:
    calls: list[int] = []
    future: ActorFuture[int] = ActorFuture()

    def note(number: int) -> int:
        calls.append(number)
        return number + 1

    mapped = future.map(note)
    future.set(1)
    assert mapped.get() == mapped.get() == 2
    assert calls == [1]


async def test_awaiting_a_foreign_get_hook_raises_instead_of_blocking() -> None:
    future: ActorFuture[int] = ActorFuture()
    future.set_get_hook(lambda timeout: 5)
    with pytest.raises(WouldDeadlock):
        await future
    assert future.get() == 5


async def test_an_exception_reaches_every_waiter() -> None:
    future: ActorFuture[int] = ActorFuture()

    async def wait() -> int:
        return await future

    waiting = [asyncio.create_task(wait()) for _ in range(3)]
    await asyncio.sleep(0)
    future.set_error(OSError("no"))
    results = await asyncio.gather(*waiting, return_exceptions=True)
    assert [type(result) for result in results] == [OSError] * 3


async def test_a_waiter_that_was_cancelled_does_no_harm() -> None:
    future: ActorFuture[int] = ActorFuture()

    async def wait() -> int:
        return await future

    waiting = asyncio.create_task(wait())
    await asyncio.sleep(0)
    waiting.cancel()
    await asyncio.gather(waiting, return_exceptions=True)
    future.set(1)
    assert await future == 1


def test_it_is_a_pykka_future_and_works_with_get_all() -> None:
    def made() -> Iterator[ActorFuture[int]]:
        for number in range(3):
            future: ActorFuture[int] = ActorFuture()
            future.set(number)
            yield future

    futures = list(made())
    assert all(isinstance(future, pykka.Future) for future in futures)
    assert pykka.get_all(futures) == [0, 1, 2]
