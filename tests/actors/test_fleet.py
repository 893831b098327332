"""A process that keeps in touch with the others: beats, changes, orders, and a database that goes away."""

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from actors import paths
from actors.fleet import BEAT_S, LOOK_S, FleetActor
from actors.membership import Membership
from actors.process_report import ProcessReport
from actors.runtime import Actor, ActorSystem, Backoff, ChildSpec, VirtualClock
from protocols.errors import NotFound, StorageUnavailable, TingbroError
from storage import Database, open_database
from storage.configuration_changes import ConfigurationChanges
from storage.journal import PartitionStatus, position_of
from storage.process_orders import Order, OrderKind, ProcessOrders
from storage.processes import ProcessIdentity, ProcessRegistry, ProcessRole, ProcessRow
from storage.repositories.audit import NewAuditEntry, record
from tests.support.pipeline import NOW

PATIENCE_S = 10.0


class Signal:
    """Wakes whoever waits for something to have become so."""

    def __init__(self) -> None:
        self._condition = asyncio.Condition()

    async def give(self) -> None:
        async with self._condition:
            self._condition.notify_all()

    async def until(self, is_so: Callable[[], bool]) -> None:
        async with asyncio.timeout(PATIENCE_S), self._condition:
            await self._condition.wait_for(is_so)


class WatchedRegistry(ProcessRegistry):
    """Notes its beats, and fails while it is told to."""

    def __init__(self, database: Database, identity: ProcessIdentity, signal: Signal) -> None:
        super().__init__(database, identity)
        self.signal = signal
        self.reports: list[bytes | None] = []
        self.failures = 0
        self.is_away = False

    async def beat(
        self, *, is_well: bool, cause: str | None, reason: str, report: bytes | None = None
    ) -> None:
        if self.is_away:
            self.failures += 1
            await self.signal.give()
            raise StorageUnavailable("The connection was lost.")
        await super().beat(is_well=is_well, cause=cause, reason=reason, report=report)
        self.reports.append(report)
        await self.signal.give()


class Member:
    """What the actor tells its process; `errors` are raised, one each time it is told."""

    def __init__(self, signal: Signal) -> None:
        self.signal = signal
        self.changed: list[tuple[str, int]] = []
        self.orders: list[Order] = []
        self.errors: list[TingbroError] = []
        self.may_go_on = asyncio.Event()
        self.may_go_on.set()
        self.shown = [PartitionStatus(partition=3, cursor=position_of(3, 40), lag=2)]

    def partitions(self) -> Sequence[PartitionStatus]:
        return self.shown

    async def configuration_changed(self, *, what: str, entity_id: int) -> None:
        self.changed.append((what, entity_id))
        await self.signal.give()
        await self.may_go_on.wait()
        if self.errors:
            raise self.errors.pop(0)

    async def carry_out(self, order: Order) -> None:
        self.orders.append(order)
        await self.signal.give()
        if self.errors:
            raise self.errors.pop(0)


class Neighbour(Actor):
    """Notes each of its instances, and crashes when it is told anything."""

    def __init__(self, instances: list[str], signal: Signal) -> None:
        super().__init__()
        self._instances = instances
        self._signal = signal

    async def on_start(self) -> None:
        self._instances.append(self.path)
        await self._signal.give()

    def on_receive(self, message: Any) -> None:
        raise RuntimeError("It was told to.")


