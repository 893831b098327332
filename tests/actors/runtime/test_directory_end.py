import asyncio

import pytest
from pykka import ActorDeadError

from actors.runtime import (
    ActorSystem,
    VirtualClock,
)
from tests.actors.runtime.actors import Diary
from tests.actors.runtime.devices import Device, SavingDevice, devices


async def test_passivate_all_drains_everyone_and_then_refuses(
    system: ActorSystem, clock: VirtualClock
) -> None:
    diary = Diary()
    directory = devices(system, diary)
    for key in range(2_000):
        directory.tell(key, "x")
    assert await directory.passivate_all(5.0) == 0
    assert len(diary.of("message")) == 2_000
    assert directory.active == 0
    with pytest.raises(ActorDeadError):
        directory.tell(1, "too late")


async def test_passivate_all_forces_those_that_stay_busy(
    system: ActorSystem, clock: VirtualClock
) -> None:
    directory = devices(system, Diary())
    directory.tell(1, "busy")
    directory.tell(2, "x")
    await clock.settle()
    assert await directory.passivate_all(0.02) == 1
    assert directory.active == 0


async def test_a_short_shutdown_still_ends_everyone_properly(clock: VirtualClock) -> None:
    system = ActorSystem(clock=clock)
    await system.start()
    diary = Diary()

    class Ending(Device):
        def on_stop(self) -> None:
            self.diary("ended", self.key)

    directory = system.directory("devices", lambda key: Ending(key, diary))
    directory.tell(1, "busy")
    directory.tell(2, "x")
    await clock.settle()
    report = await system.stop(0.1)
    assert sorted(diary.of("ended")) == [(1,), (2,)]
    assert report.interrupted == report.abandoned == ()


async def test_stopping_the_system_puts_everyone_away(clock: VirtualClock) -> None:
    system = ActorSystem(clock=clock)
    await system.start()
    diary = Diary()
    SavingDevice.gate = asyncio.Event()
    SavingDevice.gate.set()
    directory = system.directory("devices", lambda key: SavingDevice(key, diary))
    for key in range(50):
        directory.tell(key, "x")
    report = await system.stop(5.0)
    assert report.is_clean
    assert len(diary.of("saved")) == 50
