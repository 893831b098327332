"""The actor of a data target in a hub of several processes: what it may do, and when it may not."""

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from pathlib import Path
from typing import Self, TypeVar

import pytest

from actors.delivery.target import TargetActor
from actors.lease_book import LeaseBook, LeasedTenure
from actors.messages import DeliveriesCreated, LookIntoOutbox, Tick
from actors.runtime import ActorRef, ActorSystem, ChildSpec, VirtualClock
from protocols.messages import DeliveryId, MessageId, TargetId
from protocols.targets import Delivered, Outcome, Push, Target, TargetResources
from protocols.targets.policy import DeliveryPolicy
from storage import Database, open_database
from storage.database import Reader
from storage.delivery.outbox import OutboxItem, outbox_items
from storage.leases import Lease, LeaseSettings, LeaseStore
from tests.support.clock_in_database import ClockInDatabase
from tests.support.database_in_virtual_time import DatabaseInVirtualTime
from tests.support.pipeline import NOW, TARGET, Pipeline, pipeline_on, result, uplink

T = TypeVar("T")

NAME = f"target/{TARGET}"
TTL_S = LeaseSettings().ttl_s
ACT_LIMIT_S = LeaseSettings().act_limit_s


class Receiver(Target):
    """Takes everything, once it may answer, and remembers what it was sent and by whom."""

    kind = "TEST"

    def __init__(self, sent: list[tuple[str, DeliveryId, MessageId]], sender: str) -> None:
        self._sent = sent
        self._sender = sender
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
        self._sent += [(self._sender, push.delivery_id, push.message_id) for push in batch]
        await self.may_answer.wait()
        return [Delivered(duration_s=0.001) for _ in batch]


class Holder:
    """One process that holds the target, or did."""

    def __init__(self, scene: "Scene", name: str) -> None:
        self._scene = scene
        self.name = name
        self.store = LeaseStore(
            scene.database, name, monotonic=self._monotonic, now=ClockInDatabase.now
        )
        self.book = LeaseBook(self._monotonic)
        self.stopped_s: float | None = None
        self.refused: list[Lease] = []
        self.receiver = Receiver(scene.sent, name)

    def _monotonic(self) -> float:
        return self._scene.clock.monotonic() if self.stopped_s is None else self.stopped_s

    async def claim(self) -> bool:
        granted = await self.store.claim([NAME], limit=1)
        self.book.add(granted)
        return bool(granted.leases)

    async def renew(self) -> None:
        self.book.renew(await self.store.renew())

    def start(self, act_limit_s: float = ACT_LIMIT_S) -> ActorRef[TargetActor]:
        (lease,) = self.book.leases
        tenure = LeasedTenure(
            lease, self.book, act_limit_s=act_limit_s, on_refused=self.refused.append
        )

        async def open_target(_target_id: TargetId) -> tuple[Target, DeliveryPolicy]:
            return self.receiver, DeliveryPolicy()

        arguments = {
            "outbox": self._scene.pipeline.outbox,
            "open_target": open_target,
            "tenure": tenure,
        }
        spec = ChildSpec(f"target-of-{self.name}", TargetActor, (TARGET,), arguments)
        return self._scene.system.spawn("/hub", spec)


class ReadCounting(DatabaseInVirtualTime):
    """Counts reads, and makes each take as long as it is told."""

    def __init__(self, database: Database, clock: VirtualClock) -> None:
        super().__init__(database, clock)
        self.reads = 0
        self.read_takes_s = 0.0
        self._virtual = clock

    async def read(self, unit: Callable[[Reader], T]) -> T:
        self.reads += 1
        self._virtual.shift(self.read_takes_s)
        return await super().read(unit)


class Scene:
    def __init__(
        self,
        pipeline: Pipeline,
        database: ReadCounting,
        clock: VirtualClock,
        system: ActorSystem,
    ) -> None:
        self.pipeline = pipeline
        self.database = database
        self.clock = clock
        self.system = system
        self.sent: list[tuple[str, DeliveryId, MessageId]] = []

    async def make_deliveries(self, *device_ids: int) -> list[OutboxItem]:
        """Commit them, without telling anybody."""
        entries = await self.pipeline.accept(*(uplink(device_id) for device_id in device_ids))
        report = await self.pipeline.commit(*(result(entry) for entry in entries))
        return outbox_items(report.written)

    def sent_by(self, holder: Holder) -> list[DeliveryId]:
        return [delivery_id for name, delivery_id, _ in self.sent if name == holder.name]

    async def delivered(self) -> int:
        return (await self.pipeline.balance()).deliveries.delivered


@pytest.fixture
async def scene(tmp_path: Path) -> AsyncIterator[Scene]:
    inner = open_database(f"sqlite:///{tmp_path / 'hub.db'}")
    await inner.open()
    clock = VirtualClock(NOW)
    database = ReadCounting(inner, clock)
    await database.open()
    system = ActorSystem(clock=clock)
    await system.start()
    async with pipeline_on(database) as pipeline:
        yield Scene(pipeline, database, clock, system)
        await system.stop(2.0)
    await inner.close()


