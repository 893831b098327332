"""What every database engine must do, run over every engine that is discovered."""

import asyncio
import contextlib
import threading
from datetime import UTC, datetime, timedelta, timezone
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import bindparam, delete, func, insert, select, update

from protocols.errors import Conflict, RowRefused, StorageUnavailable
from storage import Database, open_database
from storage.database import BulkInsert, BulkUpdate, Merge, Reader, Row, Transaction
from storage.instants import instant, microseconds
from storage.tables.pipeline import delivery_attempt, ledger, source_key

_KEYS = BulkInsert(source_key, ("device_id", "key", "message_id", "seen_at"))
_KEYS_SKIP = BulkInsert(source_key, ("device_id", "key", "message_id", "seen_at"), {})
_KEYS_MERGE = BulkInsert(
    source_key,
    ("device_id", "key", "message_id", "seen_at"),
    {"message_id": Merge.NEW, "seen_at": Merge.GREATEST},
)
_SELECT = select(source_key).order_by(source_key.c.device_id, source_key.c.key)
_IN = select(source_key.c.device_id).where(
    source_key.c.device_id.in_(bindparam("ids", expanding=True))
)
_NOT_IN = select(source_key.c.device_id).where(
    source_key.c.device_id.not_in(bindparam("ids", expanding=True))
)


_OLD, _NEW, _SKIPPED = (str(UUID(int=number)) for number in (1, 2, 3))


def add(transaction: Transaction, device_id: int) -> None:
    transaction.insert_many(_KEYS, [(device_id, "k", _OLD, 1)])


async def device_ids(database: Database) -> list[int]:
    rows = await database.read(lambda reader: reader.fetch_all(_SELECT))
    return [row.device_id for row in rows]


async def test_what_was_written_is_read_when_the_write_has_resolved(database: Database) -> None:
    await database.write(lambda transaction: add(transaction, 1))
    assert await device_ids(database) == [1]


async def test_what_was_written_is_there_after_closing_and_opening(
    database: Database, database_url: str
) -> None:
    await database.write(lambda transaction: add(transaction, 1))
    await database.close()
    again = open_database(database_url)
    await again.open()
    assert await device_ids(again) == [1]
    await again.close()


async def test_unit_that_raises_is_undone_alone_and_only_its_caller_learns_of_it(
    database: Database,
) -> None:
    def fail(transaction: Transaction) -> None:
        add(transaction, 2)
        raise LookupError("mine")

    answers = await asyncio.gather(
        database.write(lambda transaction: add(transaction, 1)),
        database.write(fail),
        database.write(lambda transaction: add(transaction, 3)),
        return_exceptions=True,
    )
    assert [type(answer) for answer in answers] == [type(None), LookupError, type(None)]
    assert await device_ids(database) == [1, 3]


async def test_units_run_in_the_order_in_which_they_were_handed_over(database: Database) -> None:
    order: list[int] = []
    await asyncio.gather(
        *(database.write(lambda _, n=number: order.append(n)) for number in range(200))  # type: ignore[misc]  # mypy knows no defaults of lambdas
    )
    assert order == list(range(200))


async def test_units_that_wait_for_a_commit_are_committed_together(database: Database) -> None:
    """Told by the loop: the callers of one group all resolve in the same iteration."""
    entered, proceed = asyncio.Event(), threading.Event()
    loop = asyncio.get_running_loop()

    def hold(_: Transaction) -> None:
        loop.call_soon_threadsafe(entered.set)
        assert proceed.wait(10)

    first = database.submit(hold)
    await entered.wait()
    waiting = [database.submit(lambda transaction, n=n: add(transaction, n)) for n in range(50)]  # type: ignore[misc]  # as above
    proceed.set()
    await waiting[0]
    assert first.done()
    assert all(future.done() for future in waiting)


