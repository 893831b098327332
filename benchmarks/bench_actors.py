"""What the actor runtime costs, against the plain asyncio way and against pykka's threads.

Throughput is per second of CPU time of this process, so that other work on the machine disturbs it
less. Contestants take turns, and each figure is the median of its rounds. Memory is counted by
tracemalloc: what the interpreter allocates, not what the operating system rounds it up to.
"""

from __future__ import annotations

import asyncio
import gc
import logging
import statistics
import time
import tracemalloc
from collections.abc import Awaitable, Callable, Iterator
from typing import Any

import pykka
import structlog

from actors.runtime import Actor, ActorSystem, ChildSpec, Directory
from benchmarks.row import Row

_ACTORS = 10_000
_MESSAGES = 100_000
_THREADS = 200  # ThreadingActor needs one each; more of them make it slower still
_THREAD_MESSAGES = 10_000
_ROUNDS = 3
_BURST = 500  # tells between two turns of the loop


class _Counter(Actor):
    """Does as little as an actor can."""

    registered = False

    def __init__(self, _key: object = None) -> None:
        super().__init__()
        self.count = 0

    def on_receive(self, message: Any) -> None:
        self.count += 1


class _AsyncCounter(Actor):
    registered = False

    def __init__(self, _key: object) -> None:
        super().__init__()
        self.count = 0

    async def on_receive(self, message: Any) -> None:
        self.count += 1


class _Echo(Actor):
    def on_receive(self, message: Any) -> Any:
        return message


class _ThreadCounter(pykka.ThreadingActor):
    def __init__(self) -> None:
        super().__init__()
        self.count = 0

    def on_receive(self, message: Any) -> Any:
        self.count += 1
        return self.count


async def _system() -> ActorSystem:
    system = ActorSystem(name="bench")
    await system.start()
    return system


async def _settle(system: ActorSystem) -> None:
    """Let the actors work off what they have."""
    while system.dispatcher.is_busy:  # noqa: ASYNC110  # an event would have to be part of what is measured
        await asyncio.sleep(0)


async def _actor_fan_out(create: Callable[[Any], Actor], actors: int) -> float:
    """Messages per CPU-second through a directory of active actors, one message each in turn."""
    system = await _system()
    directory: Directory[Any] = system.directory("counters", create, max_active=10 * actors)
    for key in range(actors):
        directory.tell(key, 0)
    await asyncio.sleep(0.01)
    refs = [directory.find(key) for key in range(actors)]
    tells = [ref.tell for ref in refs if ref is not None]
    began_s = time.process_time()
    for number in range(_MESSAGES):
        tells[number % actors](number)
        if number % _BURST == 0:
            await asyncio.sleep(0)
    await _settle(system)
    rate = _MESSAGES / (time.process_time() - began_s)
    await system.stop(5)
    return rate


async def _queue_fan_out(actors: int) -> float:
    """The same with a task and a queue for each."""
    left = _MESSAGES
    done = asyncio.Event()

    async def consume(queue: asyncio.Queue[int]) -> None:
        nonlocal left
        while True:
            await queue.get()
            left -= 1
            if not left:
                done.set()

    queues: list[asyncio.Queue[int]] = [asyncio.Queue() for _ in range(actors)]
    tasks = [asyncio.create_task(consume(queue)) for queue in queues]
    await asyncio.sleep(0.01)
    began_s = time.process_time()
    for number in range(_MESSAGES):
        queues[number % actors].put_nowait(number)
        if number % _BURST == 0:
            await asyncio.sleep(0)
    await done.wait()
    rate = _MESSAGES / (time.process_time() - began_s)
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    return rate


def _thread_fan_out() -> float:
    """The same with pykka's threads, fewer of them."""
    refs = [_ThreadCounter.start() for _ in range(_THREADS)]
    began_s = time.process_time()
    for number in range(_THREAD_MESSAGES):
        refs[number % _THREADS].tell(number)
    for ref in refs:
        ref.ask("done")
    rate = _THREAD_MESSAGES / (time.process_time() - began_s)
    for ref in refs:
        ref.stop(block=False)
    for ref in refs:
        ref.actor_stopped.wait()
    return rate


async def _ask_s(asks: int) -> float:
    system = await _system()
    ref = system.spawn("/bench", ChildSpec("echo", _Echo))
    await ref.ask(0)
    began_s = time.process_time()
    for number in range(asks):
        await ref.ask(number)
    took_s = (time.process_time() - began_s) / asks
    await system.stop(5)
    return took_s


async def _queue_ask_s(asks: int) -> float:
    queue: asyncio.Queue[tuple[int, asyncio.Future[int]]] = asyncio.Queue()

    async def answer() -> None:
        while True:
            number, reply = await queue.get()
            reply.set_result(number)

    task = asyncio.create_task(answer())
    loop = asyncio.get_running_loop()
    began_s = time.process_time()
    for number in range(asks):
        reply: asyncio.Future[int] = loop.create_future()
        queue.put_nowait((number, reply))
        await reply
    took_s = (time.process_time() - began_s) / asks
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    return took_s


