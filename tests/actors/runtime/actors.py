"""Actors the runtime's tests use."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from actors.runtime import Actor, ActorRef, Backoff, ChildSpec, Restart, Supervisor
from protocols.errors import ConnectionLost

QUICK = Backoff(initial_s=1.0, max_s=8.0, jitter=0.0, reset_after_s=60.0)


@dataclass
class Diary:
    """What actors did, written by their instances and read by the test."""

    entries: list[Any] = field(default_factory=list)

    def __call__(self, *entry: Any) -> None:
        self.entries.append(entry[0] if len(entry) == 1 else entry)

    def of(self, kind: str) -> list[Any]:
        return [entry[1:] for entry in self.entries if entry[0] == kind]


class Boom(Exception):
    """What a `crash` raises."""


class Worker(Actor):
    """Writes down its life; does what it is told."""

    def __init__(self, name: str, diary: Diary) -> None:
        super().__init__()
        self.name = name
        self.diary = diary
        self.got: list[Any] = []

    def on_start(self) -> None:
        self.diary("start", self.name)

    def on_stop(self) -> None:
        self.diary("stop", self.name)

    def on_restart(self, error: Exception | None) -> None:
        self.diary("restart", self.name, type(error).__name__)

    def on_receive(self, message: Any) -> Any:
        match message:
            case "crash":
                raise Boom(self.name)
            case "lose connection":
                raise ConnectionLost("the broker is away")
            case "got":
                return list(self.got)
        self.got.append(message)
        self.diary("message", self.name, message)
        return message


class AsyncWorker(Worker):
    """The same, suspending in between; waits for an event if told one."""

    async def on_receive(self, message: Any) -> Any:
        if isinstance(message, asyncio.Event):
            await message.wait()
            return None
        await asyncio.sleep(0)
        return super().on_receive(message)


class Stubborn(Actor):
    """Ignores being cancelled until it is let go."""

    def __init__(self, release: asyncio.Event) -> None:
        super().__init__()
        self.release = release

    async def on_receive(self, message: Any) -> None:
        while not self.release.is_set():
            try:
                await self.release.wait()
            except asyncio.CancelledError:
                continue


class Watcher(Actor):
    """Watches, and keeps the notices."""

    def __init__(self, *refs: ActorRef[Any]) -> None:
        super().__init__()
        self.refs = refs
        self.notices: list[Any] = []

    def on_start(self) -> None:
        for ref in self.refs:
            self.watch(ref)

    def on_receive(self, message: Any) -> Any:
        if message == "notices":
            return list(self.notices)
        if isinstance(message, ActorRef):
            self.watch(message)
            return None
        self.notices.append(message)
        return None


class Calling(Actor):
    """Does whatever function it is told."""

    async def on_receive(self, message: Callable[["Calling"], Any]) -> Any:
        result = message(self)
        return await result if asyncio.iscoroutine(result) else result


def worker(
    name: str,
    diary: Diary,
    *,
    actor_class: type[Actor] = Worker,
    restart: Restart = Restart.PERMANENT,
) -> ChildSpec:
    return ChildSpec(name, actor_class, (name, diary), restart=restart, backoff=QUICK)


def supervisor(name: str, *specs: ChildSpec, **options: Any) -> ChildSpec:
    return ChildSpec(name, Supervisor, (specs,), options, backoff=QUICK)


def starts(diary: Diary) -> list[str]:
    """The names of those that started, in order."""
    return [name for (name,) in diary.of("start")]
