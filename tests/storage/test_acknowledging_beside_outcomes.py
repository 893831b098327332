"""One process acknowledges what another has just pushed; only PostgreSQL lets both write at once."""

import asyncio
import threading
from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from typing import TypeVar

import pytest

from storage import Database, open_database
from storage.database import Transaction
from storage.delivery.acknowledgement import Acknowledgements
from storage.delivery.outbox import DeliveryState
from tests.support.pipeline import NOW, TARGET, outcome, pipeline_on, result, uplink
from tests.support.postgresql import PostgresqlServer

_WAITS = "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND datname = %s"
PATIENCE_S = 20.0

T = TypeVar("T")


@pytest.fixture
async def databases(postgresql_url: str) -> AsyncIterator[list[Database]]:
    opened = [open_database(postgresql_url, is_shared=True) for _ in range(2)]
    for database in opened:
        await database.open()
    yield opened
    for database in opened:
        await database.close()


async def test_outcome_waits_for_an_acknowledgement_under_way_and_changes_nothing(
    databases: list[Database],
    postgresql: PostgresqlServer,
    postgresql_url: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    has_pulled, may_commit = threading.Event(), threading.Event()
    write = databases[1].write

    async def write_and_hesitate(unit: Callable[[Transaction], T]) -> T:
        def hesitating(transaction: Transaction) -> T:
            written = unit(transaction)
            has_pulled.set()
            may_commit.wait(PATIENCE_S)
            return written

        return await write(hesitating)

    monkeypatch.setattr(databases[1], "write", write_and_hesitate)
    async with pipeline_on(databases[0]) as pipeline, asyncio.timeout(PATIENCE_S):
        entries = await pipeline.accept(uplink())
        await pipeline.commit(*map(result, entries))
        (item,) = await pipeline.waiting()
        acknowledging = asyncio.create_task(
            Acknowledgements(databases[1]).of_deliveries(TARGET, [item.delivery_id], NOW)
        )
        await asyncio.to_thread(has_pulled.wait)
        late = outcome(replace(item, attempts=1), DeliveryState.DEAD)
        recording = asyncio.create_task(pipeline.outbox.record([late]))
        await until_something_waits(postgresql, postgresql_url.rpartition("/")[2])
        may_commit.set()
        assert (await acknowledging).delivery_ids == (item.delivery_id,)
        await recording
        deliveries = (await pipeline.balance()).deliveries
        assert (deliveries.pulled, deliveries.dead) == (1, 0)


async def until_something_waits(postgresql: PostgresqlServer, name: str) -> None:
    while True:
        with postgresql.administration(name) as cursor:
            cursor.execute(_WAITS, (name,))
            if cursor.fetchone()[0]:
                return
        await asyncio.sleep(0.01)