async def _actor_bytes(actors: int) -> float:
    """What an idle virtual actor holds after its first message, its place in the directory included."""
    system = await _system()
    directory: Directory[Any] = system.directory("counters", _Counter, max_active=10 * actors)
    directory.tell(-1, 0)
    await asyncio.sleep(0.01)
    gc.collect()
    tracemalloc.start()
    for key in range(actors):
        directory.tell(key, 0)
        if key % _BURST == 0:
            await asyncio.sleep(0)
    await _settle(system)
    gc.collect()
    held = tracemalloc.get_traced_memory()[0]
    tracemalloc.stop()
    await system.stop(10)
    return held / actors


async def _queue_bytes(actors: int) -> float:
    async def consume(queue: asyncio.Queue[int]) -> None:
        while True:
            await queue.get()

    gc.collect()
    tracemalloc.start()
    queues: list[asyncio.Queue[int]] = [asyncio.Queue() for _ in range(actors)]
    tasks = [asyncio.create_task(consume(queue)) for queue in queues]
    for queue in queues:
        queue.put_nowait(0)
    await asyncio.sleep(0.01)
    gc.collect()
    held = tracemalloc.get_traced_memory()[0]
    tracemalloc.stop()
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    return held / actors


async def _activation_rates(actors: int) -> tuple[float, float]:
    """Activations per CPU-second without bound, and when each one has to make room."""
    system = await _system()
    rates = []
    for name, bound in (("free", 10 * actors), ("bounded", actors // 10)):
        directory: Directory[Any] = system.directory(name, _Counter, max_active=bound)
        began_s = time.process_time()
        for key in range(actors):
            directory.tell(key, 0)
            if key % _BURST == 0:
                await asyncio.sleep(0)
        await _settle(system)
        rates.append(actors / (time.process_time() - began_s))
    await system.stop(10)
    return rates[0], rates[1]


async def _worst_lag_s(messages: int) -> float:
    """How late the loop's other work runs while one actor has a backlog."""
    system = await _system()
    ref = system.spawn("/bench", ChildSpec("counter", _Counter))
    worst_s = 0.0
    for number in range(messages):
        ref.tell(number)
    while system.dispatcher.is_busy:
        began_s = time.perf_counter()
        await asyncio.sleep(0)
        worst_s = max(worst_s, time.perf_counter() - began_s)
    await system.stop(5)
    return worst_s


def _median(measure_once: Callable[[], Awaitable[float]]) -> Callable[[], float]:
    async def settled() -> float:
        return await measure_once()

    return lambda: asyncio.run(settled())


def _interleaved(*contestants: Callable[[], float]) -> list[float]:
    """The median of each, every one having had its turn in every round."""
    rounds = []
    for _ in range(_ROUNDS):
        gc.collect()
        rounds.append([contestant() for contestant in contestants])
    return [statistics.median(column) for column in zip(*rounds, strict=True)]


def _throughput_rows() -> Iterator[Row]:
    ours, async_ours, queues = _interleaved(
        _median(lambda: _actor_fan_out(_Counter, _ACTORS)),
        _median(lambda: _actor_fan_out(_AsyncCounter, _ACTORS)),
        _median(lambda: _queue_fan_out(_ACTORS)),
    )
    one, one_queue = _interleaved(
        _median(lambda: _actor_fan_out(_Counter, 1)), _median(lambda: _queue_fan_out(1))
    )
    threads = _thread_fan_out()
    unit = "messages/CPU-s"
    plain = f"asyncio.Queue + Task, {_ACTORS:,} of them"
    yield Row(
        f"fan-out over {_ACTORS:,} actors", ours, unit, ours / queues, plain, "at least 2 times"
    )
    yield Row("the same, async handlers", async_ours, unit, async_ours / queues, plain, "")
    yield Row(
        f"fan-out over {_ACTORS:,} actors",
        ours,
        unit,
        ours / threads,
        f"ThreadingActor, {_THREADS} of them",
        "",
    )
    yield Row("one actor, sync", one, unit, one / one_queue, "asyncio.Queue + Task, one", "")


def measure() -> Iterator[Row]:
    """Yield the rows of the actor runtime; about twenty seconds."""
    logging.getLogger("pykka").setLevel(logging.CRITICAL)
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.ERROR))
    yield from _throughput_rows()
    ask_s, queue_ask_s = _interleaved(
        _median(lambda: _ask_s(5_000)), _median(lambda: _queue_ask_s(5_000))
    )
    yield Row(
        "ask, round trip", ask_s * 1e6, "us CPU", ask_s / queue_ask_s, "Queue + Future + Task", ""
    )
    held = asyncio.run(_actor_bytes(_ACTORS))
    queue_held = asyncio.run(_queue_bytes(_ACTORS))
    yield Row(
        "idle virtual actor", held, "bytes", held / queue_held, "Queue + Task", "at most 1 kB"
    )
    free, bounded = asyncio.run(_activation_rates(5 * _ACTORS))
    yield Row("activation by first message", free, "actors/CPU-s", None, "", "")
    yield Row(
        "activation when full", bounded, "actors/CPU-s", bounded / free, "activation with room", ""
    )
    lag_s = asyncio.run(_worst_lag_s(_MESSAGES))
    yield Row("loop turn under a backlog, worst", lag_s * 1e3, "ms", None, "", "")


if __name__ == "__main__":
    for row in measure():
        ratio = "" if row.ratio is None else f"{row.ratio:8.2f} x {row.reference}"
        print(f"{row.name:36s} {row.value:14,.1f} {row.unit:16s} {ratio:50s} {row.budget}")
