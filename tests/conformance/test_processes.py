"""The rows of the hub's processes and what they ask of each other, on every engine."""

from collections.abc import AsyncIterator

import pytest
from sqlalchemy import bindparam, update

from protocols.errors import NotFound
from storage import Database, open_database
from storage.leases import LeaseStore
from storage.process_orders import OrderKind, ProcessOrders
from storage.processes import (
    FORGET_AFTER_S,
    LOST_AFTER_S,
    ProcessIdentity,
    ProcessRegistry,
    ProcessRole,
)
from storage.tables.fleet import process

_BACKDATE = (
    update(process)
    .where(process.c.process_id == bindparam("of_process"))
    .values(seen_at=process.c.seen_at - bindparam("by_us"))
)


@pytest.fixture
async def other_database(database: Database, database_url: str) -> AsyncIterator[Database]:
    """The same database, as another process has it open."""
    opened = open_database(database_url, is_shared=True, migrate=False)
    await opened.open()
    yield opened
    await opened.close()


def registry_on(database: Database, role: ProcessRole = ProcessRole.WORKER) -> ProcessRegistry:
    return ProcessRegistry(database, ProcessIdentity.of_this_process(role, version="1.2"))


def orders_of(database: Database, registry: ProcessRegistry) -> ProcessOrders:
    return ProcessOrders(database, registry.identity.process_id)


async def beat(registry: ProcessRegistry, report: bytes | None = b"{}") -> None:
    await registry.beat(is_well=True, cause=None, reason="every actor runs", report=report)


async def be_silent_for(database: Database, registry: ProcessRegistry, seconds: float) -> None:
    parameters = {"of_process": registry.identity.process_id, "by_us": int(seconds * 1_000_000)}
    await database.write(lambda transaction: transaction.execute(_BACKDATE, parameters))


async def test_processes_see_each_other_with_health_and_report(
    database: Database, other_database: Database
) -> None:
    web, worker = registry_on(database, ProcessRole.WEB), registry_on(other_database)
    await beat(web)
    await worker.beat(is_well=False, cause="/hub/writer", reason="It crashed.", report=b'{"a":1}')

    first, second = await web.list(with_reports=True)

    assert (first.process_id, first.role, first.is_well) == (web.identity.process_id, "web", True)
    assert (second.cause, second.reason, second.report) == (
        "/hub/writer",
        "It crashed.",
        b'{"a":1}',
    )
    assert (second.host, second.pid, second.version) == (
        worker.identity.host,
        worker.identity.pid,
        "1.2",
    )
    assert not first.is_lost
    assert second.silent_s < LOST_AFTER_S


async def test_beat_without_report_keeps_the_last_one(database: Database) -> None:
    registry = registry_on(database)
    await beat(registry, b'{"kept":1}')
    await beat(registry, None)

    found = await registry.find(registry.identity.process_id)

    assert found is not None
    assert found.report == b'{"kept":1}'
    assert (await registry.list())[0].report is None


async def test_process_that_is_silent_is_lost_then_forgotten_with_what_was_asked_of_it(
    database: Database,
) -> None:
    lost, living = registry_on(database), registry_on(database)
    await beat(lost)
    await beat(living)
    await orders_of(database, living).ask(lost.identity.process_id, OrderKind.REPLAY, {})

    await be_silent_for(database, lost, LOST_AFTER_S)
    await living.forget_lost()
    assert {row.process_id: row.is_lost for row in await living.list()} == {
        lost.identity.process_id: True,
        living.identity.process_id: False,
    }

    await be_silent_for(database, lost, FORGET_AFTER_S)
    await living.forget_lost()
    assert [row.process_id for row in await living.list()] == [living.identity.process_id]
    await beat(lost)
    assert await orders_of(database, lost).take(keeps_house=False) == []


