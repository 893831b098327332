import asyncio
from typing import Any

import pytest

from actors.runtime import (
    Actor,
    ActorState,
    ActorSystem,
    Backoff,
    ChildSpec,
    Escalated,
    Restart,
    Strategy,
    Supervisor,
    VirtualClock,
)
from protocols.errors import Conflict, ConnectionLost, NotFound
from tests.actors.runtime.actors import (
    QUICK,
    AsyncWorker,
    Boom,
    Calling,
    Diary,
    Worker,
    worker,
)


def supervisor(name: str, *specs: ChildSpec, **options: Any) -> ChildSpec:
    return ChildSpec(name, Supervisor, (specs,), options, backoff=QUICK)


def starts(diary: Diary) -> list[str]:
    return [name for (name,) in diary.of("start")]


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


async def test_an_asked_for_restart_replaces_the_instance_without_counting(
    system: ActorSystem, clock: VirtualClock
) -> None:
    diary = Diary()
    system.spawn("/hub", supervisor("mid", worker("a", diary), max_restarts=0))
    await clock.settle()
    for _ in range(3):
        await system.restart("/hub/mid/a")
    assert diary.of("restart") == [("a", "NoneType")] * 3
    assert starts(diary) == ["a"] * 4
    assert system.info("/hub/mid").restarts == 0
    with pytest.raises(NotFound):
        await system.restart("/hub/mid/nobody")


async def test_an_asked_for_restart_cuts_a_back_off_short_and_revives_the_stopped(
    system: ActorSystem, clock: VirtualClock
) -> None:
    ref = system.spawn("/hub", worker("a", Diary()))
    ref.tell("crash")
    await clock.settle()
    await system.restart("/hub/a")
    assert system.info("/hub/a").state is ActorState.RUNNING
    await clock.advance(5.0)
    assert system.info("/hub/a").restarts == 1
    ended = system.spawn("/hub", worker("b", Diary(), restart=Restart.TRANSIENT))
    await ended.stop()
    await system.restart("/hub/b")
    assert await ended.ask("back") == "back"


async def test_restarting_a_supervisor_restarts_its_children(
    system: ActorSystem, clock: VirtualClock
) -> None:
    diary = Diary()
    system.spawn("/hub", supervisor("mid", worker("a", diary), worker("b", diary)))
    await clock.settle()
    a = system.find("/hub/mid/a")
    assert a is not None
    await system.restart("/hub/mid")
    await clock.settle()
    assert diary.of("restart") == [("b", "NoneType"), ("a", "NoneType")]
    assert starts(diary) == ["a", "b", "a", "b"]
    assert await a.ask("same ref") == "same ref"


async def test_stop_child_ends_even_a_permanent_child_after_draining_it(
    system: ActorSystem, clock: VirtualClock
) -> None:
    diary = Diary()
    ref = system.spawn("/hub", worker("a", diary, actor_class=AsyncWorker))
    for number in range(100):
        ref.tell(number)
    await system.stop_child("/hub/a")
    assert len(diary.of("message")) == 100
    assert diary.entries[-1] == ("stop", "a")
    assert system.find("/hub/a") is None
    with pytest.raises(NotFound):
        await system.stop_child("/hub/a")
    again = system.spawn("/hub", worker("a", diary))
    assert await again.ask("new") == "new"
    assert again != ref


async def test_stop_child_ends_one_that_backs_off_at_once(
    system: ActorSystem, clock: VirtualClock
) -> None:
    ref = system.spawn("/hub", worker("a", Diary()))
    ref.tell("crash")
    ref.tell("waiting")
    await clock.settle()
    await system.stop_child("/hub/a")
    assert not ref.is_alive()
    assert system.dead_letters.recent()[0].message == "waiting"


async def test_names_are_unique_among_siblings_and_parents_must_be_supervisors(
    system: ActorSystem,
) -> None:
    system.spawn("/hub", worker("a", Diary()))
    with pytest.raises(Conflict):
        system.spawn("/hub", worker("a", Diary()))
    with pytest.raises(NotFound):
        system.spawn("/hub/nobody", worker("b", Diary()))
    with pytest.raises(NotFound):
        system.spawn("/hub/a", worker("b", Diary()))
    with pytest.raises(ValueError, match="path"):
        worker("a/b", Diary())


