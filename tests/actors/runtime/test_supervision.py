import asyncio
from typing import Any

import pytest

from actors.runtime import (
    Actor,
    ActorState,
    ActorSystem,
    ChildSpec,
    Escalated,
    Restart,
    Strategy,
    VirtualClock,
)
from protocols.errors import ConnectionLost
from tests.actors.runtime.actors import (
    QUICK,
    Boom,
    Diary,
    Worker,
    starts,
    supervisor,
    worker,
)


async def test_a_crashed_child_comes_back_behind_the_same_ref_with_its_mailbox(
    system: ActorSystem, clock: VirtualClock
) -> None:
    diary = Diary()
    ref = system.spawn("/hub", worker("a", diary))
    for message in (1, "crash", 2, 3):
        ref.tell(message)
    await clock.settle()
    info = system.info("/hub/a")
    assert info.state is ActorState.BACKING_OFF
    assert info.mailbox_length == 2
    assert info.last_error == "Boom: a"
    assert info.next_start_at is not None
    assert (info.next_start_at - clock.now()).total_seconds() == 1.0
    assert ref.is_alive()
    await clock.advance(1.0)
    assert await ref.ask("got") == [2, 3]
    assert system.info("/hub/a").restarts == 1
    assert diary.entries[:3] == [("start", "a"), ("message", "a", 1), ("restart", "a", "Boom")]


@pytest.mark.parametrize(
    ("strategy", "again"),
    [
        (Strategy.ONE_FOR_ONE, ["b"]),
        (Strategy.REST_FOR_ONE, ["b", "c"]),
        (Strategy.ONE_FOR_ALL, ["a", "b", "c"]),
    ],
)
async def test_the_strategy_decides_who_starts_anew_and_in_which_order(
    system: ActorSystem, clock: VirtualClock, strategy: Strategy, again: list[str]
) -> None:
    diary = Diary()
    specs = [worker(name, diary) for name in "abc"]
    system.spawn("/hub", supervisor("sup", *specs, strategy=strategy))
    await clock.settle()
    refs = {name: system.find(f"/hub/sup/{name}") for name in "abc"}
    assert refs["b"] is not None
    assert refs["c"] is not None
    refs["b"].tell("crash")
    refs["c"].tell("while down" if len(again) > 1 else "at once")
    await clock.settle()
    diary.entries.clear()
    await clock.advance(1.0)
    assert starts(diary) == again
    assert {name: system.find(f"/hub/sup/{name}") for name in "abc"} == refs
    assert len(await refs["c"].ask("got")) <= 1


async def test_under_one_for_all_the_others_are_halted_last_first_before_anyone_starts(
    system: ActorSystem, clock: VirtualClock
) -> None:
    diary = Diary()
    specs = [worker(name, diary) for name in "abc"]
    system.spawn("/hub", supervisor("sup", *specs, strategy=Strategy.ONE_FOR_ALL))
    await clock.settle()
    diary.entries.clear()
    system.find("/hub/sup/b").tell("crash")  # type: ignore[union-attr]  # it was just spawned
    await clock.advance(5.0)
    assert diary.entries == [
        ("restart", "b", "Boom"),
        ("restart", "c", "NoneType"),
        ("restart", "a", "NoneType"),
        ("start", "a"),
        ("start", "b"),
        ("start", "c"),
    ]


async def test_a_second_failure_during_a_recovery_widens_it(
    system: ActorSystem, clock: VirtualClock
) -> None:
    diary = Diary()
    specs = [worker(name, diary) for name in "abc"]
    system.spawn("/hub", supervisor("sup", *specs, strategy=Strategy.REST_FOR_ONE))
    await clock.settle()
    system.find("/hub/sup/c").tell("crash")  # type: ignore[union-attr]  # it was just spawned
    await clock.advance(0.5)
    system.find("/hub/sup/a").tell("crash")  # type: ignore[union-attr]  # it was just spawned
    await clock.settle()
    diary.entries.clear()
    await clock.advance(5.0)
    assert starts(diary) == ["a", "b", "c"]
    assert system.health().ok


