"""A hub that is one process of several, and what another one asks of it and tells it."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path

import pytest
from sqlalchemy import update

from actors.process_report import ProcessReport, find
from protocols.errors import NotFound, ScriptError
from storage import Database, open_database
from storage.database import Transaction
from storage.process_orders import OrderKind, ProcessOrders
from storage.processes import ProcessIdentity, ProcessRegistry, ProcessRole
from storage.repositories.audit import NewAuditEntry, record
from storage.tables.entities import iot_device
from tests.support.decoder_stub import StubPool
from tests.support.hub_in_process import HubInProcess
from tests.support.pipeline import NOW

PATIENCE_S = 10.0


@dataclass
class Scene:
    """The worker, and the database as a web process has it open."""

    worker: HubInProcess
    worker_id: str
    pool: StubPool
    other_database: Database

    @property
    def orders(self) -> ProcessOrders:
        return ProcessOrders(self.other_database, "web-1")

    @property
    def registry(self) -> ProcessRegistry:
        identity = ProcessIdentity.of_this_process(ProcessRole.WEB, version="1")
        return ProcessRegistry(self.other_database, identity)

    async def until(self, is_so: Callable[[], Awaitable[bool]]) -> None:
        """The actor looks by its own clock; nobody outside is told."""
        async with asyncio.timeout(PATIENCE_S):
            while True:
                if await is_so():
                    return
                await asyncio.sleep(0.02)


@pytest.fixture
async def scene(tmp_path: Path) -> AsyncIterator[Scene]:
    identity = ProcessIdentity.of_this_process(ProcessRole.WORKER, version="1")
    pool = StubPool()
    async with HubInProcess(tmp_path / "hub.db", pool, identity=identity) as worker:
        other = open_database(f"sqlite:///{tmp_path / 'hub.db'}", is_shared=True)
        await other.open()
        scene = Scene(worker, identity.process_id, pool, other)
        await scene.until(lambda: _is_seen(scene))
        yield scene
        await other.close()


async def _is_seen(scene: Scene) -> bool:
    return bool(await scene.registry.list())


async def test_worker_is_seen_with_its_actors_and_its_partitions(scene: Scene) -> None:
    row = await scene.registry.find(scene.worker_id)
    assert row is not None
    report = ProcessReport.read(row.report)

    assert report.tree is not None
    assert find("/hub/writer", report.tree) is not None
    assert [each["partition"] for each in report.partitions] == [0]


async def test_message_that_failed_is_decoded_again_when_another_process_orders_a_replay(
    scene: Scene,
) -> None:
    hub, pool = scene.worker, scene.pool
    application_id = await hub.application()
    device_id, api_key = await hub.device(application_id)
    decoder_id = await hub.decoder()
    target_id = await hub.target(application_id, "http://127.0.0.1:9/")
    await hub.connect(target_id, decoder_id, device_id)
    pool.errors[decoder_id] = ScriptError("It is not finished.")
    await hub.post(api_key, 1)
    await hub.balance_when(lambda balance: balance.jobs.failed == 1)
    pool.errors.clear()

    body = {"decoderId": decoder_id, "since": None, "until": None}
    await scene.orders.ask_housekeeper(OrderKind.REPLAY, body)

    await hub.balance_when(lambda balance: balance.jobs.decoded == 1)


async def test_decoder_is_forgiven_when_another_process_orders_it(scene: Scene) -> None:
    scene.pool.errors[5] = ScriptError("Three strikes.")
    await scene.orders.ask(scene.worker_id, OrderKind.RELEASE_DECODER, {"decoderId": 5})

    async def is_forgiven() -> bool:
        return 5 not in scene.pool.errors

    await scene.until(is_forgiven)


async def test_device_whose_key_another_process_changed_is_refused_under_the_old_one(
    scene: Scene,
) -> None:
    device_id, api_key = await scene.worker.device(await scene.worker.application())
    await scene.worker.post(api_key, 1)

    def change(transaction: Transaction) -> None:
        transaction.execute(
            update(iot_device).values(api_key="00000000-0000-0000-0000-000000000000")
        )
        record(transaction, _update_of(device_id))

    await scene.other_database.write(change)

    async def is_refused() -> bool:
        try:
            await scene.worker.post(api_key, 2)
        except NotFound:
            return True
        return False

    await scene.until(is_refused)


async def test_worker_that_stops_in_order_is_not_missed(scene: Scene) -> None:
    await scene.worker.hub.stop(timeout_s=2.0)

    assert await scene.registry.list() == []


def _update_of(device_id: int) -> NewAuditEntry:
    return NewAuditEntry(
        at=NOW,
        actor_type="user",
        actor_id=1,
        actor_name="admin",
        address=None,
        action="UPDATE",
        entity="iot_device",
        entity_id=device_id,
        entity_name=None,
        organization_id=None,
    )
