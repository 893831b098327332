import asyncio
from typing import Any

import pytest

from actors.runtime import (
    Actor,
    ActorSystem,
    ChildSpec,
    ShutdownStage,
    Supervisor,
    VirtualClock,
)
from protocols.errors import Conflict
from tests.actors.runtime.actors import AsyncWorker, Diary, Stubborn, Worker, worker


@pytest.fixture
async def system(clock: VirtualClock) -> ActorSystem:
    """One that the test itself stops."""
    system = ActorSystem(clock=clock)
    await system.start()
    return system


async def test_the_end_goes_intake_drain_flush_and_children_in_reverse(
    system: ActorSystem,
) -> None:
    diary = Diary()
    refs = [system.spawn("/hub", worker(name, diary, actor_class=AsyncWorker)) for name in "abc"]

    async def close_intake() -> None:
        await asyncio.sleep(0)
        diary("intake")

    system.on_shutdown(ShutdownStage.FLUSH, lambda: diary("flush"))
    system.on_shutdown(ShutdownStage.INTAKE, close_intake)
    for ref in refs:
        for number in range(50):
            ref.tell(number)
    report = await system.stop(5.0)
    assert report.is_clean
    assert report.is_drained
    assert report.dead_letters == 0
    events = [entry for entry in diary.entries if entry[0] not in ("start", "message")]
    assert events == ["intake", "flush", ("stop", "c"), ("stop", "b"), ("stop", "a")]
    assert len(diary.of("message")) == 150
    assert diary.entries.index("flush") > diary.entries.index(("message", "c", 49))


async def test_a_nested_supervisors_children_end_before_it_and_before_earlier_siblings(
    system: ActorSystem,
) -> None:
    diary = Diary()

    class Noted(Supervisor):
        def on_stop(self) -> None:
            diary("stop", "sup")

    system.spawn("/hub", worker("first", diary))
    system.spawn("/hub", ChildSpec("sup", Noted, ((worker("x", diary), worker("y", diary)),)))
    await asyncio.sleep(0.01)
    await system.stop(5.0)
    assert diary.of("stop") == [("y",), ("x",), ("sup",), ("first",)]


async def test_a_child_that_hangs_is_interrupted_in_its_time_and_named(
    system: ActorSystem, clock: VirtualClock
) -> None:
    diary = Diary()
    spec = ChildSpec("hangs", AsyncWorker, ("hangs", diary), shutdown_timeout_s=0.02)
    ref = system.spawn("/hub", spec)
    ref.tell(asyncio.Event())
    ref.tell("never handled")
    await clock.settle()
    report = await system.stop(0.2)
    assert not report.is_clean
    assert not report.is_drained
    assert report.interrupted == ("/hub/hangs",)
    assert report.dead_letters == 2
    assert diary.of("stop") == [("hangs",)]
    assert report.duration_s < 2.0


async def test_a_child_that_ignores_being_cancelled_is_abandoned_and_the_others_end_well(
    system: ActorSystem, clock: VirtualClock
) -> None:
    release = asyncio.Event()
    diary = Diary()
    system.spawn("/hub", worker("good", diary))
    stubborn = system.spawn(
        "/hub", ChildSpec("stubborn", Stubborn, (release,), shutdown_timeout_s=0.02)
    )
    stubborn.tell("x")
    await clock.settle()
    report = await system.stop(0.5)
    assert "/hub/stubborn" in report.abandoned
    assert report.duration_s < 3.0
    release.set()
    await asyncio.sleep(0.01)


async def test_a_hanging_on_stop_does_not_hold_up_the_end(
    system: ActorSystem, clock: VirtualClock
) -> None:
    class Hanging(Actor):
        async def on_stop(self) -> None:
            await asyncio.Event().wait()

    system.spawn("/hub", ChildSpec("hanging", Hanging, shutdown_timeout_s=0.02))
    await clock.settle()
    report = await system.stop(1.0)
    assert report.interrupted == ("/hub/hanging",)
    assert report.duration_s < 1.5


async def test_callbacks_that_fail_or_hang_are_reported(system: ActorSystem) -> None:
    def fail() -> None:
        raise OSError("listener is gone")

    async def hang() -> None:
        await asyncio.Event().wait()

    system.on_shutdown(ShutdownStage.INTAKE, fail)
    system.on_shutdown(ShutdownStage.FLUSH, hang)
    report = await system.stop(0.05)
    assert not report.is_clean
    assert len(report.problems) == 2
    assert "listener is gone" in report.problems[0]


async def test_nothing_new_starts_while_the_system_stops(system: ActorSystem) -> None:
    refused: list[Exception] = []

    def try_to_spawn() -> None:
        try:
            system.spawn("/hub", worker("late", Diary()))
        except Conflict as error:
            refused.append(error)

    system.on_shutdown(ShutdownStage.INTAKE, try_to_spawn)
    await system.stop(1.0)
    assert len(refused) == 1


async def test_stopping_twice_waits_for_the_same_end(system: ActorSystem) -> None:
    first, second = await asyncio.gather(system.stop(1.0), system.stop(1.0))
    assert first is second


async def test_an_actor_that_backs_off_does_not_come_back_during_the_end(
    system: ActorSystem, clock: VirtualClock
) -> None:
    diary = Diary()
    ref = system.spawn("/hub", worker("a", diary))
    ref.tell("crash")
    await clock.settle()
    report = await system.stop(1.0)
    await clock.advance(60.0)
    assert len(diary.of("start")) == 1
    assert report.interrupted == ()


async def test_children_that_do_not_depend_on_each_other_can_stop_together(
    system: ActorSystem, clock: VirtualClock
) -> None:
    stopping: list[int] = []

    class Slow(Worker):
        async def on_stop(self) -> None:  # type: ignore[override]  # the parent's is sync
            stopping.append(len(stopping))
            await everyone.wait()

    everyone = asyncio.Event()
    specs = tuple(worker(f"s{number}", Diary(), actor_class=Slow) for number in range(5))
    system.spawn("/hub", ChildSpec("sup", Supervisor, (specs,), {"stop_together": True}))
    await clock.settle()
    ending = asyncio.create_task(system.stop(5.0))
    while len(stopping) < 5:  # noqa: ASYNC110  # it is the count that matters
        await asyncio.sleep(0.001)
    everyone.set()
    assert (await ending).is_clean


async def test_systems_that_were_stopped_leave_no_tasks_behind(clock: VirtualClock) -> None:
    before = len(asyncio.all_tasks())
    for _ in range(20):
        system = ActorSystem(clock=clock)
        await system.start()
        system.spawn("/hub", worker("a", Diary(), actor_class=AsyncWorker)).tell("x")
        await system.stop(1.0)
        await asyncio.sleep(0)
        await asyncio.sleep(0)
    assert len(asyncio.all_tasks()) == before


async def test_a_handler_may_stop_the_system(system: ActorSystem) -> None:
    ended = asyncio.Event()

    class Last(Actor):
        async def on_receive(self, message: Any) -> None:
            self.create_task(self.end())

        async def end(self) -> None:
            await asyncio.shield(asyncio.ensure_future(self.system.stop(1.0)))

        def on_stop(self) -> None:
            ended.set()

    ref = system.spawn("/hub", ChildSpec("last", Last))
    ref.tell("end it")
    async with asyncio.timeout(5):
        await ended.wait()
    report = await system.stop(1.0)
    assert report.is_clean
    assert not ref.is_alive()
