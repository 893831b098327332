"""What leases must do, on every database engine that is discovered."""

import asyncio
from random import sample

import pytest
from sqlalchemy import insert, update

from protocols.errors import LeaseLost
from storage import Database, open_database
from storage.database import Transaction
from storage.leases import Granted, Lease, LeaseSettings, LeaseStore, check_lease
from storage.tables.fleet import lease, process
from tests.support.clock_in_database import ClockInDatabase

TTL_S = 13.0
SETTINGS = LeaseSettings(ttl_s=TTL_S)
NAMES = ["housekeeping", "target/1", "target/2", "target/3"]


class Monotonic:
    """A process's own clock, in the test's hand."""

    def __init__(self) -> None:
        self.now_s = 100.0

    def __call__(self) -> float:
        return self.now_s


@pytest.fixture
async def clock(database: Database) -> ClockInDatabase:
    clock = ClockInDatabase(database)
    await clock.start()
    return clock


def store(database: Database, holder: str, monotonic: Monotonic | None = None) -> LeaseStore:
    return LeaseStore(
        database,
        holder,
        settings=SETTINGS,
        monotonic=monotonic or Monotonic(),
        now=ClockInDatabase.now,
    )


def names_of(granted: Granted) -> list[str]:
    return [one.name for one in granted.leases]


async def may_write(database: Database, held: Lease) -> bool:
    try:
        await database.write(lambda transaction: check_lease(transaction, held))
    except LeaseLost:
        return False
    return True


async def test_what_is_free_is_claimed_up_to_the_limit_and_not_twice(
    database: Database, clock: ClockInDatabase
) -> None:
    a, b = store(database, "a"), store(database, "b")
    assert names_of(await a.claim(NAMES, limit=3)) == NAMES[:3]
    assert names_of(await b.claim(NAMES, limit=3)) == NAMES[3:]
    assert names_of(await a.claim(NAMES, limit=3)) == []
    assert names_of(await a.claim([], limit=3)) == []


async def test_lease_is_its_holders_until_it_has_run_out_and_anybodys_then(
    database: Database, clock: ClockInDatabase
) -> None:
    a, b = store(database, "a"), store(database, "b")
    (of_a,) = (await a.claim(["target/1"], limit=1)).leases
    await clock.advance(TTL_S - 0.001)
    assert (await b.claim(["target/1"], limit=1)).leases == ()
    await clock.advance(0.001)
    (of_b,) = (await b.claim(["target/1"], limit=1)).leases
    assert (of_b.holder, of_b.epoch) == ("b", of_a.epoch + 1)


async def test_one_statement_renews_all_that_a_process_holds_and_nothing_else(
    database: Database, clock: ClockInDatabase
) -> None:
    a, b = store(database, "a"), store(database, "b")
    held = await a.claim(NAMES[:2], limit=2)
    await b.claim(NAMES[2:], limit=2)
    await clock.advance(TTL_S - 1)
    assert sorted((await a.renew()).leases, key=lambda one: one.name) == list(held.leases)
    await clock.advance(1)
    assert names_of(await store(database, "c").claim(NAMES, limit=9)) == NAMES[2:]


async def test_lease_that_ran_out_and_that_nobody_took_keeps_its_epoch_when_renewed(
    database: Database, clock: ClockInDatabase
) -> None:
    a, b = store(database, "a"), store(database, "b")
    held = await a.claim(["target/1"], limit=1)
    await clock.advance(3 * TTL_S)
    assert (await a.renew()).leases == held.leases
    assert (await b.claim(["target/1"], limit=1)).leases == ()


async def test_lease_that_another_took_is_not_renewed_and_nothing_is_written_in_its_name(
    database: Database, clock: ClockInDatabase
) -> None:
    a, b = store(database, "a"), store(database, "b")
    (of_a,) = (await a.claim(["target/1"], limit=1)).leases
    assert await may_write(database, of_a)
    await clock.advance(TTL_S)
    (of_b,) = (await b.claim(["target/1"], limit=1)).leases
    assert (await a.renew()).leases == ()
    assert not await may_write(database, of_a)
    assert await may_write(database, of_b)


async def test_epoch_before_that_of_the_same_holder_writes_nothing_either(
    database: Database, clock: ClockInDatabase
) -> None:
    a, b = store(database, "a"), store(database, "b")
    (first,) = (await a.claim(["target/1"], limit=1)).leases
    await clock.advance(TTL_S)
    await b.release((await b.claim(["target/1"], limit=1)).leases)
    (second,) = (await a.claim(["target/1"], limit=1)).leases
    assert second.epoch == first.epoch + 2
    assert (await may_write(database, first), await may_write(database, second)) == (False, True)


