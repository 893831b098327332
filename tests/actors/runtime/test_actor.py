import asyncio
import gc
import threading
import weakref
from typing import Any

import pykka
import pytest

from actors.runtime import Actor, ActorRef, ActorSystem, ChildSpec, VirtualClock, WouldDeadlock
from tests.actors.runtime.actors import AsyncWorker, Boom, Calling, Diary, Worker, worker


async def test_messages_are_handled_in_the_order_they_were_told(system: ActorSystem) -> None:
    ref = system.spawn("/hub", worker("a", Diary()))
    for number in range(1_000):
        ref.tell(number)
    assert await ref.ask("got") == list(range(1_000))


async def test_a_suspended_handler_is_never_overtaken_by_the_next_message(
    system: ActorSystem,
) -> None:
    running = 0
    overlaps = 0

    class Careful(Actor):
        async def on_receive(self, message: Any) -> None:
            nonlocal running, overlaps
            running += 1
            overlaps += running > 1
            for _ in range(message % 3):
                await asyncio.sleep(0)
            running -= 1

    ref = system.spawn("/hub", ChildSpec("careful", Careful))
    for number in range(100):
        ref.tell(number)
    await ref.ask(0)
    assert overlaps == 0


async def test_suspended_handlers_of_different_actors_overlap(system: ActorSystem) -> None:
    gate = asyncio.Event()
    refs = [
        system.spawn("/hub", worker(f"w{number}", Diary(), actor_class=AsyncWorker))
        for number in range(100)
    ]
    waiting = [ref.ask(gate) for ref in refs]
    await asyncio.sleep(0)
    other = system.spawn("/hub", worker("other", Diary()))
    assert await other.ask("still served") == "still served"
    gate.set()
    for answer in waiting:
        assert await answer is None


async def test_the_exception_of_an_asked_handler_goes_to_the_asker_and_the_actor_lives(
    system: ActorSystem,
) -> None:
    for actor_class in (Worker, AsyncWorker):
        ref = system.spawn("/hub", worker(actor_class.__name__, Diary(), actor_class=actor_class))
        with pytest.raises(Boom):
            await ref.ask("crash")
        assert await ref.ask("fine") == "fine"
        assert system.info(ref.path).restarts == 0


async def test_messages_wait_until_on_start_is_through(
    system: ActorSystem, clock: VirtualClock
) -> None:
    gate = asyncio.Event()

    class Slow(Actor):
        is_ready = False

        async def on_start(self) -> None:
            await gate.wait()
            self.is_ready = True

        def on_receive(self, message: Any) -> bool:
            return self.is_ready

    ref = system.spawn("/hub", ChildSpec("slow", Slow))
    answer = ref.ask("ready?")
    await clock.settle()
    assert not answer.is_done
    assert system.info("/hub/slow").state == "starting"
    gate.set()
    assert await answer is True


async def test_tasks_a_handler_returns_are_awaited_but_pykka_futures_are_values(
    system: ActorSystem,
) -> None:
    class Delegating(Actor):
        def on_receive(self, message: Any) -> Any:
            if message == "ask oneself":
                return self.actor_ref.ask("plain")
            if message == "task":
                return asyncio.get_running_loop().create_task(asyncio.sleep(0, "slept"))
            return message

    ref = system.spawn("/hub", ChildSpec("delegating", Delegating))
    assert await ref.ask("task") == "slept"
    assert await (await ref.ask("ask oneself")) == "plain"


async def test_an_ask_gives_up_after_its_timeout(system: ActorSystem, clock: VirtualClock) -> None:
    ref = system.spawn("/hub", worker("a", Diary(), actor_class=AsyncWorker))
    gate = asyncio.Event()
    late = ref.ask(gate, timeout_s=5.0)
    await clock.advance(4.9)
    assert not late.is_done
    await clock.advance(0.2)
    with pytest.raises(pykka.Timeout, match="/hub/a"):
        await late
    gate.set()
    assert await ref.ask("on", timeout_s=5.0) == "on"


async def test_blocking_calls_on_the_loop_raise_at_once(system: ActorSystem) -> None:
    ref = system.spawn("/hub", worker("a", Diary()))
    with pytest.raises(WouldDeadlock):
        ref.ask("got", block=True)
    with pytest.raises(WouldDeadlock):
        ref.stop(block=True)
    with pytest.raises(WouldDeadlock):
        ref.actor_stopped.wait()
    with pytest.raises(WouldDeadlock):
        pykka.ActorRegistry.stop_all()


async def test_threads_tell_and_ask_and_block(system: ActorSystem) -> None:
    ref = system.spawn("/hub", worker("a", Diary()))

    def work() -> None:
        for number in range(200):
            ref.tell(number)
        assert ref.ask("from a thread", block=True, timeout=5) == "from a thread"
        assert ref.ask("again").get(timeout=5) == "again"

    await asyncio.gather(*(asyncio.to_thread(work) for _ in range(4)))
    got = await ref.ask("got")
    assert len(got) == 4 * 202
    assert sorted(entry for entry in got if isinstance(entry, int)) == sorted(list(range(200)) * 4)


async def test_a_thread_can_stop_an_actor_and_wait_for_it(system: ActorSystem) -> None:
    ref = Worker.start("loose", Diary())
    assert await asyncio.to_thread(ref.stop, block=True, timeout=5) is True
    assert await asyncio.to_thread(ref.actor_stopped.wait, 5) is True
    assert await ref.stop() is False
    with pytest.raises(pykka.ActorDeadError):
        await asyncio.to_thread(ref.tell, "too late")
    with pytest.raises(pykka.ActorDeadError):
        await asyncio.to_thread(ref.ask, "too late", block=True)


