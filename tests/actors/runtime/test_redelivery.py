import asyncio
from collections import Counter
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from actors.runtime import (
    Actor,
    ActorRef,
    ActorSystem,
    Backoff,
    ChildSpec,
    DropReason,
    VirtualClock,
)
from tests.actors.runtime.actors import QUICK, Boom, Diary


class Careful(Actor):
    """Crashes on a message as often as it is told, then handles it."""

    redeliver_once = True

    def __init__(self, diary: Diary, crashes_left: Counter[Any], *, suspends: bool = False) -> None:
        super().__init__()
        self.diary = diary
        self.crashes_left = crashes_left
        self.suspends = suspends

    async def on_receive(self, message: Any) -> None:
        if self.suspends:
            await asyncio.sleep(0)
        if isinstance(message, asyncio.Event):
            await message.wait()
        if self.crashes_left[message] > 0:
            self.crashes_left[message] -= 1
            raise Boom(str(message))
        self.diary("handled", message)

    def on_poison(self, message: Any, error: Exception) -> None:
        self.diary("poison", message)


def careful(diary: Diary, crashes: dict[Any, int]) -> ChildSpec:
    return ChildSpec("careful", Careful, (diary, Counter(crashes)), backoff=QUICK)


async def test_a_message_whose_handler_crashed_is_handled_once_more_and_first(
    system: ActorSystem, clock: VirtualClock
) -> None:
    diary = Diary()
    ref = system.spawn("/hub", careful(diary, {"b": 1}))
    for message in "abc":
        ref.tell(message)
    await clock.advance(5.0)
    assert diary.of("handled") == [("a",), ("b",), ("c",)]
    assert system.dead_letters.total == 0


async def test_a_message_that_crashes_twice_is_set_aside_as_poison(
    system: ActorSystem, clock: VirtualClock
) -> None:
    diary = Diary()
    ref = system.spawn("/hub", careful(diary, {"b": 99}))
    for message in "abc":
        ref.tell(message)
    await clock.advance(10.0)
    assert diary.entries == [("handled", "a"), ("poison", "b"), ("handled", "c")]
    assert system.dead_letters.counts == {DropReason.POISON: 1}
    letter = system.dead_letters.recent()[0]
    assert letter.message == "b"
    assert isinstance(letter.error, Boom)


async def test_without_redelivery_the_failing_message_is_a_dead_letter(
    system: ActorSystem, clock: VirtualClock
) -> None:
    class Careless(Careful):
        redeliver_once = False

    diary = Diary()
    ref = system.spawn(
        "/hub", ChildSpec("careless", Careless, (diary, Counter({"b": 1})), backoff=QUICK)
    )
    for message in "abc":
        ref.tell(message)
    await clock.advance(5.0)
    assert diary.of("handled") == [("a",), ("c",)]
    assert system.dead_letters.counts == {DropReason.FAILED: 1}


async def test_an_asked_message_is_not_redelivered_since_its_asker_knows(
    system: ActorSystem, clock: VirtualClock
) -> None:
    diary = Diary()
    ref = system.spawn("/hub", careful(diary, {"b": 1}))
    results = await asyncio.gather(_awaited(ref.ask("b")), return_exceptions=True)
    assert isinstance(results[0], Boom)
    await clock.advance(5.0)
    assert diary.entries == []


async def _awaited(answer: Any) -> Any:
    return await answer


async def test_a_kill_is_no_strike_against_the_message_it_interrupts(
    system: ActorSystem, clock: VirtualClock
) -> None:
    diary = Diary()
    ref = system.spawn("/hub", careful(diary, {}))
    gate = asyncio.Event()
    ref.tell(gate)
    for _ in range(4):
        await clock.advance(8.0)
        ref.kill()
        await clock.settle()
    gate.set()
    await clock.advance(8.0)
    assert diary.of("handled") == [(gate,)]
    assert system.dead_letters.total == 0


async def test_a_poison_hook_that_crashes_does_not_bring_the_message_back(
    system: ActorSystem, clock: VirtualClock
) -> None:
    class Hopeless(Careful):
        def on_poison(self, message: Any, error: Exception) -> None:
            self.diary("poison", message)
            raise Boom("even that")

    diary = Diary()
    ref = system.spawn(
        "/hub", ChildSpec("hopeless", Hopeless, (diary, Counter({"b": 99})), backoff=QUICK)
    )
    ref.tell("b")
    ref.tell("c")
    await clock.advance(20.0)
    assert diary.entries == [("poison", "b"), ("handled", "c")]
    assert system.dead_letters.counts == {DropReason.POISON: 1}


async def test_a_kill_during_the_poison_hook_repeats_the_hook(
    system: ActorSystem, clock: VirtualClock
) -> None:
    gate = asyncio.Event()

    class Slow(Careful):
        async def on_poison(self, message: Any, error: Exception) -> None:  # type: ignore[override]  # sync there
            await gate.wait()
            self.diary("poison", message)

    diary = Diary()
    ref = system.spawn("/hub", ChildSpec("slow", Slow, (diary, Counter({"b": 99})), backoff=QUICK))
    ref.tell("b")
    await clock.advance(8.0)
    ref.kill()
    await clock.settle()
    gate.set()
    await clock.advance(8.0)
    assert diary.entries == [("poison", "b")]


@settings(max_examples=60, deadline=None)
@given(
    crashes=st.dictionaries(st.integers(0, 29), st.integers(1, 3), max_size=12),
    kills=st.lists(st.tuples(st.integers(0, 29), st.floats(0, 3)), max_size=6),
    restarts=st.lists(st.integers(0, 29), max_size=3),
    suspends=st.booleans(),
    is_virtual=st.booleans(),
)
def test_random_crashes_kills_and_restarts_never_lose_or_reorder_a_message(
    crashes: dict[int, int],
    kills: list[tuple[int, float]],
    restarts: list[int],
    suspends: bool,
    is_virtual: bool,
) -> None:
    diary = Diary()

    async def run() -> None:
        clock = VirtualClock()
        system = ActorSystem(clock=clock, seed=1, max_restarts=1_000)
        await system.start()
        left = Counter(crashes)
        backoff = Backoff(initial_s=0.1, max_s=0.5)
        path, tell, ref = _start(system, diary, left, backoff, suspends, is_virtual)
        for number in range(30):
            tell(number)
            if number in restarts:
                await system.restart(path)
            for at, pause_s in kills:
                if at == number:
                    await clock.advance(pause_s)
                    ref().kill()
        await clock.advance(60.0)
        assert (await system.stop(5.0)).is_clean

    asyncio.run(run())
    poisoned = [number for (number,) in diary.of("poison")]
    handled = [number for (number,) in diary.of("handled") if number != "first"]
    assert poisoned == sorted(number for number, count in crashes.items() if count > 1)
    assert handled == [number for number in range(30) if number not in poisoned]


def _start(
    system: ActorSystem,
    diary: Diary,
    left: Counter[Any],
    backoff: Backoff,
    suspends: bool,
    is_virtual: bool,
) -> tuple[str, Any, Any]:
    if is_virtual:
        directory = system.directory(
            "devices", lambda key: Careful(diary, left, suspends=suspends), backoff=backoff
        )
        ref: Any = directory.ref(17)
        ref.tell("first")  # a virtual actor can be restarted and killed once it is active
        return "/hub/devices/17", ref.tell, lambda: directory.find(17)
    spec = ChildSpec("careful", Careful, (diary, left), {"suspends": suspends}, backoff=backoff)
    spawned: ActorRef[Any] = system.spawn("/hub", spec)
    return spawned.path, spawned.tell, lambda: spawned