async def test_process_that_was_forgotten_and_lives_is_back_with_its_report(
    database: Database,
) -> None:
    registry = registry_on(database)
    await beat(registry, b'{"tree":1}')
    await be_silent_for(database, registry, FORGET_AFTER_S + 1)
    await registry.forget_lost()
    assert await registry.list() == []

    await beat(registry, None)

    assert [row.report for row in await registry.list(with_reports=True)] == [b'{"tree":1}']


async def test_process_that_leaves_is_gone_at_once_with_what_was_asked_of_it(
    database: Database,
) -> None:
    registry = registry_on(database)
    orders = orders_of(database, registry)
    await beat(registry)
    await orders.ask(registry.identity.process_id, OrderKind.REPLAY, {})

    await registry.leave()

    assert await registry.list() == []
    assert await orders.take(keeps_house=True) == []


async def test_order_reaches_the_process_that_it_is_for_once(
    database: Database, other_database: Database
) -> None:
    web, worker = registry_on(database, ProcessRole.WEB), registry_on(other_database)
    await beat(web)
    await beat(worker)
    of_web, of_worker = orders_of(database, web), orders_of(other_database, worker)
    body = {"path": "/hub/writer"}
    await of_web.ask(worker.identity.process_id, OrderKind.RESTART_ACTOR, body)
    await of_web.ask(worker.identity.process_id, OrderKind.RELEASE_DECODER, {"decoderId": 5})

    assert await of_web.take(keeps_house=True) == []
    taken = await of_worker.take(keeps_house=False)
    assert [(order.kind, order.body) for order in taken] == [
        ("restart_actor", {"path": "/hub/writer"}),
        ("release_decoder", {"decoderId": 5}),
    ]
    assert await of_worker.take(keeps_house=False) == []


async def test_order_for_the_housekeeper_waits_for_one(database: Database) -> None:
    first, second = (orders_of(database, registry_on(database)) for _ in range(2))
    await first.ask_housekeeper(OrderKind.REPLAY, {"decoderId": 5})

    assert await first.take(keeps_house=False) == []
    assert [order.kind for order in await second.take(keeps_house=True)] == ["replay"]
    assert await first.take(keeps_house=True) == []


async def test_all_living_processes_of_a_role_are_asked(database: Database) -> None:
    registries = [
        registry_on(database, role)
        for role in (ProcessRole.WEB, ProcessRole.WORKER, ProcessRole.WORKER)
    ]
    for registry in registries:
        await beat(registry)
    await orders_of(database, registries[0]).ask_all(
        ProcessRole.WORKER, OrderKind.RELEASE_DECODER, {}
    )

    counts = [len(await orders_of(database, r).take(keeps_house=False)) for r in registries]

    assert counts == [0, 1, 1]


async def test_holder_of_a_lease_is_asked_and_nobody_where_there_is_none(
    database: Database,
) -> None:
    first, second = registry_on(database), registry_on(database)
    held = await LeaseStore(database, second.identity.process_id).claim(["target/7"], limit=1)
    asker = orders_of(database, first)
    body = {"targetId": 7, "deliveryIds": ["a"]}
    for name in ("target/7", "target/8"):
        await asker.ask_holder(name, OrderKind.WITHDRAW_DELIVERIES, body)
    await LeaseStore(database, second.identity.process_id).release(held.leases)
    await asker.ask_holder("target/7", OrderKind.WITHDRAW_DELIVERIES, body)

    taken = await orders_of(database, second).take(keeps_house=True)
    assert [(order.kind, order.body) for order in taken] == [("withdraw_deliveries", body)]
    assert await asker.take(keeps_house=True) == []


async def test_process_that_is_lost_or_unknown_cannot_be_asked(database: Database) -> None:
    registry = registry_on(database)
    orders = orders_of(database, registry)
    await beat(registry)
    await be_silent_for(database, registry, LOST_AFTER_S + 1)

    for process_id in (registry.identity.process_id, "worker-unknown"):
        with pytest.raises(NotFound, match=process_id):
            await orders.ask(process_id, OrderKind.RESTART_ACTOR, {"path": "/hub"})