async def test_unit_sees_what_it_wrote_and_readers_do_not_before_the_commit(
    database: Database,
) -> None:
    entered, proceed = asyncio.Event(), threading.Event()
    loop = asyncio.get_running_loop()

    def write(transaction: Transaction) -> list[Row]:
        add(transaction, 1)
        loop.call_soon_threadsafe(entered.set)
        assert proceed.wait(10)
        return transaction.fetch_all(_SELECT)

    writing = database.submit(write)
    await entered.wait()
    assert await device_ids(database) == []
    proceed.set()
    assert len(await writing) == 1
    assert await device_ids(database) == [1]


async def test_read_unit_sees_one_snapshot_throughout(database: Database) -> None:
    entered, is_written = asyncio.Event(), threading.Event()
    loop = asyncio.get_running_loop()

    def read(reader: Reader) -> set[int]:
        counts = {len(reader.fetch_all(_SELECT))}
        loop.call_soon_threadsafe(entered.set)
        # Not by waiting: an engine may run the unit on the loop, and lets others in while it reads.
        while not is_written.is_set():
            counts.add(len(reader.fetch_all(_SELECT)))
        return counts | {len(reader.fetch_all(_SELECT))}

    reading = asyncio.ensure_future(database.read(read))
    await entered.wait()
    await database.write(lambda transaction: add(transaction, 1))
    is_written.set()
    assert await reading == {0}


async def test_second_row_with_the_same_key_is_a_conflict(database: Database) -> None:
    await database.write(lambda transaction: add(transaction, 1))
    with pytest.raises(Conflict):
        await database.write(lambda transaction: add(transaction, 1))


@pytest.mark.parametrize("value", [2**70, "lone \ud800 surrogate", None, object()])
async def test_value_that_cannot_be_stored_is_a_refused_row(
    database: Database, value: object
) -> None:
    row = (1, value, _OLD, 1) if not isinstance(value, int) else (1, "k", _OLD, value)
    with pytest.raises(RowRefused):
        await database.write(lambda transaction: transaction.insert_many(_KEYS, [row]))


async def test_savepoint_left_by_an_error_undoes_only_what_was_inside(database: Database) -> None:
    def write(transaction: Transaction) -> None:
        add(transaction, 1)
        with contextlib.suppress(Conflict), transaction.savepoint():
            add(transaction, 2)
            add(transaction, 1)
            pytest.fail("the second row with this key was taken")
        add(transaction, 3)

    await database.write(write)
    assert await device_ids(database) == [1, 3]


@pytest.mark.parametrize("count", [0, 1, 2, 3, 127, 128, 129, 1_000])
async def test_rows_and_lists_of_any_length_arrive_whole(database: Database, count: int) -> None:
    rows = [(number, "k", _OLD, number) for number in range(count)]
    await database.write(lambda transaction: transaction.insert_many(_KEYS, rows))
    ids = list(range(count))
    inside = await database.read(lambda reader: reader.fetch_all(_IN, {"ids": ids}))
    outside = await database.read(lambda reader: reader.fetch_all(_NOT_IN, {"ids": ids[1:]}))
    assert sorted(row.device_id for row in inside) == ids
    assert [row.device_id for row in outside] == ids[:1]


async def test_merge_skips_replaces_adds_or_keeps_the_greatest(database: Database) -> None:
    counters = BulkInsert(ledger, ("organization_id", "shard", "accepted"), {"accepted": Merge.SUM})

    def write(transaction: Transaction) -> None:
        transaction.insert_many(_KEYS, [(1, "k", _OLD, 5), (2, "k", _OLD, 5)])
        transaction.insert_many(_KEYS_SKIP, [(1, "k", _SKIPPED, 9), (3, "k", _NEW, 1)])
        transaction.insert_many(_KEYS_MERGE, [(2, "k", _NEW, 4), (4, "k", _NEW, 1)])
        transaction.insert_many(counters, [(1, 0, 2), (2, 0, 3)])
        transaction.insert_many(counters, [(1, 0, -1), (3, 0, 1)])

    await database.write(write)
    rows = await database.read(lambda reader: reader.fetch_all(_SELECT))
    assert [(row.device_id, row.message_id, row.seen_at) for row in rows] == [
        (1, _OLD, 5),
        (2, _NEW, 5),
        (3, _NEW, 1),
        (4, _NEW, 1),
    ]
    sums = await database.read(
        lambda reader: reader.fetch_all(
            select(ledger.c.organization_id, ledger.c.accepted).order_by(ledger.c.organization_id)
        )
    )
    assert [(row.organization_id, row.accepted) for row in sums] == [(1, 1), (2, 3), (3, 1)]