async def test_it_is_a_real_pykka_actor(system: ActorSystem) -> None:
    diary = Diary()
    ref = Worker.start("loose", diary)
    actor_class: Any = Worker  # to the type checker, Actor is none of pykka's: see pykka_actor.py
    assert issubclass(actor_class, pykka.Actor)
    assert isinstance(ref, pykka.ActorRef)
    assert isinstance(ref, ActorRef)
    assert ref.is_alive()
    assert pykka.ActorRegistry.get_by_class(actor_class) == [ref]
    assert pykka.ActorRegistry.get_by_urn(ref.actor_urn) == ref
    assert pykka.ActorRegistry.get_by_class_name("Worker") == [ref]
    answer = ref.ask("hello")
    assert isinstance(answer, pykka.Future)
    assert await answer == "hello"
    pykka.ActorRegistry.broadcast("to all", actor_class)
    assert await ref.ask("got") == ["hello", "to all"]
    assert await ref.stop() is True
    assert pykka.ActorRegistry.get_by_class(actor_class) == []
    with pytest.raises(pykka.ActorDeadError):
        ref.tell("too late")
    with pytest.raises(pykka.ActorDeadError):
        await ref.ask("too late")
    assert diary.of("stop") == [("loose",)]


async def test_proxies_work(system: ActorSystem) -> None:
    class Adder(Actor):
        total = 0

        def add(self, left: int, right: int) -> int:
            self.total = left + right
            return self.total

        async def later(self) -> str:
            await asyncio.sleep(0)
            return "later"

    ref = system.spawn("/hub", ChildSpec("adder", Adder))
    await ref.ask("started")
    proxy: Any = ref.proxy()
    assert await proxy.add(1, 2) == 3
    assert await proxy.total == 3
    assert await proxy.later() == "later"
    proxy.add.defer(5, 6)
    assert await proxy.total == 11


async def test_the_actor_can_use_its_own_address_in_its_constructor(system: ActorSystem) -> None:
    class Eager(Actor):
        def __init__(self) -> None:
            super().__init__()
            self.first_path = self.path
            self.actor_ref.tell("from the constructor")
            self.got: list[Any] = []

        def on_receive(self, message: Any) -> Any:
            self.got.append(message)
            return self.first_path, self.got

    ref = system.spawn("/hub", ChildSpec("eager", Eager))
    await ref.ask("early")
    assert await ref.ask("late") == ("/hub/eager", ["from the constructor", "early", "late"])


async def test_an_idle_actor_is_not_collected(system: ActorSystem) -> None:
    ref = system.spawn("/hub", worker("a", Diary()))
    await ref.ask("hello")
    gc.collect()
    assert await ref.ask("got") == ["hello"]


async def test_a_stopped_actors_instance_is_freed_without_the_garbage_collector(
    system: ActorSystem,
) -> None:
    instances: list[weakref.ref[Actor]] = []

    class Mortal(Actor):
        def __init__(self) -> None:
            super().__init__()
            instances.append(weakref.ref(self))

    ref = Mortal.start()
    await ref.ask("hello")
    gc.collect()
    gc.disable()
    try:
        await ref.stop()
        await asyncio.sleep(0)
        assert instances[0]() is None
    finally:
        gc.enable()


async def test_handlers_run_in_a_task_so_that_timeouts_work(
    system: ActorSystem, clock: VirtualClock
) -> None:
    async def impatient(actor: Calling) -> str:
        try:
            async with asyncio.timeout(0.001):
                await asyncio.Event().wait()
        except TimeoutError:
            return "timed out"
        return "never"

    ref = system.spawn("/hub", ChildSpec("calling", Calling))
    assert await ref.ask(impatient) == "timed out"
    assert await ref.ask(impatient) == "timed out"


async def test_asking_oneself_stands_still_but_times_out(
    system: ActorSystem, clock: VirtualClock
) -> None:
    async def ask_oneself(actor: Calling) -> Any:
        return await actor.actor_ref.ask(ask_oneself, timeout_s=2.0)

    ref = system.spawn("/hub", ChildSpec("calling", Calling))
    answer = ref.ask(ask_oneself)
    await clock.advance(2.1)
    with pytest.raises(pykka.Timeout):
        await answer


async def test_an_actor_made_by_hand_is_a_plain_object() -> None:
    actor = Worker("plain", Diary())
    assert actor.on_receive("message") == "message"
    assert "plain" not in str(actor)


async def test_starting_an_actor_where_no_system_runs_says_so() -> None:
    with pytest.raises(RuntimeError, match="no ActorSystem"):
        Worker.start("nowhere", Diary())


async def test_telling_after_the_loop_has_closed_raises(system: ActorSystem) -> None:
    refs: list[ActorRef[Any]] = []

    def run_elsewhere() -> None:
        async def main() -> None:
            other = ActorSystem(name="other")
            await other.start()
            refs.append(other.spawn("/other", worker("a", Diary())))
            await refs[0].ask("hello")

        asyncio.run(main())

    thread = threading.Thread(target=run_elsewhere)
    thread.start()
    thread.join()
    with pytest.raises(pykka.ActorDeadError):
        refs[0].tell("hello?")
    pykka.ActorRegistry.unregister(refs[0])
    for ref in pykka.ActorRegistry.get_all():
        if ref.actor_urn.startswith("urn") and str(ref).endswith("(/other)"):
            pykka.ActorRegistry.unregister(ref)


async def test_fairness_a_busy_actor_does_not_starve_another(
    system: ActorSystem, clock: VirtualClock
) -> None:
    diary = Diary()
    busy = system.spawn("/hub", worker("busy", diary))
    quiet = system.spawn("/hub", worker("quiet", diary))
    await quiet.ask("ready")
    for number in range(1_000):
        busy.tell(number)
    await quiet.ask("now")
    assert diary.of("message").index(("quiet", "now")) < 200
