"""Settling messages of a topic: claims, cursors, source keys and books, on every database engine."""

from collections.abc import Collection
from dataclasses import dataclass
from datetime import timedelta

import pytest
from sqlalchemy import select

from protocols.errors import ClaimLost
from protocols.messages import DeviceId, Uplink
from storage import Database
from storage.cursor_claims import CursorClaims
from storage.database import BulkInsert
from storage.journal import (
    Cursors,
    JournalEntry,
    JournalListener,
    JournalReader,
    PartitionStatus,
    position_of,
)
from storage.ledger import Ledger, LedgerBalance
from storage.log_settling import LogSettling
from storage.results import CommitReport, JobState, MessageResult, ResultStore
from storage.settling import Settling
from storage.tables.pipeline import journal_cursor, message
from tests.support.pipeline import NOW, UNSTORABLE, job, result, uplink

PARTITIONS = (1, 2)
_CURSORS = BulkInsert(journal_cursor, ("partition", "position"))


def partition_for(device_id: DeviceId) -> int:
    return 1 + device_id % 2


class TopicReader(JournalReader):
    """As much of a topic's reader as settling needs: claims, and which device is where."""

    def __init__(self, database: Database, name: str) -> None:
        self.claims = CursorClaims(database, name)
        self._settling = LogSettling(self.claims, partition_for, timedelta(hours=24))
        self.released: list[tuple[int, Cursors]] = []

    async def run(self, listener: JournalListener) -> None:
        raise NotImplementedError

    async def unsettled_after(self, position: int, limit: int) -> list[JournalEntry]:
        raise NotImplementedError

    async def cursors(self) -> Cursors:
        return await self.claims.positions()

    @property
    def settling(self) -> Settling:
        return self._settling

    def holds(self, device_id: DeviceId) -> bool:
        raise NotImplementedError

    def lose(self, partitions: Collection[int]) -> None:
        raise NotImplementedError

    def release(self, *, entries: int, size_bytes: int, cursors: Cursors) -> None:
        self.released.append((entries, cursors))

    def status(self) -> list[PartitionStatus]:
        raise NotImplementedError

    @property
    def source_key_window(self) -> timedelta:
        return timedelta(hours=24)


@dataclass(slots=True)
class Worker:
    """One process of a fleet, as far as its results go."""

    reader: TopicReader
    results: ResultStore

    async def commit(self, *results: MessageResult) -> CommitReport:
        """Commit them, and move each cursor to the last of them."""
        cursors: dict[int, int] = {}
        for one in results:
            if one.position is not None:
                partition = self.reader.settling.partition(one)
                assert partition is not None
                cursors[partition] = max(one.position, cursors.get(partition, 0))
        return await self.results.commit(results, cursors=cursors)


def a_worker(database: Database, name: str) -> Worker:
    reader = TopicReader(database, name)
    return Worker(reader, ResultStore(database, reader))


def entry(offset: int, of: Uplink) -> JournalEntry:
    return JournalEntry(position_of(partition_for(of.device_id), offset), of)


@pytest.fixture
async def topic(database: Database) -> Database:
    rows = [(number, position_of(number, 0)) for number in PARTITIONS]
    await database.write(lambda transaction: transaction.insert_many(_CURSORS, rows))
    return database


@pytest.fixture
async def worker(topic: Database) -> Worker:
    worker = a_worker(topic, "one")
    await worker.reader.claims.take(PARTITIONS)
    return worker


async def balance(database: Database) -> LedgerBalance:
    ledger = Ledger(database)
    assert await ledger.audit() == []
    (of_organization,) = await ledger.balance([1])
    assert of_organization.imbalance == 0
    return of_organization


async def message_ids(database: Database) -> set[str]:
    rows = await database.read(lambda reader: reader.fetch_all(select(message.c.message_id)))
    return {row.message_id for row in rows}


async def test_results_move_the_cursors_of_their_partitions_and_are_booked_as_accepted(
    worker: Worker, topic: Database
) -> None:
    report = await worker.commit(result(entry(5, uplink(1))), result(entry(3, uplink(2))))
    expected = {2: position_of(2, 5), 1: position_of(1, 3)}
    assert report.cursors == await worker.reader.cursors() == expected
    assert worker.reader.released == [(2, expected)]
    jobs = (await balance(topic)).jobs
    assert (jobs.accepted, jobs.pending, jobs.decoded) == (2, 0, 2)


