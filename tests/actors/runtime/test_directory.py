import asyncio
import gc
from typing import Any

import pytest

from actors.runtime import (
    Actor,
    ActorSystem,
    Directory,
    MailboxFull,
    VirtualClock,
)
from tests.actors.runtime.actors import Boom, Diary
from tests.actors.runtime.devices import Device, SavingDevice, devices, made


async def test_the_first_message_makes_the_actor_and_only_one(system: ActorSystem) -> None:
    diary = Diary()
    directory = devices(system, diary)
    ref = directory.ref(17)
    assert ref.path == "/hub/devices/17"
    assert made(diary) == []
    for number in range(5):
        ref.tell(number)
    assert await ref.ask("last") == (17, "last")
    assert made(diary) == [17]
    assert [message for _, message in diary.of("message")] == [0, 1, 2, 3, 4, "last"]
    assert directory.active == directory.activations == 1


async def test_an_actor_class_will_do_for_create(system: ActorSystem) -> None:
    class Keyed(Actor):
        mailbox_capacity = 2

        def __init__(self, key: str) -> None:
            super().__init__()
            self.key = key

        def on_receive(self, message: Any) -> str:
            return f"{self.path} {message}"

    directory = system.directory("keyed", Keyed)
    assert await directory.ask("a", 1) == "/hub/keyed/a 1"
    directory.tell("a", 1)
    directory.tell("a", 2)
    with pytest.raises(MailboxFull):
        directory.tell("a", 3)


async def test_the_settings_of_a_class_behind_a_factory_are_taken_over(
    system: ActorSystem,
) -> None:
    class Small(Device):
        mailbox_capacity = 1

    directory = system.directory("small", lambda key: Small(key, Diary()))
    directory.tell(1, "one")
    with pytest.raises(MailboxFull):
        directory.tell(1, "two")


async def test_an_idle_actor_is_put_away_and_comes_back_with_the_next_message(
    system: ActorSystem, clock: VirtualClock
) -> None:
    diary = Diary()
    directory = devices(system, diary, idle_after_s=60.0)
    directory.tell(1, "a")
    directory.tell(2, "a")
    await clock.advance(50.0)
    directory.tell(2, "b")
    await clock.advance(30.0)
    assert directory.find(1) is None
    assert directory.find(2) is not None
    directory.tell(1, "c")
    await clock.settle()
    assert made(diary) == [1, 2, 1]
    assert directory.evictions == 1


async def test_the_least_recently_used_makes_room(system: ActorSystem, clock: VirtualClock) -> None:
    directory = devices(system, Diary(), max_active=3)
    for key in (1, 2, 3, 1, 2, 4):
        directory.tell(key, "x")
        await clock.advance(1.0)
    assert [key for key in range(5) if directory.find(key) is not None] == [1, 2, 4]
    assert directory.active == 3


async def test_the_bound_on_bytes_makes_room_too(system: ActorSystem, clock: VirtualClock) -> None:
    directory = devices(
        system, Diary(), max_bytes_estimate=10_000, size_of=lambda actor: 1_000, max_active=1_000
    )
    for key in range(100):
        directory.tell(key, "x")
        await clock.settle()
    assert directory.active == 10
    assert directory.bytes_estimate == 10_000


async def test_busy_actors_are_never_put_away_so_that_the_bound_is_soft(
    system: ActorSystem, clock: VirtualClock
) -> None:
    directory = devices(system, Diary(), max_active=2, idle_after_s=10.0)
    for key in range(4):
        directory.tell(key, "busy")
        await clock.settle()
    await clock.advance(100.0)
    assert directory.active == 4
    for key in range(4):
        directory.tell(key, "done")
    await clock.advance(100.0)
    assert directory.active == 0


async def test_can_passivate_that_raises_does_not_hit_whoever_needs_the_room(
    system: ActorSystem, clock: VirtualClock
) -> None:
    class Odd(Device):
        def can_passivate(self) -> bool:
            raise Boom("odd")

    directory = system.directory("odd", lambda key: Odd(key, Diary()), max_active=1)
    for key in range(3):
        directory.tell(key, "x")
        await clock.settle()
    assert directory.active == 3


async def test_a_message_that_comes_while_an_actor_is_saving_is_handled_by_the_next_instance(
    system: ActorSystem, clock: VirtualClock
) -> None:
    diary = Diary()
    SavingDevice.gate = asyncio.Event()
    directory = system.directory("saving", lambda key: SavingDevice(key, diary), idle_after_s=10.0)
    directory.tell(1, "a")
    await clock.advance(20.0)
    assert diary.entries[-1] == ("saving", 1)
    directory.tell(1, "b")
    await clock.settle()
    assert made(diary) == [1]
    SavingDevice.gate.set()
    await clock.settle()
    assert diary.entries[-3:] == [("saved", 1), ("made", 1), ("message", 1, "b")]
    assert directory.active == 1


async def test_a_ref_kept_too_long_still_reaches_the_actor(
    system: ActorSystem, clock: VirtualClock
) -> None:
    diary = Diary()
    directory = devices(system, diary, idle_after_s=10.0)
    directory.tell(1, "a")
    stale = directory.find(1)
    assert stale is not None
    await clock.advance(30.0)
    assert directory.find(1) is None
    stale.tell("b")
    assert await stale.ask("c") == (1, "c")
    assert made(diary) == [1, 1]


async def test_putting_actors_away_leaves_no_garbage_for_the_collector(
    system: ActorSystem, clock: VirtualClock
) -> None:
    directory = devices(system, Diary(), idle_after_s=10.0)
    gc.collect()
    gc.disable()
    try:
        for key in range(1_000):
            directory.tell(key, "x")
        await clock.advance(60.0)
        assert directory.active == 0
        assert gc.collect() < 100
    finally:
        gc.enable()


async def test_virtual_actors_do_not_stand_in_pykkas_registry(system: ActorSystem) -> None:
    import pykka

    directory = devices(system, Diary())
    await directory.ask(1, "a")
    assert "Device" not in {ref.actor_class.__name__ for ref in pykka.ActorRegistry.get_all()}


async def test_messages_told_from_another_thread_through_a_ref_arrive(
    system: ActorSystem, clock: VirtualClock
) -> None:
    diary = Diary()
    directory = devices(system, diary, idle_after_s=10.0)
    directory.tell(1, "a")
    ref = directory.find(1)
    assert ref is not None
    await clock.advance(30.0)
    await asyncio.to_thread(ref.tell, "b")
    await clock.settle()
    assert diary.of("message") == [(1, "a"), (1, "b")]


async def test_a_directory_without_a_system_says_so() -> None:
    directory: Directory[int] = Directory("loose", create=lambda key: Device(key, Diary()))
    with pytest.raises(RuntimeError, match=r"ActorSystem\.directory"):
        directory.tell(1, "x")