async def test_kill_interrupts_a_handler_ahead_of_the_mailbox_and_the_supervisor_answers(
    system: ActorSystem, clock: VirtualClock
) -> None:
    diary = Diary()
    ref = system.spawn("/hub", worker("a", diary, actor_class=AsyncWorker))
    await ref.ask("ready")
    ref.tell(asyncio.Event())
    ref.tell("kept")
    await clock.settle()
    ref.kill()
    await clock.settle()
    assert diary.of("restart") == [("a", "ActorKilled")]
    await clock.advance(1.0)
    assert await ref.ask("got") == ["kept"]


async def test_killing_one_actor_never_cancels_another(
    system: ActorSystem, clock: VirtualClock
) -> None:
    gate = asyncio.Event()
    refs = [
        system.spawn("/hub", worker(name, Diary(), actor_class=AsyncWorker)) for name in "abcdef"
    ]
    answers = [ref.ask(gate) for ref in refs]
    await clock.settle()
    refs[2].kill()
    await clock.settle()
    gate.set()
    results = await asyncio.gather(*map(_awaited, answers), return_exceptions=True)
    assert [isinstance(result, Exception) for result in results] == [
        False,
        False,
        True,
        False,
        False,
        False,
    ]


async def _awaited(answer: Any) -> Any:
    return await answer


async def test_what_a_handler_awaited_being_cancelled_is_a_crash_not_a_lost_runner(
    system: ActorSystem, clock: VirtualClock
) -> None:
    async def await_cancelled(actor: Calling) -> None:
        cancelled: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        cancelled.cancel()
        await cancelled

    def raise_it(actor: Calling) -> None:
        raise asyncio.CancelledError

    class SyncCalling(Calling):
        def on_receive(self, message: Any) -> Any:
            return message(self)

    for actor_class, message in ((Calling, await_cancelled), (SyncCalling, raise_it)):
        ref = system.spawn("/hub", ChildSpec(actor_class.__name__, actor_class, backoff=QUICK))
        ref.tell(message)
        await clock.settle()
        info = system.info(ref.path)
        assert info.state is ActorState.BACKING_OFF
        assert info.last_error is not None
        assert "HandlerCancelled" in info.last_error
        await clock.advance(1.0)
        assert await ref.ask(lambda actor: "alive") == "alive"


async def test_hooks_that_fail_are_survived(system: ActorSystem, clock: VirtualClock) -> None:
    class Clumsy(Worker):
        async def on_restart(self, error: Exception | None) -> None:  # type: ignore[override]  # sync there
            await asyncio.sleep(0)
            raise RuntimeError("while clearing away")

        def on_stop(self) -> None:
            raise RuntimeError("while stopping")

    ref = system.spawn("/hub", worker("clumsy", Diary(), actor_class=Clumsy))
    ref.tell("crash")
    await clock.advance(1.0)
    assert await ref.ask("back") == "back"
    await system.stop_child("/hub/clumsy")
    assert not ref.is_alive()


async def test_a_restart_storm_of_thousands_comes_back_without_stalling_the_loop(
    system: ActorSystem, clock: VirtualClock
) -> None:
    diary = Diary()
    spread = Backoff(initial_s=0.2, max_s=1.0, jitter=0.5)
    specs = [
        ChildSpec(f"w{number}", _Unregistered, (f"w{number}", diary), backoff=spread)
        for number in range(2_000)
    ]
    system.spawn("/hub", supervisor("storm", *specs, max_restarts=10_000))
    await clock.settle()
    for spec in specs:
        system.find(f"/hub/storm/{spec.name}").tell("lose connection")  # type: ignore[union-attr]
    await clock.settle()
    assert len(diary.of("restart")) == 2_000
    await clock.advance(1.0)
    assert len(starts(diary)) == 4_000
    assert system.health().worst is None


class _Unregistered(Worker):
    registered = False
