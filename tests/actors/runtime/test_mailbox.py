import asyncio
from typing import Any

import pytest
from pykka import ActorDeadError

from actors.runtime import (
    Actor,
    ActorRef,
    ActorSystem,
    ChildSpec,
    DropReason,
    MailboxFull,
    Overflow,
    VirtualClock,
)
from protocols.errors import HubFull


class Gated(Actor):
    """Handles messages only while its gate is open."""

    mailbox_capacity = 3

    def __init__(self, gate: asyncio.Event) -> None:
        super().__init__()
        self.gate = gate
        self.got: list[Any] = []

    async def on_receive(self, message: Any) -> list[Any]:
        await self.gate.wait()
        self.got.append(message)
        return self.got


class DropsOldest(Gated):
    mailbox_overflow = Overflow.DROP_OLDEST


class DropsNewest(Gated):
    mailbox_overflow = Overflow.DROP_NEWEST


@pytest.fixture
def gate() -> asyncio.Event:
    return asyncio.Event()


async def filled(
    system: ActorSystem, gate: asyncio.Event, actor_class: type[Gated]
) -> ActorRef[Any]:
    """An actor busy with message 0 while 1, 2 and 3 fill its mailbox."""
    ref = system.spawn("/hub", ChildSpec("gated", actor_class, (gate,)))
    ref.tell(0)
    for _ in range(10):
        await asyncio.sleep(0)
    assert system.info("/hub/gated").mailbox_length == 0
    for number in (1, 2, 3):
        ref.tell(number)
    return ref


async def test_a_full_mailbox_that_fails_leaves_the_message_with_its_sender(
    system: ActorSystem, gate: asyncio.Event, clock: VirtualClock
) -> None:
    ref = await filled(system, gate, Gated)
    with pytest.raises(MailboxFull, match="/hub/gated") as caught:
        ref.tell(4)
    assert isinstance(caught.value, HubFull)
    with pytest.raises(MailboxFull):
        await ref.ask(5)
    assert system.info("/hub/gated").refused == 2
    assert system.dead_letters.total == 0
    gate.set()
    await clock.settle()
    assert (await ref.ask("last"))[:4] == [0, 1, 2, 3]


async def test_drop_oldest_makes_room_at_the_head_and_counts(
    system: ActorSystem, gate: asyncio.Event, clock: VirtualClock
) -> None:
    ref = await filled(system, gate, DropsOldest)
    ref.tell(4)
    gate.set()
    await clock.settle()
    assert await ref.ask("last") == [0, 2, 3, 4, "last"]
    assert system.dead_letters.counts == {DropReason.DROP_OLDEST: 1}
    assert system.dead_letters.recent()[0].message == 1
    assert system.info("/hub/gated").dropped == 1


async def test_drop_newest_refuses_quietly_and_counts(
    system: ActorSystem, gate: asyncio.Event, clock: VirtualClock
) -> None:
    ref = await filled(system, gate, DropsNewest)
    ref.tell(4)
    gate.set()
    await clock.settle()
    assert await ref.ask("last") == [0, 1, 2, 3, "last"]
    assert system.dead_letters.recent()[0].reason is DropReason.DROP_NEWEST


async def test_an_asker_whose_message_is_dropped_is_told(
    system: ActorSystem, gate: asyncio.Event
) -> None:
    ref = await filled(system, gate, DropsNewest)
    with pytest.raises(ActorDeadError, match="drop_newest"):
        await ref.ask(4)
    gate.set()


async def test_a_request_to_stop_gets_into_a_full_mailbox_and_is_never_dropped(
    system: ActorSystem, gate: asyncio.Event, clock: VirtualClock
) -> None:
    for actor_class in (Gated, DropsOldest, DropsNewest):
        gate.clear()
        ref = await filled(system, gate, actor_class)
        stopping = asyncio.create_task(system.stop_child("/hub/gated"))
        await asyncio.sleep(0)
        gate.set()
        await stopping
        assert not ref.is_alive()


async def test_offer_waits_for_room_in_the_order_of_arrival(
    system: ActorSystem, gate: asyncio.Event, clock: VirtualClock
) -> None:
    ref = await filled(system, gate, Gated)
    offers = [asyncio.create_task(ref.offer(number)) for number in range(4, 14)]
    await clock.settle()
    assert not any(offer.done() for offer in offers)
    gate.set()
    await asyncio.gather(*offers)
    assert await ref.ask("last") == [*range(14), "last"]
    assert system.info("/hub/gated").dropped == 0


async def test_an_offer_that_is_cancelled_does_not_take_the_room_along(
    system: ActorSystem, gate: asyncio.Event, clock: VirtualClock
) -> None:
    ref = await filled(system, gate, Gated)
    first = asyncio.create_task(ref.offer("first"))
    second = asyncio.create_task(ref.offer("second"))
    await clock.settle()
    first.cancel()
    gate.set()
    await asyncio.wait_for(second, 2)
    assert "second" in await ref.ask("last")


async def test_an_offer_to_an_actor_that_stops_meanwhile_raises(
    system: ActorSystem, gate: asyncio.Event, clock: VirtualClock
) -> None:
    ref = await filled(system, gate, Gated)
    offer = asyncio.create_task(ref.offer("late"))
    await clock.settle()
    stopping = asyncio.create_task(system.stop_child("/hub/gated"))
    gate.set()
    await stopping
    with pytest.raises(ActorDeadError):
        await offer


async def test_a_refused_message_of_another_thread_becomes_a_dead_letter(
    system: ActorSystem, gate: asyncio.Event, clock: VirtualClock
) -> None:
    ref = await filled(system, gate, Gated)
    await asyncio.to_thread(ref.tell, "from outside")
    await clock.settle()
    assert system.dead_letters.counts == {DropReason.MAILBOX_FULL: 1}
    gate.set()


async def test_a_capacity_of_zero_is_refused(system: ActorSystem) -> None:
    class Zero(Actor):
        mailbox_capacity = 0

    with pytest.raises(ValueError, match="mailbox_capacity"):
        system.spawn("/hub", ChildSpec("zero", Zero))


async def test_the_oldest_messages_age_is_shown(
    system: ActorSystem, gate: asyncio.Event, clock: VirtualClock
) -> None:
    ref = await filled(system, gate, Gated)
    await clock.advance(90.0)
    age_s = system.info("/hub/gated").oldest_age_s
    assert age_s is not None
    assert age_s >= 90.0
    gate.set()
    await clock.settle()
    await ref.ask("last")
    assert system.info("/hub/gated").oldest_age_s is None