class Scene:
    """One process with its actor, and another process's view of the same database."""

    def __init__(self, database: Database, other_database: Database) -> None:
        self.signal = Signal()
        self.clock = VirtualClock(NOW)
        self.system = ActorSystem(clock=self.clock)
        identity = ProcessIdentity.of_this_process(ProcessRole.WORKER, version="1")
        self.database, self.process_id = database, identity.process_id
        self.registry = WatchedRegistry(database, identity, self.signal)
        self.member = Member(self.signal)
        self.keeps_house = False
        self.membership = Membership(
            registry=self.registry,
            orders=ProcessOrders(database, self.process_id),
            changes=ConfigurationChanges(database, monotonic=self.clock.monotonic),
            keeps_house=lambda: self.keeps_house,
        )
        other = ProcessIdentity.of_this_process(ProcessRole.WEB, version="1")
        self.other_database = other_database
        self.other = ProcessRegistry(other_database, other)
        self.other_orders = ProcessOrders(other_database, other.process_id)
        self.neighbours: list[str] = []

    async def start(self) -> None:
        await self.membership.changes.begin()
        # Once it has crashed it stays down for as long as a test may take.
        backoff = Backoff(initial_s=3600.0, max_s=3600.0)
        arguments = (self.neighbours, self.signal)
        neighbour = ChildSpec("neighbour", Neighbour, arguments, backoff=backoff)
        self.system.spawn(paths.HUB, neighbour)
        parts = {"membership": self.membership, "member": self.member}
        self.system.spawn(paths.HUB, ChildSpec("fleet", FleetActor, (), parts))
        await self.beats(1)

    async def beats(self, count: int) -> None:
        await self.until(lambda: len(self.registry.reports) >= count)

    async def until(self, is_so: Callable[[], bool]) -> None:
        """Let the actor look again and again until it is so."""
        waiting = asyncio.create_task(self.signal.until(is_so))
        while not waiting.done():
            await self.clock.advance(LOOK_S)
            # The database answers from threads, which no virtual clock waits for.
            await asyncio.wait((waiting,), timeout=0.01)
        await waiting

    async def row(self) -> ProcessRow:
        row = await self.other.find(self.process_id)
        assert row is not None
        return row

    async def change(self, entity_id: int, entity: str = "iot_device") -> None:
        entry = NewAuditEntry(
            at=NOW,
            actor_type="user",
            actor_id=1,
            actor_name="admin",
            address=None,
            action="UPDATE",
            entity=entity,
            entity_id=entity_id,
            entity_name=None,
            organization_id=None,
        )
        await self.other_database.write(lambda transaction: record(transaction, entry))

    def restarts_of_the_actor(self) -> int:
        return self.system.info(paths.FLEET).restarts


@pytest.fixture
async def scene(tmp_path: Path) -> AsyncIterator[Scene]:
    url = f"sqlite:///{tmp_path / 'hub.db'}"
    database, other = open_database(url), open_database(url, is_shared=True)
    await database.open()
    await other.open()
    scene = Scene(database, other)
    await scene.system.start()
    await scene.start()
    yield scene
    scene.registry.is_away = False
    await scene.system.stop(2.0)
    await other.close()
    await database.close()


async def test_process_shows_its_health_its_actors_and_its_partitions(scene: Scene) -> None:
    row = await scene.row()
    report = ProcessReport.read(row.report)

    assert (row.is_well, row.cause, row.role) == (True, None, "worker")
    assert report.tree is not None
    assert [child["path"] for child in report.tree["children"]] == ["/hub/neighbour", "/hub/fleet"]
    assert report.partitions == [{"partition": 3, "cursor": 40, "lag": 2}]


async def test_process_beats_every_few_seconds_and_not_at_every_look(scene: Scene) -> None:
    before_s = scene.clock.monotonic()
    beats = len(scene.registry.reports)

    await scene.beats(beats + 3)

    assert scene.clock.monotonic() - before_s >= 2 * BEAT_S


async def test_actor_that_crashed_is_named_as_the_cause(scene: Scene) -> None:
    neighbour = scene.system.find("/hub/neighbour")
    assert neighbour is not None
    neighbour.tell("crash")
    await scene.beats(len(scene.registry.reports) + 2)

    row = await scene.row()
    assert row.cause == "/hub/neighbour"
    assert "It was told to." in row.reason


async def test_large_report_is_renewed_less_often_than_the_process_beats(scene: Scene) -> None:
    status = scene.member.shown[0]
    scene.member.shown = [status] * 10_000
    start = len(scene.registry.reports)

    await scene.beats(start + 6)

    renewed = [report is not None for report in scene.registry.reports[start:]]
    assert any(renewed)
    assert renewed.count(True) <= 2


