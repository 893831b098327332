import asyncio
from collections import Counter
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pykka import ActorDeadError

from actors.runtime import (
    Actor,
    ActorState,
    ActorSystem,
    Backoff,
    Directory,
    DropReason,
    MailboxFull,
    VirtualClock,
)
from protocols.errors import NotFound
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


async def test_a_crashed_actor_comes_back_after_its_keys_own_back_off(
    system: ActorSystem, clock: VirtualClock
) -> None:
    diary = Diary()
    restarted: list[tuple[int, Exception]] = []
    directory = devices(
        system, diary, on_restarted=lambda key, error: restarted.append((key, error))
    )
    for key in (1, 2):
        directory.tell(key, "hello")
    directory.tell(1, "crash")
    directory.tell(1, "behind it")
    await clock.settle()
    info = system.info("/hub/devices/1")
    assert info.state is ActorState.BACKING_OFF
    assert info.last_error is not None
    assert info.next_start_at is not None
    assert [child.path for child in system.info("/hub/devices").children] == ["/hub/devices/1"]
    assert await directory.ask(2, "undisturbed") == (2, "undisturbed")
    await clock.advance(10.0)
    assert directory.failures == 2
    assert system.dead_letters.counts == {DropReason.POISON: 1}
    assert ("message", 1, "behind it") in diary.entries
    assert [(key, type(error)) for key, error in restarted] == [(1, Boom), (1, Boom)]


async def test_a_crash_is_forgotten_after_a_stable_time(
    system: ActorSystem, clock: VirtualClock
) -> None:
    directory = devices(system, Diary())
    directory.tell(1, "crash")
    await clock.advance(5.0)
    assert directory.failure_of(1) is not None
    await clock.advance(60.0)
    assert directory.failure_of(1) is None


async def test_a_constructor_that_fails_backs_off_and_keeps_the_messages(
    system: ActorSystem, clock: VirtualClock
) -> None:
    attempts: Counter[int] = Counter()

    def create(key: int) -> Device:
        attempts[key] += 1
        if attempts[key] < 3:
            raise OSError("storage is away")
        return Device(key, diary)

    diary = Diary()
    directory = system.directory("devices", create, backoff=QUICK, idle_after_s=20.0)
    directory.tell(1, "kept")
    await clock.advance(5.0)
    assert diary.of("message") == [(1, "kept")]
    await clock.advance(60.0)
    assert directory.active == 0


async def test_a_factory_that_hands_out_the_same_instance_twice_is_caught(
    system: ActorSystem, clock: VirtualClock
) -> None:
    kept: list[Device] = []

    def create(key: int) -> Device:
        if not kept:
            kept.append(Device(key, Diary()))
        return kept[0]

    directory = system.directory("devices", create, backoff=QUICK)
    directory.tell(1, "a")
    directory.tell(2, "b")
    await clock.settle()
    assert "TypeError" in str(system.info("/hub/devices/2").last_error)


async def test_restart_and_kill_reach_virtual_actors(
    system: ActorSystem, clock: VirtualClock
) -> None:
    diary = Diary()
    restarted: list[str] = []
    directory = devices(
        system, diary, on_restarted=lambda key, error: restarted.append(type(error).__name__)
    )
    directory.tell(1, "a")
    await clock.settle()
    await system.restart("/hub/devices/1")
    ref = directory.find(1)
    assert ref is not None
    ref.kill()
    await clock.advance(2.0)
    assert made(diary) == [1, 1, 1]
    assert restarted == ["RestartRequested", "ActorKilled"]
    with pytest.raises(NotFound):
        await system.restart("/hub/devices/99")


async def test_an_actor_that_stops_itself_is_put_away_and_loses_nothing(
    system: ActorSystem, clock: VirtualClock
) -> None:
    diary = Diary()
    directory = devices(system, diary)
    directory.tell(1, "a")
    ref = directory.find(1)
    assert ref is not None
    stopped = ref.stop()
    directory.tell(1, "b")
    assert await stopped is True
    await clock.settle()
    assert diary.entries == [("made", 1), ("message", 1, "a"), ("made", 1), ("message", 1, "b")]


async def test_virtual_actors_do_not_stand_in_pykkas_registry(system: ActorSystem) -> None:
    import pykka

    directory = devices(system, Diary())
    await directory.ask(1, "a")
    assert "Device" not in {ref.actor_class.__name__ for ref in pykka.ActorRegistry.get_all()}


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


@settings(max_examples=40, deadline=None)
@given(
    st.lists(
        st.one_of(
            st.tuples(st.just("tell"), st.integers(0, 9)),
            st.tuples(st.just("crash"), st.integers(0, 9)),
            st.tuples(st.just("kill"), st.integers(0, 9)),
            st.tuples(st.just("advance"), st.integers(1, 30)),
        ),
        max_size=60,
    ),
    st.integers(1, 6),
)
def test_whatever_happens_each_key_gets_all_its_messages_in_order(
    steps: list[tuple[str, int]], max_active: int
) -> None:
    diary = Diary()
    told: dict[int, list[int]] = {}

    async def run() -> None:
        clock = VirtualClock()
        system = ActorSystem(clock=clock, seed=3)
        await system.start()
        directory = devices(
            system,
            diary,
            max_active=max_active,
            idle_after_s=20.0,
            backoff=Backoff(initial_s=0.5, max_s=2.0),
        )
        for number, (step, argument) in enumerate(steps):
            if step == "tell":
                told.setdefault(argument, []).append(number)
                directory.tell(argument, number)
            elif step == "crash":
                directory.tell(argument, "crash")
            elif step == "advance":
                await clock.advance(argument / 2)
            elif (ref := directory.find(argument)) is not None:
                ref.kill()
        await clock.advance(200.0)
        assert directory.active == 0
        assert (await system.stop(5.0)).is_clean

    asyncio.run(run())
    got: dict[int, list[int]] = {}
    for key, message in diary.of("message"):
        got.setdefault(key, []).append(message)
    assert got == told