async def test_send_begins_only_if_the_lease_outlasts_it_and_goes_on_when_it_is_renewed(
    scene: Scene,
) -> None:
    a = Holder(scene, "a")
    await a.claim()
    actor = a.start()
    await scene.clock.advance(TTL_S - ACT_LIMIT_S)
    items = await scene.make_deliveries(1, 2)
    actor.tell(DeliveriesCreated(items))
    await scene.clock.advance(1)
    assert scene.sent == []

    await a.renew()
    await scene.clock.advance(1)
    assert scene.sent_by(a) == [item.delivery_id for item in items]
    assert await scene.delivered() == 2


async def test_attempt_is_broken_off_at_its_limit_and_made_again_later(scene: Scene) -> None:
    a = Holder(scene, "a")
    await a.claim()
    await scene.make_deliveries(1)
    a.receiver.may_answer.clear()
    a.start(act_limit_s=0.05)

    async with asyncio.timeout(5):
        while not (await scene.pipeline.balance()).deliveries.retrying:
            await scene.clock.settle()
    a.receiver.may_answer.set()
    await scene.clock.advance(7)
    assert await scene.delivered() == 1
    assert len(scene.sent) == 2


async def test_holder_that_was_paused_in_a_send_records_nothing_and_its_successor_repeats_that_one(
    scene: Scene,
) -> None:
    a, b = Holder(scene, "a"), Holder(scene, "b")
    await a.claim()
    first, second = await scene.make_deliveries(1, 1)
    a.receiver.may_answer.clear()
    a.start()
    await scene.clock.settle()
    await scene.clock.advance(TTL_S)
    assert await b.claim()
    b.start()
    await scene.clock.settle()

    a.receiver.may_answer.set()
    await scene.clock.settle()

    assert scene.sent_by(a) == [first.delivery_id]
    assert scene.sent_by(b) == [first.delivery_id, second.delivery_id]
    assert len(a.refused) == 1
    assert await scene.delivered() == 2


async def test_holder_whose_clock_stood_still_records_nothing_and_stops_at_the_first_refusal(
    scene: Scene,
) -> None:
    a, b = Holder(scene, "a"), Holder(scene, "b")
    await a.claim()
    a.receiver.may_answer.clear()
    actor = a.start()
    # It has read the outbox, and knows of nothing but what it is told.
    await scene.clock.settle()
    items = await scene.make_deliveries(1, 1, 1)
    actor.tell(DeliveriesCreated(items[:1]))
    await scene.clock.settle()
    a.stopped_s = scene.clock.monotonic()
    await scene.clock.advance(TTL_S)
    assert await b.claim()
    b.start()
    await scene.clock.settle()
    assert await scene.delivered() == 3

    a.receiver.may_answer.set()
    await scene.clock.settle()
    actor.tell(DeliveriesCreated(items[1:]))
    await scene.clock.advance(30)

    assert scene.sent_by(a) == [items[0].delivery_id]
    assert scene.sent_by(b) == [item.delivery_id for item in items]
    assert await scene.delivered() == 3


async def test_outcome_that_waited_for_the_database_is_recorded_if_nobody_took_over(
    scene: Scene,
) -> None:
    a = Holder(scene, "a")
    await a.claim()
    await scene.make_deliveries(1)
    a.receiver.may_answer.clear()
    a.start()
    await scene.clock.advance(3 * TTL_S)
    a.receiver.may_answer.set()
    await scene.clock.settle()
    assert await scene.delivered() == 1
    assert a.refused == []


async def test_what_is_told_does_not_overtake_what_another_process_has_committed_before(
    scene: Scene,
) -> None:
    a = Holder(scene, "a")
    await a.claim()
    actor = a.start()
    await scene.clock.settle()
    committed_elsewhere = await scene.make_deliveries(1, 2)
    # Their partition is assigned to this process: the roster has every target look again.
    actor.tell(Tick())
    committed_here = await scene.make_deliveries(1, 2)
    actor.tell(DeliveriesCreated(committed_here))
    await a.renew()
    await scene.clock.settle()

    in_order = [item.message_id for item in (*committed_elsewhere, *committed_here)]
    of_device = {item.message_id: item.device_id for item in committed_elsewhere + committed_here}
    sent = [message_id for _, _, message_id in scene.sent]
    assert sorted(sent, key=in_order.index) == in_order
    for device_id in (1, 2):
        assert [one for one in sent if of_device[one] == device_id] == [
            one for one in in_order if of_device[one] == device_id
        ]


async def test_what_another_process_has_made_is_found_when_the_actor_is_woken(
    scene: Scene,
) -> None:
    a = Holder(scene, "a")
    await a.claim()
    actor = a.start()
    await scene.clock.settle()
    await scene.make_deliveries(1)
    assert scene.sent == []
    actor.tell(LookIntoOutbox())
    await scene.clock.settle()
    assert await scene.delivered() == 1


async def test_wake_ups_do_not_make_a_slow_outbox_be_read_all_the_time(scene: Scene) -> None:
    a = Holder(scene, "a")
    await a.claim()
    actor = a.start()
    await scene.clock.settle()
    scene.database.read_takes_s = 0.25
    before = scene.database.reads
    for _ in range(400):
        await a.renew()
        actor.tell(LookIntoOutbox())
        await scene.clock.advance(0.05)
    # Two reads a look: of 20 s at most about a fifth is spent on them.
    assert 8 <= scene.database.reads - before <= 20
