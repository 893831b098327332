from actors.runtime import (
    ActorKilled,
    ActorSystem,
    ChildSpec,
    Restart,
    Restarted,
    Terminated,
    VirtualClock,
)
from tests.actors.runtime.actors import QUICK, Boom, Calling, Diary, Watcher, worker


async def test_a_watcher_is_told_of_an_end_and_its_reason(
    system: ActorSystem, clock: VirtualClock
) -> None:
    crashing = system.spawn("/hub", worker("a", Diary(), restart=Restart.TEMPORARY))
    ending = system.spawn("/hub", worker("b", Diary(), restart=Restart.TEMPORARY))
    watcher = system.spawn("/hub", ChildSpec("watcher", Watcher, (crashing, ending)))
    await watcher.ask("notices")
    crashing.tell("crash")
    await clock.settle()
    await ending.stop()
    first, second = await watcher.ask("notices")
    assert first.path == "/hub/a"
    assert isinstance(first.error, Boom)
    assert second == Terminated("/hub/b", None)


async def test_a_watcher_is_told_of_restarts_once_the_actor_runs_again(
    system: ActorSystem, clock: VirtualClock
) -> None:
    ref = system.spawn("/hub", worker("a", Diary()))
    watcher = system.spawn("/hub", ChildSpec("watcher", Watcher, (ref,)))
    await watcher.ask("notices")
    ref.tell("crash")
    await clock.settle()
    assert await watcher.ask("notices") == []
    await clock.advance(1.0)
    ref.kill()
    await clock.advance(2.0)
    notices = await watcher.ask("notices")
    assert all(isinstance(notice, Restarted) for notice in notices)
    assert [type(notice.error) for notice in notices] == [Boom, ActorKilled]


async def test_watching_the_dead_is_answered_at_once(system: ActorSystem) -> None:
    ref = system.spawn("/hub", worker("a", Diary(), restart=Restart.TEMPORARY))
    await ref.stop()
    watcher = system.spawn("/hub", ChildSpec("watcher", Watcher, (ref,)))
    await watcher.ask("notices")
    assert await watcher.ask("notices") == [Terminated("/hub/a", None)]


async def test_notices_wait_for_a_watcher_that_backs_off_and_pass_a_full_mailbox(
    system: ActorSystem, clock: VirtualClock
) -> None:
    class Small(Watcher):
        mailbox_capacity = 1

    ref = system.spawn("/hub", worker("a", Diary(), restart=Restart.TEMPORARY))
    watcher = system.spawn("/hub", ChildSpec("watcher", Small, backoff=QUICK))
    await watcher.ask(ref)  # a message of that type makes it watch
    watcher.kill()
    await clock.settle()
    watcher.tell("fills the mailbox")
    await ref.stop()
    await clock.advance(1.0)
    assert await watcher.ask("notices") == [Terminated("/hub/a", None), "fills the mailbox"]


async def test_watching_twice_tells_once_and_unwatching_ends_it(
    system: ActorSystem, clock: VirtualClock
) -> None:
    ref = system.spawn("/hub", worker("a", Diary(), restart=Restart.TEMPORARY))
    twice = system.spawn("/hub", ChildSpec("twice", Watcher, (ref, ref)))
    never = system.spawn("/hub", ChildSpec("never", Calling))
    await twice.ask("notices")
    await never.ask(lambda actor: actor.watch(ref))
    await never.ask(lambda actor: actor.unwatch(ref))
    await ref.stop()
    assert await twice.ask("notices") == [Terminated("/hub/a", None)]
    assert system.info("/hub/never").restarts == 0


async def test_a_watcher_that_ends_leaves_nothing_behind(system: ActorSystem) -> None:
    ref = system.spawn("/hub", worker("a", Diary()))
    for number in range(10):
        watcher = system.spawn("/hub", ChildSpec(f"w{number}", Watcher, (ref,)))
        await watcher.ask("notices")
        await system.stop_child(watcher.path)
    assert ref.actor_inbox.extras.watchers == set()
