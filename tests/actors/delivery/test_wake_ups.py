"""Waking the processes that hold targets, over signals in the test's hand."""

import asyncio
from collections.abc import AsyncIterator, Collection
from pathlib import Path

import pytest

from actors.delivery.targets import TargetRoster
from actors.delivery.wake_ups import WakeUpActor
from actors.messages import DeliveriesWithdrawn, LookIntoOutbox, WakeElsewhere
from actors.runtime import Actor, ActorRef, ActorSystem, ChildSpec, Supervisor, VirtualClock
from protocols.errors import StorageUnavailable
from protocols.messages import DeliveryId, TargetId
from protocols.targets import Target
from protocols.targets.policy import DeliveryPolicy
from storage import Database, open_database
from storage.delivery.outbox import Outbox
from storage.sealing import SecretBox
from storage.signals import LocalSignals, OnSignal
from storage.target_settings import TargetSettings
from tests.support.pipeline import pipeline_on, result, uplink

HERE, THERE = TargetId(1), TargetId(2)
LOOK_S = 2.0


class SignalsInHand(LocalSignals):
    """Remembers what was signalled; hears and tells nothing while it is broken."""

    def __init__(self) -> None:
        super().__init__()
        self.sent: list[list[TargetId]] = []
        self.is_broken = False
        self.may_send = asyncio.Event()
        self.may_send.set()
        self._break = asyncio.Event()

    async def notify(self, target_ids: Collection[TargetId]) -> None:
        await self.may_send.wait()
        if self.is_broken:
            raise StorageUnavailable("It is broken.")
        self.sent.append(list(target_ids))
        await super().notify(target_ids)

    async def listen(self, on_signal: OnSignal) -> None:
        if self.is_broken:
            raise StorageUnavailable("It is broken.")
        listening = asyncio.create_task(super().listen(on_signal))
        breaking = asyncio.create_task(self._break.wait())
        try:
            await asyncio.wait((listening, breaking), return_when=asyncio.FIRST_COMPLETED)
            raise StorageUnavailable("It broke.")
        finally:
            listening.cancel()
            breaking.cancel()

    def break_down(self) -> None:
        self.is_broken = True
        self._break.set()

    def mend(self) -> None:
        self.is_broken = False
        self._break.clear()


async def never_opened(_target_id: TargetId) -> tuple[Target, DeliveryPolicy]:
    raise NotImplementedError


class Looker(TargetRoster):
    """Notes what it was to look at."""

    def __init__(self, system: ActorSystem, database: Database) -> None:
        super().__init__(
            system,
            outbox=Outbox(database),
            settings=TargetSettings(database, SecretBox("k" * 32)),
            open_target=never_opened,
        )
        self.looked: list[list[TargetId]] = []
        self.rounds = 0

    def look(self, target_ids: Collection[TargetId]) -> None:
        self.looked.append(list(target_ids))

    async def look_for_forgotten(self) -> None:
        self.rounds += 1


class Scene:
    def __init__(self, system: ActorSystem, clock: VirtualClock, database: Database) -> None:
        self.system = system
        self.clock = clock
        self.signals = SignalsInHand()
        self.roster = Looker(system, database)

    async def start(self) -> ActorRef[WakeUpActor]:
        arguments = {"signals": self.signals, "roster": self.roster}
        actor = self.system.spawn("/hub", ChildSpec("wake-ups", WakeUpActor, (), arguments))
        await self.clock.settle()
        return actor


@pytest.fixture
async def scene(tmp_path: Path) -> AsyncIterator[Scene]:
    database = open_database(f"sqlite:///{tmp_path / 'hub.db'}")
    await database.open()
    clock = VirtualClock()
    system = ActorSystem(clock=clock)
    await system.start()
    yield Scene(system, clock, database)
    await system.stop(2.0)
    await database.close()


async def test_many_wake_ups_of_a_moment_are_one_signal(scene: Scene) -> None:
    actor = await scene.start()
    for target_id in (THERE, HERE, THERE):
        actor.tell(WakeElsewhere([target_id]))
    await scene.clock.settle()
    assert scene.signals.sent == []
    await scene.clock.advance(0.02)
    assert scene.signals.sent == [[HERE, THERE]]
    await scene.clock.advance(1)
    assert len(scene.signals.sent) == 1


