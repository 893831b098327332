"""Two processes end the same deliveries at once; only PostgreSQL lets both write at a time.

Each pair of ways to end one runs in both orders: the second begins when the first has written and not
committed. The books have to balance whoever comes first, and nothing may be ended twice.
"""

import asyncio
import threading
from collections import Counter
from collections.abc import AsyncIterator, Callable, Coroutine
from datetime import timedelta
from itertools import permutations
from typing import Any, TypeVar

import pytest

from storage import Database, open_database
from storage.database import Transaction
from storage.delivery.acknowledgement import Acknowledgements
from storage.delivery.outbox import DeliveryState, Outbox, OutboxItem
from storage.retention import Retention, RetentionKind
from tests.support.pipeline import NOW, TARGET, outcome, pipeline_on, result, uplink
from tests.support.postgresql import PostgresqlServer

_WAITS = "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND datname = %s"
PATIENCE_S = 20.0
LATER = NOW + timedelta(days=4)

T = TypeVar("T")
End = Callable[[Database, list[OutboxItem]], Coroutine[Any, Any, None]]


async def acknowledge(database: Database, items: list[OutboxItem]) -> None:
    ids = [item.delivery_id for item in reversed(items)]
    await Acknowledgements(database).of_deliveries(TARGET, ids, NOW)


async def deliver(database: Database, items: list[OutboxItem]) -> None:
    await Outbox(database).record([outcome(item) for item in items])


async def give_up(database: Database, items: list[OutboxItem]) -> None:
    await Outbox(database).record([outcome(item, DeliveryState.DEAD) for item in reversed(items)])


async def fail(database: Database, items: list[OutboxItem]) -> None:
    outcomes = [outcome(item, DeliveryState.RETRYING, retry_in_s=30) for item in items]
    await Outbox(database).record(outcomes)


async def expire(database: Database, _items: list[OutboxItem]) -> None:
    await Outbox(database, lambda: LATER).expire(TARGET, grace=timedelta(0), is_thorough=True)


async def cancel(database: Database, _items: list[OutboxItem]) -> None:
    await Outbox(database).cancel_for_target(TARGET, reason="It was deleted.")


# As what each is booked, if that ends it.
ENDS: dict[End, str | None] = {
    acknowledge: "pulled",
    deliver: "delivered",
    give_up: "dead",
    fail: None,
    expire: "expired",
    cancel: "cancelled",
}


class Hesitation:
    """Has a database commit its first transaction from now on only when it may."""

    def __init__(self, database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
        self.has_written, self.may_commit = threading.Event(), threading.Event()
        self._write = database.write
        monkeypatch.setattr(database, "write", self._write_and_hesitate)

    async def _write_and_hesitate(self, unit: Callable[[Transaction], T]) -> T:
        def hesitating(transaction: Transaction) -> T:
            written = unit(transaction)
            self.has_written.set()
            self.may_commit.wait(PATIENCE_S)
            return written

        return await self._write(hesitating)


@pytest.fixture
async def databases(postgresql_url: str) -> AsyncIterator[list[Database]]:
    opened = [open_database(postgresql_url, is_shared=True) for _ in range(2)]
    for database in opened:
        await database.open()
    yield opened
    for database in opened:
        await database.close()


async def until_something_waits(postgresql: PostgresqlServer, name: str) -> None:
    while True:
        with postgresql.administration(name) as cursor:
            cursor.execute(_WAITS, (name,))
            if cursor.fetchone()[0]:
                return
        await asyncio.sleep(0.01)


async def test_no_delivery_is_ended_twice_by_two_that_end_it_at_once(
    databases: list[Database],
    postgresql: PostgresqlServer,
    postgresql_url: str,
) -> None:
    name = postgresql_url.rpartition("/")[2]
    expected: Counter[str | None] = Counter()
    async with pipeline_on(databases[0]) as pipeline, asyncio.timeout(3 * PATIENCE_S):
        for first, second in permutations(ENDS, 2):
            entries = await pipeline.accept(uplink(1), uplink(2), uplink(1))
            await pipeline.commit(*map(result, entries))
            items = await pipeline.waiting()
            with pytest.MonkeyPatch.context() as monkeypatch:
                hesitation = Hesitation(databases[1], monkeypatch)
                ending = asyncio.create_task(first(databases[1], items))
                await asyncio.to_thread(hesitation.has_written.wait, PATIENCE_S)
                also = asyncio.create_task(second(databases[0], items))
                await until_something_waits(postgresql, name)
                hesitation.may_commit.set()
                await asyncio.gather(ending, also)
            # The lanes of what has failed once are not to be in the way of the next.
            await cancel(databases[0], items)
            expected[ENDS[first] or ENDS[second]] += len(items)
            deliveries = (await pipeline.balance()).deliveries
            booked = {end: getattr(deliveries, end) for end in ENDS.values() if end is not None}
            assert +Counter(booked) == expected, (first, second)
            assert (deliveries.created, deliveries.imbalance) == (expected.total(), 0)


async def test_deliveries_that_two_keep_house_over_are_booked_as_deleted_once(
    databases: list[Database],
    postgresql: PostgresqlServer,
    postgresql_url: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async with pipeline_on(databases[0]) as pipeline, asyncio.timeout(PATIENCE_S):
        entries = await pipeline.accept(uplink())
        await pipeline.commit(*map(result, entries))
        await deliver(databases[0], await pipeline.waiting())
        much_later = NOW + timedelta(days=36_500)
        kind = RetentionKind.DELIVERIES
        hesitation = Hesitation(databases[1], monkeypatch)
        first = asyncio.create_task(
            Retention(databases[1]).delete_slice(kind, older_than=much_later)
        )
        await asyncio.to_thread(hesitation.has_written.wait, PATIENCE_S)
        second = asyncio.create_task(
            Retention(databases[0]).delete_slice(kind, older_than=much_later)
        )
        await until_something_waits(postgresql, postgresql_url.rpartition("/")[2])
        hesitation.may_commit.set()
        assert (await first, await second) == (1, 0)
        assert (await pipeline.balance()).deliveries.deleted == 1
