"""Virtual actors the runtime's tests use."""

import asyncio
from typing import Any

from actors.runtime import (
    Actor,
    ActorSystem,
    Directory,
)
from tests.actors.runtime.actors import QUICK, Boom, Diary


class Device(Actor):
    """Keeps what it got; the diary outlives it."""

    redeliver_once = True

    def __init__(self, key: int, diary: Diary) -> None:
        super().__init__()
        self.key = key
        self.diary = diary
        self.is_busy = False
        diary("made", key)

    def can_passivate(self) -> bool:
        return not self.is_busy

    def on_receive(self, message: Any) -> Any:
        if message == "crash":
            raise Boom(str(self.key))
        if message in ("busy", "done"):
            self.is_busy = message == "busy"
        self.diary("message", self.key, message)
        return self.key, message


class SavingDevice(Device):
    """Saves with its own sweet time."""

    gate: asyncio.Event

    async def on_stop(self) -> None:
        self.diary("saving", self.key)
        await self.gate.wait()
        self.diary("saved", self.key)


def made(diary: Diary) -> list[int]:
    return [key for (key,) in diary.of("made")]


def devices(system: ActorSystem, diary: Diary, **options: Any) -> Directory[Any]:
    options.setdefault("backoff", QUICK)
    return system.directory("devices", lambda key: Device(key, diary), **options)
