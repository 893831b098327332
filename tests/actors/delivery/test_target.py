"""A data target's actor over a real outbox, with a receiver and a clock in the test's hand."""

import asyncio
from collections.abc import AsyncIterator, Collection, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Self

import pytest

from actors.delivery.target import TargetActor
from actors.messages import DeliveriesCreated, Tick
from actors.runtime import ActorRef, ActorSystem, ChildSpec, VirtualClock
from protocols.errors import DeliveryRetryable
from protocols.messages import DeliveryId, MessageId, TargetId
from protocols.targets import Delivered, Outcome, Push, Target, TargetResources
from protocols.targets.policy import DeliveryPolicy, Ordering
from storage import Database, open_database
from storage.delivery.outbox import DeliveryOutcome, Outbox, OutboxItem, TargetNote
from storage.leases import Lease
from tests.support.pipeline import NOW, TARGET, Pipeline, pipeline_on, result, uplink

PATIENCE_S = 5.0
# The first retry comes after five seconds, give or take a fifth.
PAST_FIRST_RETRY_S = 7.0


class Receiver(Target):
    """Fails as often as it is told to, and remembers whose message each push was."""

    kind = "TEST"

    def __init__(self) -> None:
        self.failures_left = 0
        self.pushed: list[MessageId] = []
        self._arrived = asyncio.Condition()

    @classmethod
    def from_settings(cls, settings: Mapping[str, object], resources: TargetResources) -> Self:
        return cls()

    async def open(self) -> None:
        """Nothing to open."""

    async def close(self) -> None:
        """Nothing to close."""

    async def deliver(self, batch: Sequence[Push]) -> Sequence[Outcome]:
        async with self._arrived:
            self.pushed += [push.message_id for push in batch]
            self._arrived.notify_all()
        if self.failures_left:
            self.failures_left -= 1
            return [DeliveryRetryable("It is busy.") for _ in batch]
        return [Delivered(duration_s=0.001) for _ in batch]

    async def wait_for(self, pushes: int) -> list[MessageId]:
        async with asyncio.timeout(PATIENCE_S), self._arrived:
            await self._arrived.wait_for(lambda: len(self.pushed) >= pushes)
        return self.pushed


class SlowOutbox(Outbox):
    """Records, and answers its readers, only while it may."""

    def __init__(self, database: Database) -> None:
        super().__init__(database, lambda: NOW)
        self.may_record, self.may_answer = asyncio.Event(), asyncio.Event()
        self.may_record.set()
        self.may_answer.set()
        self.recorded, self.has_read = asyncio.Event(), asyncio.Event()

    async def record(
        self,
        outcomes: Sequence[DeliveryOutcome],
        lease: Lease | None = None,
        note: TargetNote | None = None,
    ) -> list[TargetId]:
        await self.may_record.wait()
        listeners = await super().record(outcomes, lease, note)
        self.recorded.set()
        return listeners

    async def waiting(
        self,
        target_id: TargetId,
        *,
        now: datetime,
        limit: int = 1_000,
        excluding: Collection[DeliveryId] = (),
        ordering: Ordering = Ordering.PER_DEVICE,
    ) -> list[OutboxItem]:
        items = await super().waiting(
            target_id, now=now, limit=limit, excluding=excluding, ordering=ordering
        )
        self.has_read.set()
        await self.may_answer.wait()
        return items


class Scene:
    """The actor and its surroundings."""

    def __init__(self, pipeline: Pipeline) -> None:
        self.pipeline = pipeline
        self.receiver = Receiver()
        self.outbox = SlowOutbox(pipeline.database)
        self.clock = VirtualClock(NOW)
        self.system = ActorSystem(clock=self.clock)

    async def make_deliveries(self, *device_ids: int) -> list[MessageId]:
        """Put them into the outbox without telling the actor."""
        entries = await self.pipeline.accept(*(uplink(device_id) for device_id in device_ids))
        await self.pipeline.commit(*(result(entry) for entry in entries))
        return [entry.uplink.message_id for entry in entries]

    def start(self) -> ActorRef[TargetActor]:
        async def open_target(_target_id: TargetId) -> tuple[Target, DeliveryPolicy]:
            return self.receiver, DeliveryPolicy()

        spec = ChildSpec(
            "7", TargetActor, (TARGET,), {"outbox": self.outbox, "open_target": open_target}
        )
        return self.system.spawn("/hub", spec)


@pytest.fixture
async def scene(tmp_path: Path) -> AsyncIterator[Scene]:
    database = open_database(f"sqlite:///{tmp_path / 'hub.db'}")
    await database.open()
    async with pipeline_on(database) as pipeline:
        scene = Scene(pipeline)
        await scene.system.start()
        yield scene
        await scene.system.stop(2.0)
    await database.close()


async def test_retry_that_was_due_before_it_could_be_recorded_is_made_and_overtaken_by_nothing(
    scene: Scene,
) -> None:
    first, second = await scene.make_deliveries(1, 1)
    scene.receiver.failures_left = 1
    scene.outbox.may_record.clear()
    scene.start()
    await scene.receiver.wait_for(1)
    await scene.clock.advance(PAST_FIRST_RETRY_S)

    scene.outbox.may_record.set()
    await scene.outbox.recorded.wait()
    await scene.clock.advance(0.1)

    assert await scene.receiver.wait_for(3) == [first, first, second]


async def test_delivery_made_while_the_outbox_was_read_is_found_when_the_actor_is_told_to_look(
    scene: Scene,
) -> None:
    scene.outbox.may_answer.clear()
    actor = scene.start()
    await scene.outbox.has_read.wait()
    made = await scene.make_deliveries(1)
    actor.tell(Tick())
    await scene.clock.settle()

    scene.outbox.may_answer.set()

    assert await scene.receiver.wait_for(1) == made


async def test_delivery_that_was_read_and_sent_before_the_actor_is_told_of_it_is_sent_once(
    scene: Scene,
) -> None:
    first, second = await scene.make_deliveries(1, 1)
    waiting = await scene.pipeline.waiting()
    scene.outbox.may_record.clear()
    actor = scene.start()
    await scene.receiver.wait_for(2)

    actor.tell(DeliveriesCreated(waiting))
    await scene.clock.advance(0.1)
    scene.outbox.may_record.set()
    await scene.outbox.recorded.wait()
    (third,) = await scene.make_deliveries(1)
    actor.tell(Tick())

    assert await scene.receiver.wait_for(3) == [first, second, third]