async def test_what_another_process_changed_is_told_once(scene: Scene) -> None:
    await scene.change(1)
    await scene.change(2, "data_target")

    await scene.until(lambda: len(scene.member.changed) >= 2)
    await scene.clock.advance(3 * LOOK_S)

    assert scene.member.changed == [("iot_device", 1), ("data_target", 2)]


async def test_change_that_cannot_be_made_effective_now_is_told_again(scene: Scene) -> None:
    scene.member.errors = [StorageUnavailable("The targets cannot be read.")]
    await scene.change(1)

    await scene.until(lambda: len(scene.member.changed) >= 2)

    assert scene.member.changed == [("iot_device", 1)] * 2
    assert scene.restarts_of_the_actor() == 0


async def test_change_that_can_never_be_made_effective_holds_up_no_other(scene: Scene) -> None:
    scene.member.errors = [NotFound("There is no such actor.")]
    await scene.change(1)
    await scene.change(2)

    await scene.until(lambda: len(scene.member.changed) >= 2)

    assert scene.member.changed == [("iot_device", 1), ("iot_device", 2)]


async def test_process_beats_while_a_change_takes_its_time(scene: Scene) -> None:
    scene.member.may_go_on.clear()
    await scene.change(1)
    await scene.until(lambda: bool(scene.member.changed))

    await scene.beats(len(scene.registry.reports) + 2)
    scene.member.may_go_on.set()
    await scene.change(2)
    await scene.until(lambda: len(scene.member.changed) >= 2)

    assert scene.member.changed == [("iot_device", 1), ("iot_device", 2)]


async def test_actor_is_restarted_when_another_process_asks_for_it(scene: Scene) -> None:
    body = {"path": "/hub/neighbour"}
    await scene.other_orders.ask(scene.process_id, OrderKind.RESTART_ACTOR, body)

    await scene.until(lambda: len(scene.neighbours) == 2)

    assert scene.member.orders == []


async def test_process_goes_on_beating_after_it_was_asked_to_restart_that_very_actor(
    scene: Scene,
) -> None:
    body = {"path": paths.FLEET}
    await scene.other_orders.ask(scene.process_id, OrderKind.RESTART_ACTOR, body)
    await scene.until(lambda: scene.restarts_of_the_actor() > 0)

    await scene.beats(len(scene.registry.reports) + 1)
    await scene.change(5)
    await scene.until(lambda: bool(scene.member.changed))


async def test_order_that_cannot_be_carried_out_ends_nothing(scene: Scene) -> None:
    body = {"path": "/hub/no-such-actor"}
    await scene.other_orders.ask(scene.process_id, OrderKind.RESTART_ACTOR, body)
    scene.member.errors = [NotFound("Not here.")]
    await scene.other_orders.ask(scene.process_id, OrderKind.RELEASE_DECODER, {"decoderId": 5})

    await scene.until(lambda: len(scene.member.orders) == 1)
    await scene.beats(len(scene.registry.reports) + 1)

    assert scene.restarts_of_the_actor() == 0


async def test_housekeepers_orders_are_taken_only_by_who_keeps_house(scene: Scene) -> None:
    await scene.other_orders.ask_housekeeper(OrderKind.REPLAY, {"decoderId": 5})
    await scene.beats(len(scene.registry.reports) + 1)
    assert scene.member.orders == []

    scene.keeps_house = True
    await scene.until(lambda: len(scene.member.orders) == 1)

    assert scene.member.orders[0].body == {"decoderId": 5}


async def test_database_that_is_away_for_a_while_does_not_end_the_actor(scene: Scene) -> None:
    scene.registry.is_away = True
    await scene.until(lambda: scene.registry.failures >= 3)
    await scene.change(1)

    scene.registry.is_away = False
    await scene.beats(len(scene.registry.reports) + 1)
    await scene.until(lambda: bool(scene.member.changed))

    assert scene.restarts_of_the_actor() == 0


async def test_process_that_stops_in_order_takes_its_row_along(scene: Scene) -> None:
    await scene.system.stop(2.0)

    assert await scene.other.list() == []
