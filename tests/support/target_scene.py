"""A TargetActor on a real outbox in virtual time, with a receiver that answers as it is told."""

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from datetime import datetime, timedelta
from pathlib import Path
from typing import Self

from sqlalchemy import select

from actors.delivery.target import CAPACITY, TargetActor
from actors.runtime import ActorRef, ActorSystem, ChildSpec, VirtualClock
from protocols.errors import DeliveryError, DeliveryFault, DeliveryRetryable
from protocols.messages import DeliveryId, MessageId, TargetId
from protocols.targets import Delivered, Outcome, Push, Target, TargetResources
from protocols.targets.policy import DeliveryPolicy
from storage import Database, open_database
from storage.delivery.outbox import Outbox, OutboxItem, outbox_items
from storage.tables.pipeline import delivery
from tests.support.database_in_virtual_time import DatabaseInVirtualTime
from tests.support.pipeline import NOW, TARGET, Pipeline, pipeline_on, result, uplink

DOWN = DeliveryRetryable("Nobody is there.", fault=DeliveryFault.CONNECTION)
BUSY = DeliveryRetryable("It is busy.")


class Receiver(Target):
    """Answers each push as it is told, and remembers all of them."""

    kind = "TEST"

    def __init__(self) -> None:
        self.answer: Callable[[Push], Outcome] = lambda _push: Delivered(duration_s=0.001)
        self.batches: list[list[Push]] = []
        self.most_at_once = self.at_once = 0
        self.may_answer = asyncio.Event()
        self.may_answer.set()

    @classmethod
    def from_settings(cls, settings: Mapping[str, object], resources: TargetResources) -> Self:
        raise NotImplementedError

    async def open(self) -> None:
        """Nothing to open."""

    async def close(self) -> None:
        """Nothing to close."""

    async def deliver(self, batch: Sequence[Push]) -> Sequence[Outcome]:
        self.batches.append(list(batch))
        self.at_once += 1
        self.most_at_once = max(self.most_at_once, self.at_once)
        await self.may_answer.wait()
        self.at_once -= 1
        return [self.answer(push) for push in batch]

    def fail_with(self, error: DeliveryError) -> None:
        self.answer = lambda _push: error

    def heal(self) -> None:
        self.answer = lambda _push: Delivered(duration_s=0.001)

    @property
    def pushed(self) -> list[MessageId]:
        return [push.message_id for batch in self.batches for push in batch]


class JumpingClock(VirtualClock):
    """Somebody sets the wall clock; what is counted in seconds goes on as before."""

    ahead = timedelta()

    def now(self) -> datetime:
        return super().now() + self.ahead


class Scene:
    def __init__(self, pipeline: Pipeline, database: Database, clock: JumpingClock) -> None:
        self.pipeline = pipeline
        self.database = database
        self.clock = clock
        self.receiver = Receiver()
        self.outbox = Outbox(database, clock.now)
        self.system = ActorSystem(clock=clock)
        self.started = 0

    async def make(self, *device_ids: int) -> list[OutboxItem]:
        """Commit a delivery for each, without telling anybody."""
        entries = await self.pipeline.accept(*(uplink(device_id) for device_id in device_ids))
        report = await self.pipeline.commit(*(result(entry) for entry in entries))
        return outbox_items(report.written)

    def start(
        self, policy: DeliveryPolicy | None = None, *, capacity: int = CAPACITY
    ) -> ActorRef[TargetActor]:
        async def open_target(_target_id: TargetId) -> tuple[Target, DeliveryPolicy]:
            await self.receiver.open()
            return self.receiver, policy or DeliveryPolicy()

        self.started += 1
        arguments = {
            "outbox": self.outbox,
            "open_target": open_target,
            "capacity": capacity,
        }
        spec = ChildSpec(f"target-{self.started}", TargetActor, (TARGET,), arguments)
        return self.system.spawn("/hub", spec)

    async def pass_time(self, duration_s: float) -> None:
        await self.clock.advance(duration_s)

    async def attempts_of(self, item: OutboxItem) -> int:
        statement = select(delivery.c.attempts).where(delivery.c.delivery_id == item.delivery_id)
        row = await self.database.read(lambda reader: reader.fetch_one(statement))
        assert row is not None
        return int(row.attempts)


class BatchScene:
    """A target that takes several messages as one thing."""

    def __init__(self, scene: Scene, most: int) -> None:
        self.scene = scene
        scene.receiver.batch_size = most
        scene.receiver.freezes_batches = True

    def sent(self) -> list[tuple[DeliveryId | None, list[MessageId]]]:
        return [
            (batch[0].batch_id, [push.message_id for push in batch])
            for batch in self.scene.receiver.batches
        ]


@asynccontextmanager
async def target_scene(tmp_path: Path) -> AsyncIterator[Scene]:
    """A scene on a database of its own, with nothing in it and no actor running."""
    inner = open_database(f"sqlite:///{tmp_path / 'hub.db'}")
    await inner.open()
    clock = JumpingClock(NOW)
    database = DatabaseInVirtualTime(inner, clock)
    await database.open()
    async with pipeline_on(database) as pipeline:
        scene = Scene(pipeline, database, clock)
        await scene.system.start()
        yield scene
        await scene.system.stop(2.0)
    await inner.close()