async def test_released_lease_is_free_at_once_and_an_old_release_frees_nothing(
    database: Database, clock: ClockInDatabase
) -> None:
    a, b = store(database, "a"), store(database, "b")
    of_a = (await a.claim(["target/1"], limit=1)).leases
    await a.release(of_a)
    assert not await may_write(database, of_a[0])
    (of_b,) = (await b.claim(["target/1"], limit=1)).leases
    await a.release(of_a)
    assert await may_write(database, of_b)


async def test_forgetting_removes_only_what_one_holds(
    database: Database, clock: ClockInDatabase
) -> None:
    a, b = store(database, "a"), store(database, "b")
    await a.claim(NAMES[:2], limit=2)
    await b.claim(NAMES[2:], limit=2)
    await a.forget(NAMES)
    assert [row.name for row in await a.list()] == NAMES[2:]


async def test_own_view_of_the_time_begins_before_the_statement_and_ends_before_the_row_does(
    database: Database, clock: ClockInDatabase
) -> None:
    monotonic = Monotonic()
    a = store(database, "a", monotonic)
    asked_s = monotonic.now_s
    for granted in (await a.claim(["target/1"], limit=1), await a.renew()):
        assert asked_s + TTL_S - 1 < granted.until_s < asked_s + TTL_S
    monotonic.now_s += 5
    assert (await a.renew()).until_s > asked_s + 5 + TTL_S - 1


async def test_survey_tells_who_holds_what_for_how_long_and_who_lives(
    database: Database, clock: ClockInDatabase
) -> None:
    a, b = store(database, "a"), store(database, "b")
    await a.claim(NAMES[:1], limit=1)
    await b.release((await b.claim(NAMES[1:2], limit=1)).leases)
    await clock.advance(5)
    await show_process(database, "b", "worker")
    await show_process(database, "w", "web")
    await show_process(database, "silent", "worker")
    silent = update(process).where(process.c.process_id == "silent").values(seen_at=0)
    await database.write(lambda transaction: transaction.execute(silent))

    survey = await a.survey()

    assert survey.workers == {"a", "b"}
    assert [(row.name, row.holder, row.is_free) for row in survey.rows.values()] == [
        ("housekeeping", "a", False),
        ("target/1", None, True),
    ]
    assert survey.rows["housekeeping"].remaining_s == pytest.approx(TTL_S - 5)


async def test_many_processes_that_claim_at_once_share_without_overlap(
    database: Database, clock: ClockInDatabase
) -> None:
    names = [f"target/{number}" for number in range(40)]
    stores = [store(database, f"process {number}") for number in range(8)]

    granted = await asyncio.gather(*(one.claim(names, limit=10) for one in stores))

    taken = [one.name for grant in granted for one in grant.leases]
    assert len(taken) == len(set(taken)) == 40
    assert all(one.epoch == 1 for grant in granted for one in grant.leases)


async def test_without_a_test_the_clock_is_the_databases_own(database: Database) -> None:
    a = LeaseStore(database, "a")
    await a.claim(["target/1"], limit=1)
    (row,) = await a.list()
    assert 12 < row.remaining_s <= 13
    expired = update(lease).values(expires_at=lease.c.expires_at - 13_000_000)
    await database.write(lambda transaction: transaction.execute(expired))
    assert names_of(await LeaseStore(database, "b").claim(["target/1"], limit=1)) == ["target/1"]


async def show_process(database: Database, process_id: str, role: str) -> None:
    shown = insert(process).values(seen_at=ClockInDatabase.now, started_at=ClockInDatabase.now)
    row = {
        "process_id": process_id,
        "role": role,
        "host": "here",
        "pid": 1,
        "version": "1",
        "is_well": True,
        "reason": "",
        "report": b"",
    }

    def unit(transaction: Transaction) -> int:
        return transaction.execute(shown, row)

    await database.write(unit)


async def test_processes_with_sessions_of_their_own_share_without_overlap_or_waiting_in_a_circle(
    database: Database, database_url: str, clock: ClockInDatabase
) -> None:
    names = [f"target/{number}" for number in range(40)]
    others = [open_database(database_url, is_shared=True) for _ in range(4)]
    await asyncio.gather(*(other.open() for other in others))
    stores = [store(other, f"process {number}") for number, other in enumerate(others)]

    async def take_share(one: LeaseStore) -> list[Lease]:
        taken: list[Lease] = []
        while len(taken) < 10:
            # Whoever comes second finds rows that are just being taken, and asks again.
            granted = await one.claim(in_any_order(names), limit=10 - len(taken))
            taken += granted.leases
            await one.renew()
        return taken

    async with asyncio.timeout(20):
        shares = await asyncio.gather(*map(take_share, stores))
    await asyncio.gather(*(other.close() for other in others))

    assert len({one.name for share in shares for one in share}) == 40
    assert {one.epoch for share in shares for one in share} == {1}


def in_any_order(names: list[str]) -> list[str]:
    """Each process learns of them in an order of its own."""
    return sample(names, len(names))