async def test_what_is_collected_while_a_signal_is_under_way_is_sent_after_it(
    scene: Scene,
) -> None:
    actor = await scene.start()
    scene.signals.may_send.clear()
    actor.tell(WakeElsewhere([HERE]))
    await scene.clock.advance(0.05)
    actor.tell(WakeElsewhere([THERE]))
    await scene.clock.advance(0.05)
    scene.signals.may_send.set()
    await scene.clock.advance(0.05)
    assert scene.signals.sent == [[HERE], [THERE]]


async def test_signal_has_the_targets_looked_at(scene: Scene) -> None:
    await scene.start()
    await scene.signals.notify([HERE, THERE])
    await scene.clock.settle()
    assert scene.roster.looked == [[HERE, THERE]]


async def test_without_any_signal_somebody_looks_every_two_seconds(scene: Scene) -> None:
    scene.signals.is_broken = True
    await scene.start()
    await scene.clock.advance(10 * LOOK_S)
    assert 10 <= scene.roster.rounds <= 13


async def test_broken_connection_is_listened_on_again_and_lost_signals_are_not_fatal(
    scene: Scene,
) -> None:
    actor = await scene.start()
    scene.signals.break_down()
    actor.tell(WakeElsewhere([HERE]))
    await scene.clock.advance(3)
    assert scene.signals.sent == []

    scene.signals.mend()
    await scene.clock.advance(1)
    actor.tell(WakeElsewhere([THERE]))
    await scene.clock.advance(0.05)
    assert scene.roster.looked == [[THERE]]


async def test_what_was_collected_is_sent_before_the_end(scene: Scene) -> None:
    actor = await scene.start()
    actor.tell(WakeElsewhere([HERE]))
    await scene.system.stop_child("/hub/wake-ups")
    assert scene.signals.sent == [[HERE]]


class Idle(Actor):
    """Stands where a target's actor would."""

    def on_receive(self, message: object) -> None:
        """Nothing comes of it."""


async def test_only_targets_without_an_actor_here_are_woken_elsewhere(
    tmp_path: Path, scene: Scene
) -> None:
    woken: list[TargetId] = []
    database = open_database(f"sqlite:///{tmp_path / 'other.db'}")
    await database.open()
    scene.system.spawn("/hub", ChildSpec("targets", Supervisor))
    await scene.clock.settle()
    scene.system.spawn("/hub/targets", ChildSpec(str(HERE), Idle))
    roster = TargetRoster(
        scene.system,
        outbox=Outbox(database),
        settings=TargetSettings(database, SecretBox("k" * 32)),
        open_target=never_opened,
        wake_elsewhere=woken.extend,
    )
    async with pipeline_on(database) as pipeline:
        (entry,) = await pipeline.accept(uplink())
        await pipeline.commit(result(entry, targets=(HERE, THERE)))
        here = await pipeline.outbox.waiting(HERE, now=entry.uplink.received_at)
        there = await pipeline.outbox.waiting(THERE, now=entry.uplink.received_at)
    roster.deliver([*here, *there])
    assert woken == [THERE]
    await database.close()


class Noting(Actor):
    """Notes what a target's actor in its place would be told."""

    def __init__(self, told: list[object]) -> None:
        super().__init__()
        self._told = told

    def on_receive(self, message: object) -> None:
        self._told.append(message)


async def test_targets_are_woken_and_told_what_was_fetched_where_they_are(
    tmp_path: Path, scene: Scene
) -> None:
    woken: list[TargetId] = []
    told: list[object] = []
    database = open_database(f"sqlite:///{tmp_path / 'other.db'}")
    await database.open()
    scene.system.spawn("/hub", ChildSpec("targets", Supervisor))
    await scene.clock.settle()
    scene.system.spawn("/hub/targets", ChildSpec(str(HERE), Noting, (told,)))
    await scene.clock.settle()
    roster = TargetRoster(
        scene.system,
        outbox=Outbox(database),
        settings=TargetSettings(database, SecretBox("k" * 32)),
        open_target=never_opened,
        wake_elsewhere=woken.extend,
    )
    roster.wake([HERE, THERE])
    assert roster.withdraw(HERE, [DeliveryId("a")])
    assert not roster.withdraw(THERE, [DeliveryId("b")])
    await scene.clock.settle()
    assert told == [LookIntoOutbox(), DeliveriesWithdrawn([DeliveryId("a")])]
    assert woken == [THERE]
    await database.close()