async def test_partition_that_another_process_claimed_is_refused_and_nothing_is_written(
    worker: Worker, topic: Database
) -> None:
    other = a_worker(topic, "other")
    await other.reader.claims.take([1])
    lost, kept = result(entry(1, uplink(2))), result(entry(1, uplink(1)))
    with pytest.raises(ClaimLost) as caught:
        await worker.commit(lost, kept)
    assert caught.value.partitions == {1}
    assert await message_ids(topic) == set()
    left = worker.results.without([lost, kept], caught.value.partitions)
    assert left == [kept]
    await worker.commit(*left)
    await other.commit(lost)
    assert await message_ids(topic) == {lost.uplink.message_id, kept.uplink.message_id}


async def test_deferred_job_may_be_settled_only_by_who_holds_the_partition_of_its_device(
    worker: Worker, topic: Database
) -> None:
    one = entry(1, uplink(1))
    await worker.commit(result(one, job(JobState.DEFERRED)))
    await a_worker(topic, "other").reader.claims.take([2])
    with pytest.raises(ClaimLost):
        await worker.commit(result(one, live=False))


async def test_replay_needs_no_claim(worker: Worker, topic: Database) -> None:
    one = entry(1, uplink(1))
    await worker.commit(result(one, job(JobState.FAILED, error="It threw.")))
    report = await a_worker(topic, "keeps house").commit(result(one, live=False, generation=1))
    assert len(report.written) == 1
    assert (await balance(topic)).jobs.decoded == 1


async def test_cursor_that_would_go_back_is_refused(worker: Worker) -> None:
    await worker.commit(result(entry(9, uplink(1))))
    with pytest.raises(ClaimLost):
        await worker.commit(result(entry(4, uplink(1))))


async def test_message_that_is_read_once_more_after_a_crash_is_written_once(
    worker: Worker, topic: Database
) -> None:
    one, two = entry(1, uplink(1)), entry(2, uplink(1))
    await worker.results.commit([result(two)], cursors={2: position_of(2, 0)})
    report = await worker.commit(result(one), result(two))
    assert list(report.repeated) == [two.uplink.message_id]
    jobs = (await balance(topic)).jobs
    assert (jobs.accepted, jobs.decoded) == (2, 2)


async def test_source_key_that_was_used_before_keeps_nothing_and_is_not_accepted_twice(
    worker: Worker, topic: Database
) -> None:
    first, again = uplink(1, source_key="a"), uplink(1, source_key="a")
    late = uplink(1, source_key="a", received_at=NOW + timedelta(hours=25))
    report = await worker.commit(result(entry(1, first)), result(entry(2, again)))
    assert list(report.repeated) == [again.message_id]
    report = await worker.commit(result(entry(3, again)), result(entry(4, late)))
    assert await message_ids(topic) == {first.message_id, late.message_id}
    jobs = (await balance(topic)).jobs
    assert (jobs.accepted, jobs.decoded) == (2, 2)
    assert report.cursors == {2: position_of(2, 4)}


async def test_message_with_a_source_key_is_not_its_own_duplicate_when_it_is_read_once_more(
    worker: Worker, topic: Database
) -> None:
    one = entry(1, uplink(1, source_key="a"))
    await worker.results.commit([result(one)], cursors={2: position_of(2, 0)})
    await worker.commit(result(one))
    assert (await balance(topic)).jobs.accepted == 1


async def test_result_that_cannot_be_stored_is_set_aside_and_counts_as_accepted(
    worker: Worker, topic: Database
) -> None:
    bad = result(entry(1, uplink(1)), job(JobState.FAILED, error=UNSTORABLE))
    report = await worker.commit(bad, result(entry(2, uplink(1))))
    assert list(report.set_aside) == [bad.uplink.message_id]
    jobs = (await balance(topic)).jobs
    assert (jobs.accepted, jobs.set_aside, jobs.decoded) == (2, 1, 1)


async def test_two_processes_that_settle_at_once_share_the_books(
    worker: Worker, topic: Database
) -> None:
    other = a_worker(topic, "other")
    await worker.reader.claims.take([1])
    await other.reader.claims.take([2])
    for offset in range(1, 6):
        await worker.commit(result(entry(offset, uplink(2))))
        await other.commit(result(entry(offset, uplink(1))))
    assert (await balance(topic)).jobs.decoded == 10
