"""A hub as one process of several: what it acts for, it holds by lease."""

import asyncio
from collections.abc import Callable
from pathlib import Path

from sqlalchemy import delete

from actors import paths
from actors.house import HOUSEKEEPING
from actors.leased_ownership import LeasedOwnership, boot_time_s
from storage import Database, open_database
from storage.leases import LeaseRow, LeaseSettings, LeaseStore
from storage.signals import LocalSignals
from storage.tables import entities
from tests.support.decoder_stub import StubPool
from tests.support.hub_in_process import HubInProcess
from tests.support.receivers import Receiver

PATIENCE_S = 5.0
OTHER = "another process"
# A hub that starts must not wait for a round of its neighbour's leases in real time.
SETTINGS = LeaseSettings(ttl_s=2.0, renew_every_s=0.05, act_limit_s=1.0)


def own(database: Database) -> LeasedOwnership:
    store = LeaseStore(database, "this process", settings=SETTINGS, monotonic=boot_time_s)
    return LeasedOwnership(store)


def hub_on(path: Path) -> HubInProcess:
    return HubInProcess(path, StubPool(), own=own, signals=LocalSignals())


async def until(is_so: Callable[[], bool]) -> None:
    async with asyncio.timeout(PATIENCE_S):
        while True:
            if is_so():
                return
            await asyncio.sleep(0.01)


async def leases(path: Path) -> dict[str, LeaseRow]:
    database = open_database(f"sqlite:///{path}")
    await database.open()
    rows = (await LeaseStore(database, OTHER).survey()).rows
    await database.close()
    return rows


async def test_targets_and_housekeeping_are_leased_while_the_hub_runs_and_free_afterwards(
    tmp_path: Path,
) -> None:
    path = tmp_path / "hub.db"
    async with Receiver() as receiver, hub_on(path) as hub:
        application_id = await hub.application()
        device_id, api_key = await hub.device(application_id)
        target_id = await hub.target(application_id, receiver.url)
        await hub.connect(target_id, None, device_id)
        await until(lambda: hub.hub.ownership.holds(f"target/{target_id}"))
        await until(lambda: hub.hub.ownership.holds(HOUSEKEEPING))
        assert await hub.hub.actor(paths.HOUSEKEEPING) is not None
        for number in range(20):
            await hub.post(api_key, number)
        await receiver.wait_for(20)
        balance = await hub.settled()
        assert balance.deliveries.delivered == 20

    rows = await leases(path)
    assert set(rows) == {HOUSEKEEPING, f"target/{target_id}"}
    assert all(row.is_free for row in rows.values())


async def test_target_that_another_process_holds_has_no_actor_here_until_that_lets_go(
    tmp_path: Path,
) -> None:
    async with Receiver() as receiver, hub_on(tmp_path / "hub.db") as hub:
        other = LeaseStore(hub.database, OTHER)
        names = [HOUSEKEEPING, *(f"target/{number}" for number in range(1, 4))]
        application_id = await hub.application()
        device_id, api_key = await hub.device(application_id)
        await until(lambda: hub.hub.ownership.holds(HOUSEKEEPING))
        held = (await other.claim(names, limit=9)).leases
        target_id = await hub.target(application_id, receiver.url)
        assert f"target/{target_id}" in {lease.name for lease in held}
        await hub.connect(target_id, None, device_id)
        await hub.post(api_key, 1)
        await hub.balance_when(lambda balance: balance.deliveries.pending == 1)
        assert await hub.hub.actor(paths.target_path(target_id)) is None

        await other.release(held)
        await receiver.wait_for(1)
        assert (await hub.settled()).deliveries.delivered == 1


async def test_target_is_gone_here_when_it_is_deleted_and_anew_when_it_is_changed(
    tmp_path: Path,
) -> None:
    async with Receiver() as receiver, hub_on(tmp_path / "hub.db") as hub:
        application_id = await hub.application()
        target_id = await hub.target(application_id, receiver.url)
        name = f"target/{target_id}"
        await until(lambda: hub.hub.ownership.holds(name))
        first = hub.hub.system.find(paths.target_path(target_id))
        await hub.hub.configuration_changed(what="data_target", entity_id=target_id)
        await until(lambda: hub.hub.ownership.holds(name))
        assert hub.hub.system.find(paths.target_path(target_id)) != first

        gone = delete(entities.data_target).where(entities.data_target.c.id == target_id)
        await hub.database.write(lambda transaction: transaction.execute(gone))
        await hub.hub.configuration_changed(what="data_target", entity_id=target_id)
        await until(lambda: not hub.hub.ownership.holds(name))
        await until(lambda: hub.hub.system.find(paths.target_path(target_id)) is None)