async def test_dependent_children_start_one_after_the_other(
    system: ActorSystem, clock: VirtualClock
) -> None:
    diary = Diary()

    class SlowStart(Worker):
        async def on_start(self) -> None:  # type: ignore[override]  # the parent's is sync
            await self.clock.sleep(1.0)
            super().on_start()
            self.diary("ready at", self.clock.monotonic())

    specs = [worker(name, diary, actor_class=SlowStart) for name in "abc"]
    system.spawn("/hub", supervisor("dependent", *specs, strategy=Strategy.REST_FOR_ONE))
    await clock.advance(10.0)
    assert diary.of("ready at") == [(1.0,), (2.0,), (3.0,)]
    diary.entries.clear()
    system.spawn("/hub", supervisor("independent", *specs))
    await clock.advance(10.0)
    assert diary.of("ready at") == [(11.0,), (11.0,), (11.0,)]


@pytest.mark.parametrize(
    ("restart", "after_crash", "after_stop"),
    [
        (Restart.PERMANENT, ActorState.RUNNING, ActorState.RUNNING),
        (Restart.TRANSIENT, ActorState.RUNNING, ActorState.STOPPED),
        (Restart.TEMPORARY, None, None),
    ],
)
async def test_the_restart_type_decides_which_ends_are_answered(
    system: ActorSystem,
    clock: VirtualClock,
    restart: Restart,
    after_crash: ActorState | None,
    after_stop: ActorState | None,
) -> None:
    for end, expected in (("crash", after_crash), ("stop", after_stop)):
        ref = system.spawn("/hub", worker(f"after-{end}", Diary(), restart=restart))
        if end == "crash":
            ref.tell("crash")
        else:
            assert await ref.stop() is True
        await clock.advance(2.0)
        if expected is None:
            assert system.find(ref.path) is None
            assert not ref.is_alive()
        else:
            assert system.info(ref.path).state is expected


async def test_a_temporary_actor_that_crashes_has_its_failure_hook_called(
    system: ActorSystem, clock: VirtualClock
) -> None:
    diary = Diary()
    ref = system.spawn("/hub", worker("once", diary, restart=Restart.TEMPORARY))
    ref.tell("crash")
    ref.tell("left over")
    await clock.settle()
    assert diary.of("restart") == [("once", "Boom")]
    assert diary.of("stop") == []
    assert [letter.message for letter in system.dead_letters.recent()] == ["left over", "crash"]


async def test_delays_grow_with_each_crash_and_start_over_after_a_stable_time(
    system: ActorSystem, clock: VirtualClock
) -> None:
    ref = system.spawn("/hub", worker("a", Diary()))
    delays: list[float] = []
    for _ in range(3):
        ref.tell("crash")
        await clock.settle()
        due_at = system.info("/hub/a").next_start_at
        assert due_at is not None
        delays.append((due_at - clock.now()).total_seconds())
        await clock.advance(delays[-1])
    assert delays == [1.0, 2.0, 4.0]
    await clock.advance(60.0)
    ref.tell("crash")
    await clock.settle()
    due_at = system.info("/hub/a").next_start_at
    assert due_at is not None
    assert (due_at - clock.now()).total_seconds() == 1.0


async def test_too_many_crashes_escalate_and_the_children_keep_their_refs_and_mailboxes(
    system: ActorSystem, clock: VirtualClock
) -> None:
    diary = Diary()
    middle = supervisor("mid", worker("a", diary), worker("b", diary), max_restarts=2)
    system.spawn("/hub", middle)
    await clock.settle()
    late = system.spawn("/hub/mid", worker("late", diary))
    a = system.find("/hub/mid/a")
    assert a is not None
    for _ in range(3):
        a.tell("crash")
        await clock.advance(2.5)
        if system.info("/hub/mid").state is ActorState.RUNNING and system.info("/hub/mid").restarts:
            break
    a.tell("kept")
    await clock.advance(10.0)
    info = system.info("/hub/mid")
    assert info.restarts == 1
    assert info.last_error is not None
    assert info.last_error.startswith(Escalated.__name__)
    assert "/hub/mid/a" in info.last_error
    assert system.find("/hub/mid/a") == a
    assert await a.ask("got") == ["kept"]
    assert await late.ask("hello") == "hello"
    assert system.health().ok


async def test_while_a_supervisor_is_down_its_children_are_and_nothing_told_to_them_is_lost(
    system: ActorSystem, clock: VirtualClock
) -> None:
    diary = Diary()
    system.spawn("/hub", supervisor("mid", worker("a", diary), worker("b", diary), max_restarts=0))
    await clock.settle()
    a, b = system.find("/hub/mid/a"), system.find("/hub/mid/b")
    assert a is not None
    assert b is not None
    a.tell("crash")
    await clock.settle()
    assert system.info("/hub/mid").state is ActorState.BACKING_OFF
    assert system.info("/hub/mid/b").state is ActorState.BACKING_OFF
    b.tell("waits")
    late = system.spawn("/hub/mid", worker("late", diary))
    late.tell("waits too")
    await clock.advance(1.0)
    assert await b.ask("got") == ["waits"]
    assert await late.ask("got") == ["waits too"]


