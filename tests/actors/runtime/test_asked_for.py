import pytest

from actors.runtime import (
    ActorState,
    ActorSystem,
    Restart,
    VirtualClock,
)
from protocols.errors import Conflict, NotFound
from tests.actors.runtime.actors import (
    AsyncWorker,
    Diary,
    starts,
    supervisor,
    worker,
)


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