async def test_many_updates_change_each_row_by_its_own_values(database: Database) -> None:
    many = BulkUpdate(source_key, ("device_id", "key"), ("message_id", "seen_at"))

    def write(transaction: Transaction) -> int:
        transaction.insert_many(_KEYS, [(number, "k", _OLD, 0) for number in range(200)])
        return transaction.update_many(
            many, [(number, "k", _NEW, number) for number in range(100, 300)]
        )

    assert await database.write(write) == 100
    rows = await database.read(lambda reader: reader.fetch_all(_SELECT))
    assert [row.seen_at for row in rows] == [0] * 100 + list(range(100, 200))


async def test_insert_returns_the_new_id_and_execute_the_rows_touched(database: Database) -> None:
    attempt = {
        "delivery_id": _OLD,
        "target_id": 1,
        "attempt": 1,
        "state": "dead",
        "attempted_at": 1,
        "duration_us": 1,
    }

    def write(transaction: Transaction) -> tuple[int, int, int, int]:
        first = transaction.insert(delivery_attempt, attempt)
        second = transaction.insert(delivery_attempt, attempt)
        changed = transaction.execute(
            update(delivery_attempt).where(delivery_attempt.c.attempt_id == first).values(attempt=2)
        )
        gone = transaction.execute(delete(delivery_attempt))
        return first, second, changed, gone

    first, second, changed, gone = await database.write(write)
    assert (second, changed, gone) == (first + 1, 1, 2)


async def test_parameters_given_with_a_statement_join_its_own_values(database: Database) -> None:
    statement = insert(source_key)
    values = {"device_id": 1, "key": "k", "message_id": _OLD, "seen_at": 3}
    await database.write(lambda transaction: transaction.execute(statement, values))
    count = select(func.count().label("rows")).where(
        source_key.c.seen_at.in_([3, 4]), source_key.c.key == bindparam("key")
    )
    row = await database.read(lambda reader: reader.fetch_one(count, {"key": "k"}))
    assert row is not None
    assert row.rows == 1


async def test_closing_commits_what_was_handed_over(database: Database, database_url: str) -> None:
    handed = [database.submit(lambda transaction, n=n: add(transaction, n)) for n in range(20)]  # type: ignore[misc]  # as above
    await database.close()
    assert all(future.done() and future.exception() is None for future in handed)
    again = open_database(database_url)
    await again.open()
    assert await device_ids(again) == list(range(20))
    await again.close()


async def test_closed_database_refuses_work(database: Database) -> None:
    await database.close()
    with pytest.raises(StorageUnavailable):
        await database.write(lambda transaction: add(transaction, 1))
    with pytest.raises(StorageUnavailable):
        await database.read(lambda reader: reader.fetch_all(_SELECT))
    assert not database.health().is_ok


async def test_cancelled_caller_leaves_its_unit_and_the_others_alone(database: Database) -> None:
    cancelled = database.submit(lambda transaction: add(transaction, 1))
    cancelled.cancel()
    await database.write(lambda transaction: add(transaction, 2))
    assert await device_ids(database) == [1, 2]


@given(st.datetimes(timezones=st.sampled_from([UTC, timezone(timedelta(hours=2))])))
def test_instants_come_back_to_the_microsecond(at: datetime) -> None:
    assert instant(microseconds(at)) == at


def test_naive_time_is_no_instant() -> None:
    with pytest.raises(TypeError):
        microseconds(datetime(2026, 1, 1))  # noqa: DTZ001  # what is tested