async def test_when_the_root_gives_up_it_says_so_and_the_tree_is_unhealthy() -> None:
    clock = VirtualClock()
    system = ActorSystem(clock=clock, max_restarts=0)
    await system.start()
    ref = system.spawn("/hub", worker("a", Diary()))
    ref.tell("crash")
    assert isinstance(await system.wait_failed(), Escalated)
    await clock.settle()
    ok, worst, reason = system.health()
    assert not ok
    assert worst is not None
    assert worst.path == "/hub"
    assert "/hub/a" in reason
    report = await system.stop(1.0)
    assert report.interrupted == report.abandoned == ()


async def test_expected_failures_back_off_without_counting(
    system: ActorSystem, clock: VirtualClock
) -> None:
    diary = Diary()
    system.spawn("/hub", supervisor("mid", worker("a", diary), worker("b", diary), max_restarts=0))
    await clock.settle()
    a = system.find("/hub/mid/a")
    assert a is not None
    for _ in range(20):
        a.tell("lose connection")
        await clock.advance(8.0)
    assert system.info("/hub/mid").restarts == 0
    assert system.info("/hub/mid/a").restarts == 20
    assert starts(diary).count("b") == 1


async def test_an_outage_is_named_but_is_not_the_hubs_fault(
    system: ActorSystem, clock: VirtualClock
) -> None:
    system.spawn("/hub", worker("broker", Diary())).tell("lose connection")
    await clock.settle()
    ok, worst, reason = system.health()
    assert ok
    assert worst is not None
    assert worst.path == "/hub/broker"
    assert "the broker is away" in reason
    await clock.advance(1.0)
    assert system.health().worst is None


async def test_a_crash_is_the_hubs_fault_until_the_child_runs_again(
    system: ActorSystem, clock: VirtualClock
) -> None:
    system.spawn("/hub", supervisor("mid", worker("a", Diary())))
    await clock.settle()
    system.find("/hub/mid/a").tell("crash")  # type: ignore[union-attr]  # it was just spawned
    await clock.settle()
    ok, worst, reason = system.health()
    assert not ok
    assert worst is not None
    assert worst.path == "/hub/mid/a"
    assert "Boom" in reason
    await clock.advance(1.0)
    assert system.health().ok


async def test_own_expected_classes_take_the_place_of_the_default(
    system: ActorSystem, clock: VirtualClock
) -> None:
    diary = Diary()
    spec = ChildSpec("a", Worker, ("a", diary), backoff=QUICK, expected=(Boom,))
    system.spawn("/hub", supervisor("mid", spec, max_restarts=0))
    await clock.settle()
    a = system.find("/hub/mid/a")
    assert a is not None
    a.tell("crash")
    await clock.advance(8.0)
    assert system.info("/hub/mid").restarts == 0
    a.tell("lose connection")
    await clock.advance(8.0)
    assert system.info("/hub/mid").restarts == 1


async def test_a_start_that_fails_is_a_failure_with_back_off(
    system: ActorSystem, clock: VirtualClock
) -> None:
    attempts = 0

    class Picky(Actor):
        async def on_start(self) -> None:
            nonlocal attempts
            attempts += 1
            await asyncio.sleep(0)
            if attempts < 4:
                raise ConnectionLost(f"attempt {attempts}")

        def on_receive(self, message: Any) -> int:
            return attempts

    ref = system.spawn("/hub", ChildSpec("picky", Picky, backoff=QUICK))
    answer = ref.ask("how often?")
    await clock.advance(1.0 + 2.0 + 4.0)
    assert await answer == 4


async def test_a_constructor_that_fails_is_a_failure_with_back_off(
    system: ActorSystem, clock: VirtualClock
) -> None:
    attempts = 0

    class Unmade(Actor):
        def __init__(self) -> None:
            nonlocal attempts
            attempts += 1
            if attempts < 3:
                raise OSError("not yet")

    ref = system.spawn("/hub", ChildSpec("unmade", Unmade, backoff=QUICK))
    await clock.settle()
    assert system.info(ref.path).state is ActorState.BACKING_OFF
    await clock.advance(3.0)
    assert attempts == 3
    assert system.info(ref.path).state is ActorState.RUNNING
