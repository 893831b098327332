import asyncio
from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from actors.runtime import (
    ActorState,
    ActorSystem,
    Backoff,
    DropReason,
    VirtualClock,
)
from protocols.errors import NotFound
from tests.actors.runtime.actors import QUICK, Boom, Diary
from tests.actors.runtime.devices import Device, devices, made


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
