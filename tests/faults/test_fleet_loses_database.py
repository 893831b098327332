"""The database of a hub of several processes goes away under them, and comes back."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from datetime import UTC, datetime

import pytest

from actors import paths
from actors.fleet import FleetActor
from actors.fleet_view import FleetView
from actors.membership import Membership
from actors.runtime import ActorSystem, ChildSpec
from storage import open_database
from storage.journal import PartitionStatus
from storage.process_orders import Order, OrderKind
from storage.processes import LOST_AFTER_S, ProcessIdentity, ProcessRole
from storage.repositories.audit import NewAuditEntry, record
from tests.support.postgresql import PostgresqlServer

pytestmark = pytest.mark.faults

PATIENCE_S = 30.0


class Member:
    """Notes what it is told."""

    def __init__(self) -> None:
        self.changed: list[int] = []
        self.orders: list[str] = []

    def partitions(self) -> Sequence[PartitionStatus]:
        return ()

    async def configuration_changed(self, *, what: str, entity_id: int) -> None:
        self.changed.append(entity_id)

    async def carry_out(self, order: Order) -> None:
        self.orders.append(order.kind)


class Scene:
    """One worker with nothing but its fleet actor, on a PostgreSQL server of its own."""

    def __init__(self, server: PostgresqlServer, url: str) -> None:
        self.server = server
        self.database, self.other_database = (open_database(url, is_shared=True) for _ in "12")
        identity = ProcessIdentity.of_this_process(ProcessRole.WORKER, version="1")
        self.membership = Membership.on(self.database, identity)
        self.other = Membership.on(
            self.other_database, ProcessIdentity.of_this_process(ProcessRole.WEB, version="1")
        )
        self.member = Member()
        self.system = ActorSystem()
        self.view = FleetView(self.membership, self.system)

    async def start(self) -> None:
        for database in (self.database, self.other_database):
            await database.open()
        await self.membership.changes.begin()
        await self.system.start()
        parts = {"membership": self.membership, "member": self.member}
        self.system.spawn(paths.HUB, ChildSpec("fleet", FleetActor, (), parts))
        await self.until(lambda: bool(self.membership.seen))

    async def stop(self) -> None:
        await self.system.stop(2.0)
        for database in (self.database, self.other_database):
            await database.close()

    async def until(self, is_so: Callable[[], bool]) -> None:
        """By the clock of the machine: the server is another process."""
        async with asyncio.timeout(PATIENCE_S):
            while True:
                if is_so():
                    return
                await asyncio.sleep(0.02)

    async def change(self, entity_id: int) -> None:
        await self.other_database.write(lambda transaction: record(transaction, _entry(entity_id)))


@pytest.fixture
async def scene(own_postgresql: PostgresqlServer) -> AsyncIterator[Scene]:
    scene = Scene(own_postgresql, own_postgresql.url(own_postgresql.create_database()))
    await scene.start()
    yield scene
    await scene.stop()


async def kill(server: PostgresqlServer) -> Callable[[], None]:
    await asyncio.to_thread(server.kill)
    return server.start


async def freeze(server: PostgresqlServer) -> Callable[[], None]:
    await asyncio.to_thread(server.pause)
    return server.resume


@pytest.mark.parametrize("take_away", [kill, freeze])
async def test_process_goes_on_in_the_fleet_after_its_database_was_away(
    scene: Scene, take_away: Callable[[PostgresqlServer], Awaitable[Callable[[], None]]]
) -> None:
    await scene.change(1)
    await scene.until(lambda: scene.member.changed == [1])
    give_back = await take_away(scene.server)

    verdict = await scene.view.health()
    assert (verdict.is_well, verdict.cause) == (False, f"/{scene.membership.process_id}")
    # A beat has found that there is no database.
    await scene.until(lambda: not scene.database.health().is_ok)
    await asyncio.to_thread(give_back)

    async with asyncio.timeout(PATIENCE_S):
        await scene.change(2)
        await scene.until(lambda: scene.member.changed == [1, 2])
        await _beats_again(scene)
        orders, process_id = scene.other.orders, scene.membership.process_id
        await orders.ask(process_id, OrderKind.RELEASE_DECODER, {"decoderId": 5})
        await scene.until(lambda: scene.member.orders == ["release_decoder"])
    assert scene.system.info(paths.FLEET).restarts == 0


async def _beats_again(scene: Scene) -> None:
    while True:
        rows = await scene.other.registry.list()
        if rows and rows[0].silent_s < LOST_AFTER_S:
            return
        await asyncio.sleep(0.05)


def _entry(entity_id: int) -> NewAuditEntry:
    return NewAuditEntry(
        at=datetime.now(UTC),
        actor_type="user",
        actor_id=1,
        actor_name="admin",
        address=None,
        action="UPDATE",
        entity="iot_device",
        entity_id=entity_id,
        entity_name=None,
        organization_id=None,
    )
