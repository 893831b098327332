"""Sending again what people wished for, with the clock in the test's hand."""

import asyncio
from collections.abc import AsyncIterator, Collection
from pathlib import Path

import pytest

from actors.delivery import redelivery as redelivery_actor
from actors.delivery.redelivery import RedeliveryActor
from actors.runtime import ActorSystem, ChildSpec, VirtualClock
from protocols.errors import StorageUnavailable
from protocols.messages import TargetId
from storage import open_database
from storage.database import Transaction
from storage.delivery import redelivery
from storage.delivery.outbox import DeliveryState, OutboxItem
from storage.delivery.redelivery import Redelivery, Wish
from storage.delivery.redelivery_slices import RedeliverySlices
from tests.conformance.test_outbox import make_target
from tests.support.database_in_virtual_time import DatabaseInVirtualTime
from tests.support.pipeline import NOW, TARGET, Pipeline, outcome, pipeline_on, result, uplink

DEAD = 300


class Scene:
    """Some hundred dead letters, and an actor that sends them again on request."""

    def __init__(self, system: ActorSystem, clock: VirtualClock, pipeline: Pipeline) -> None:
        self.system = system
        self.clock = clock
        self.pipeline = pipeline
        self.slices = RedeliverySlices(DatabaseInVirtualTime(pipeline.database, clock))
        self.woken: list[TargetId] = []

    async def die(self) -> None:
        pipeline = self.pipeline
        uplinks = [uplink(number + 1) for number in range(DEAD)]
        await asyncio.gather(*(pipeline.journal.append(one) for one in uplinks))
        await pipeline.commit(*map(result, pipeline.entries))
        items = await pipeline.waiting()
        await self.pipeline.outbox.record([outcome(item, DeliveryState.DEAD) for item in items])

    async def start(self) -> None:
        def wake(target_ids: Collection[TargetId]) -> None:
            self.woken += target_ids

        arguments = {"slices": self.slices, "wake": wake}
        self.system.spawn("/hub", ChildSpec("redelivery", RedeliveryActor, (), arguments))
        await self.clock.settle()

    async def wish(self, rate_per_s: int = 10_000) -> None:
        def unit(transaction: Transaction) -> int:
            return redelivery.create(transaction, TARGET, Wish(rate_per_s=rate_per_s), NOW)

        await self.pipeline.database.write(unit)

    async def shown(self) -> list[Redelivery]:
        return await self.pipeline.database.read(
            lambda reader: redelivery.list_of_target(reader, TARGET, 9)
        )

    async def made(self) -> int:
        return sum(wish.made for wish in await self.shown())

    async def waiting(self) -> list[OutboxItem]:
        return await self.pipeline.waiting(now=NOW)


@pytest.fixture
async def scene(tmp_path: Path) -> AsyncIterator[Scene]:
    database = open_database(f"sqlite:///{tmp_path / 'hub.db'}")
    await database.open()
    clock = VirtualClock(NOW)
    system = ActorSystem(clock=clock)
    await system.start()
    async with pipeline_on(database) as pipeline:
        await database.write(lambda transaction: make_target(transaction, TARGET))
        yield Scene(system, clock, pipeline)
        await system.stop(5.0)
    await database.close()


async def test_wish_is_found_within_a_second_carried_out_and_the_target_woken(
    scene: Scene,
) -> None:
    await scene.die()
    await scene.start()
    await scene.wish()
    await scene.clock.advance(1.5)
    assert [(wish.state, wish.made) for wish in await scene.shown()] == [("finished", DEAD)]
    assert len(await scene.waiting()) == DEAD
    assert set(scene.woken) == {TARGET}


async def test_rate_of_a_wish_is_kept(scene: Scene) -> None:
    await scene.die()
    await scene.wish(rate_per_s=20)
    await scene.start()
    begun = await scene.made()
    assert begun <= 20
    for seconds in (1, 2, 3):
        await scene.clock.advance(1.0)
        assert begun + 20 * (seconds - 1) <= await scene.made() <= begun + 20 * (seconds + 1)
    await scene.clock.advance(20.0)
    assert await scene.made() == DEAD


async def test_target_that_takes_nothing_has_no_more_than_so_many_waiting(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(redelivery_actor, "AHEAD", 50)
    await scene.die()
    await scene.wish()
    await scene.start()
    await scene.clock.advance(60.0)
    waiting = await scene.waiting()
    assert len(waiting) == 50
    await scene.pipeline.outbox.record([outcome(item) for item in waiting[:20]])
    await scene.clock.advance(2.0)
    assert (len(await scene.waiting()), await scene.made()) == (50, 70)


async def test_actor_that_is_restarted_goes_on_where_it_was(scene: Scene) -> None:
    await scene.die()
    await scene.wish(rate_per_s=100)
    await scene.start()
    for _ in range(10):
        await scene.clock.advance(0.5)
        await scene.system.restart("/hub/redelivery")
    assert await scene.made() == len(await scene.waiting()) == DEAD
    balance = await scene.pipeline.balance()
    assert balance.deliveries.created == 2 * DEAD


async def test_two_actors_at_once_make_nothing_twice(scene: Scene) -> None:
    await scene.die()
    await scene.wish()
    await scene.wish()
    arguments = {"slices": scene.slices, "wake": lambda _ids: None}
    scene.system.spawn("/hub", ChildSpec("predecessor", RedeliveryActor, (), arguments))
    await scene.start()
    await scene.clock.advance(5.0)
    assert {wish.state for wish in await scene.shown()} == {"finished"}
    assert await scene.made() == len(await scene.waiting()) == DEAD


async def test_database_that_is_away_for_a_while_ends_nothing(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def refuse() -> list[Redelivery]:
        raise StorageUnavailable("The database is away.")

    await scene.die()
    await scene.wish()
    with monkeypatch.context() as patch:
        patch.setattr(scene.slices, "open_wishes", refuse)
        await scene.start()
        await scene.clock.advance(30.0)
        assert await scene.made() == 0
    await scene.clock.advance(1.5)
    assert await scene.made() == DEAD
    assert scene.system.info("/hub/redelivery").restarts == 0


async def test_two_wishes_of_one_target_share_what_may_wait(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(redelivery_actor, "AHEAD", 50)
    await scene.die()
    await scene.wish(rate_per_s=100)
    await scene.wish(rate_per_s=100)
    await scene.start()
    await scene.clock.advance(10.0)
    assert len(await scene.waiting()) == 50
