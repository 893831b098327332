import asyncio
from typing import Any

import pykka
import pytest

from actors.runtime import (
    Actor,
    ActorState,
    ActorSystem,
    Backoff,
    ChildSpec,
    VirtualClock,
)
from tests.actors.runtime.actors import (
    QUICK,
    AsyncWorker,
    Calling,
    Diary,
    Worker,
    starts,
    supervisor,
    worker,
)


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


async def test_a_handler_that_cancels_its_own_task_crashes_its_actor_only(
    system: ActorSystem, clock: VirtualClock
) -> None:
    async def cancel_oneself(actor: Calling) -> None:
        task = asyncio.current_task()
        assert task is not None
        task.cancel()
        await asyncio.sleep(0)

    ref = system.spawn("/hub", ChildSpec("calling", Calling, backoff=QUICK))
    other = system.spawn("/hub", worker("other", Diary(), actor_class=AsyncWorker))
    ref.tell(cancel_oneself)
    await clock.settle()
    assert await other.ask("served") == "served"
    await asyncio.sleep(0.06)  # the runtime waits for real, to tell this from a closing loop
    await clock.advance(1.0)
    assert await ref.ask(lambda actor: "back") == "back"
    assert system.info(ref.path).restarts == 1


def test_what_is_no_exception_stops_every_actor_and_leaves_the_loop() -> None:
    diary = Diary()

    class Leaving(Actor):
        def on_receive(self, message: Any) -> None:
            raise SystemExit(3)

    async def main() -> None:
        system = ActorSystem()
        await system.start()
        system.spawn("/hub", worker("other", diary))
        await asyncio.sleep(0.01)
        system.spawn("/hub", ChildSpec("leaving", Leaving)).tell("go")
        await asyncio.sleep(10)

    with pytest.raises(SystemExit):
        asyncio.run(main())
    for ref in pykka.ActorRegistry.get_all():
        pykka.ActorRegistry.unregister(ref)


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
