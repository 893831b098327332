import asyncio
from dataclasses import dataclass
from typing import Any

from actors.runtime import ActorState, ActorSystem, ChildSpec, Timer, VirtualClock
from tests.actors.runtime.actors import QUICK, Boom, Calling, Diary, Worker, worker


@dataclass(frozen=True)
class In:
    delay_s: float
    what: str


class Ticking(Worker):
    """Schedules what it is told to."""

    def on_receive(self, message: Any) -> Any:
        if isinstance(message, In):
            return self.schedule(message.delay_s, message.what)
        return super().on_receive(message)


async def test_a_timer_tells_the_actor_its_message_in_time(
    system: ActorSystem, clock: VirtualClock
) -> None:
    ref = system.spawn("/hub", worker("a", Diary(), actor_class=Ticking))
    ref.tell(In(2.0, "second"))
    timer: Timer = await ref.ask(In(1.0, "first"))
    pending = [timer.is_pending]
    await clock.advance(1.5)
    assert await ref.ask("got") == ["first"]
    pending.append(timer.is_pending)
    assert pending == [True, False]
    await clock.advance(1.0)
    assert await ref.ask("got") == ["first", "second"]


async def test_a_cancelled_timer_is_silent_even_if_its_message_waits_already(
    system: ActorSystem, clock: VirtualClock
) -> None:
    ref = system.spawn("/hub", ChildSpec("calling", Calling))
    gate = asyncio.Event()
    calls: list[str] = []
    timer: Timer = await ref.ask(lambda actor: actor.schedule(1.0, lambda _: calls.append("no")))
    ref.tell(lambda actor: gate.wait())
    await clock.advance(2.0)
    timer.cancel()
    timer.cancel()
    gate.set()
    await ref.ask(lambda actor: None)
    assert calls == []


async def test_timers_end_with_their_instance(system: ActorSystem, clock: VirtualClock) -> None:
    ref = system.spawn("/hub", worker("a", Diary(), actor_class=Ticking))
    ref.tell(In(1.5, "from the old instance"))
    ref.tell("crash")
    await clock.advance(5.0)
    assert await ref.ask("got") == []


async def test_a_timers_message_passes_a_full_mailbox(
    system: ActorSystem, clock: VirtualClock
) -> None:
    class Small(Calling):
        mailbox_capacity = 1

    ref = system.spawn("/hub", ChildSpec("small", Small))
    calls: list[str] = []
    gate = asyncio.Event()
    await ref.ask(lambda actor: actor.schedule(1.0, lambda _: calls.append("timer")))
    ref.tell(lambda actor: gate.wait())
    await clock.settle()
    ref.tell(lambda actor: calls.append("waiting"))
    await clock.advance(2.0)
    gate.set()
    await clock.settle()
    assert calls == ["waiting", "timer"]


async def test_a_failing_task_is_the_actors_failure(
    system: ActorSystem, clock: VirtualClock
) -> None:
    async def fail() -> None:
        await asyncio.sleep(0)
        raise Boom("in a task")

    ref = system.spawn("/hub", ChildSpec("calling", Calling, backoff=QUICK))
    await ref.ask(lambda actor: actor.create_task(fail()) and None)
    await clock.settle()
    info = system.info("/hub/calling")
    assert info.state is ActorState.BACKING_OFF
    assert info.last_error == "Boom: in a task"
    await clock.advance(1.0)
    assert system.info("/hub/calling").state is ActorState.RUNNING


async def test_a_failing_task_interrupts_the_handler_that_waits_for_it(
    system: ActorSystem, clock: VirtualClock
) -> None:
    never = asyncio.Event()

    async def fail() -> None:
        raise Boom("in a task")

    async def wait_for_it(actor: Calling) -> None:
        actor.create_task(fail())
        await never.wait()

    ref = system.spawn("/hub", ChildSpec("calling", Calling, backoff=QUICK))
    ref.tell(wait_for_it)
    await clock.advance(1.0)
    assert await ref.ask(lambda actor: "back") == "back"


async def test_tasks_are_cancelled_and_unwound_before_the_next_instance_starts(
    system: ActorSystem, clock: VirtualClock
) -> None:
    diary = Diary()

    class Working(Calling):
        def on_start(self) -> None:
            diary("start")
            self.create_task(self.work())

        async def work(self) -> None:
            try:
                await asyncio.Event().wait()
            finally:
                await asyncio.sleep(0)
                diary("unwound")

    ref = system.spawn("/hub", ChildSpec("working", Working, backoff=QUICK))
    await ref.ask(lambda actor: None)
    await system.restart("/hub/working")
    ref.kill()
    await clock.advance(1.0)
    await system.stop_child("/hub/working")
    assert diary.entries == ["start", "unwound"] * 3


async def test_on_stop_can_still_use_the_actors_tasks(system: ActorSystem) -> None:
    diary = Diary()

    class Flushing(Calling):
        def on_start(self) -> None:
            self.jobs: asyncio.Queue[int] = asyncio.Queue()
            self.create_task(self.work())

        async def work(self) -> None:
            while True:
                diary("flushed", await self.jobs.get())
                self.jobs.task_done()

        async def on_stop(self) -> None:
            await self.jobs.join()

    ref = system.spawn("/hub", ChildSpec("flushing", Flushing))
    for number in range(3):
        await ref.ask(lambda actor, number=number: actor.jobs.put_nowait(number))
    await system.stop_child("/hub/flushing")
    assert diary.of("flushed") == [(0,), (1,), (2,)]
