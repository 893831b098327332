"""What is the same for every journal, on every database engine."""

import asyncio
from collections.abc import AsyncIterator, Sequence

import pytest

from protocols.errors import ClaimLost, RowRefused
from protocols.messages import DeviceId
from storage import Database
from storage.cursor_claims import CursorClaims
from storage.journal import JournalEntry, partition_of, position_of
from storage.ledger import Ledger
from storage.results import CommitReport, ResultStore
from tests.conformance.journals import JournalPlace, OpenJournal, discover
from tests.support.hearing import Hearing
from tests.support.pipeline import result, uplink

JOURNALS = discover()
DEVICES = 12


@pytest.fixture(params=sorted(JOURNALS))
async def place(request: pytest.FixtureRequest, database: Database) -> JournalPlace:
    module = JOURNALS[request.param]
    needs = {name: request.getfixturevalue(name) for name in module.NEEDS}
    made: JournalPlace = module.make_place(**needs)
    await made.prepare(database)
    return made


@pytest.fixture
def listener() -> Hearing:
    return Hearing()


@pytest.fixture
async def journal(
    place: JournalPlace, database: Database, listener: Hearing
) -> AsyncIterator[OpenJournal]:
    async with place.open(database, listener) as opened:
        yield opened


async def settle(
    database: Database, journal: OpenJournal, entries: Sequence[JournalEntry]
) -> CommitReport:
    """Settle these entries and everything before them."""
    cursors: dict[int, int] = {}
    for entry in entries:
        partition = partition_of(entry.position)
        cursors[partition] = max(cursors.get(partition, 0), entry.position)
    store = ResultStore(database, journal.reader)
    return await store.commit([result(entry) for entry in entries], cursors=cursors)


async def unsettled(journal: OpenJournal, listener: Hearing, count: int) -> list[JournalEntry]:
    """Read behind the cursors that were assigned until there are so many entries."""
    async with asyncio.timeout(20):
        while True:
            found = [
                entry
                for cursor in listener.cursors.values()
                for entry in await journal.reader.unsettled_after(cursor, 1_000)
            ]
            if len(found) >= count:
                return found
            await asyncio.sleep(0.02)


async def test_every_appended_message_is_told_once_as_it_was_sent_in_the_order_of_its_device(
    journal: OpenJournal, listener: Hearing
) -> None:
    sent = [
        uplink(number % DEVICES, payload=b'{"t":%d}' % number, source_key=f"æ{number}")
        for number in range(200)
    ]
    await asyncio.gather(*(journal.appender.append(one) for one in sent))
    heard = [entry.uplink for entry in await listener.hears(200)]
    for device_id in range(DEVICES):
        expected = [one for one in sent if one.device_id == device_id]
        assert [one for one in heard if one.device_id == device_id] == expected
    assert len(heard) == 200


async def test_append_says_the_position_that_is_told(
    journal: OpenJournal, listener: Hearing
) -> None:
    appended = [await journal.appender.append(uplink(number)) for number in range(10)]
    heard = await listener.hears(10)
    told = {entry.uplink.message_id: entry.position for entry in heard}
    assert {one.message_id: one.position for one in appended} == told
    assert not any(one.is_duplicate for one in appended)


async def test_messages_of_a_device_are_in_one_partition_with_growing_positions(
    journal: OpenJournal, listener: Hearing
) -> None:
    for number in range(60):
        await journal.appender.append(uplink(number % DEVICES))
    positions: dict[DeviceId, list[int]] = {}
    for entry in await listener.hears(60):
        positions.setdefault(entry.uplink.device_id, []).append(entry.position)
    for of_device in positions.values():
        assert of_device == sorted(set(of_device))
        assert len({partition_of(position) for position in of_device}) == 1
        assert partition_of(of_device[0]) in listener.cursors


async def test_what_was_not_settled_is_there_for_the_next_run_and_nothing_else(
    place: JournalPlace, database: Database
) -> None:
    first, second = Hearing(), Hearing()
    async with place.open(database, first) as journal:
        for number in range(20):
            await journal.appender.append(uplink(number % DEVICES))
        entries = await first.hears(20)
        by_partition = sorted(entries, key=lambda entry: entry.position)
        done = [entry for entry in by_partition if entry.uplink.device_id % 2]
        # Whatever stands before what is settled in its partition is settled, too.
        done = [
            entry
            for entry in by_partition
            if any(
                partition_of(one.position) == partition_of(entry.position)
                and one.position >= entry.position
                for one in done[: len(done) // 2]
            )
        ]
        await settle(database, journal, done)
        left = {entry.position for entry in by_partition} - {entry.position for entry in done}
    async with place.open(database, second) as journal:
        found = await unsettled(journal, second, len(left))
        assert {entry.position for entry in found} == left
        assert all(entry.position > second.cursors[partition_of(entry.position)] for entry in found)
        assert second.crashes == 0


async def test_position_is_never_given_twice_though_everything_was_settled(
    place: JournalPlace, database: Database
) -> None:
    positions: list[int] = []
    for _ in range(3):
        listener = Hearing()
        async with place.open(database, listener) as journal:
            await journal.appender.append(uplink(1))
            entries = await listener.hears(1)
            await settle(database, journal, entries)
            positions += [entry.position for entry in entries]
    assert positions == sorted(set(positions))


async def test_unsettled_entries_are_read_in_order_beyond_a_position_and_up_to_a_limit(
    journal: OpenJournal, listener: Hearing
) -> None:
    for _ in range(6):
        await journal.appender.append(uplink(1))
    entries = await listener.hears(6)
    read = await journal.reader.unsettled_after(entries[1].position, 3)
    assert read == entries[2:5]
    assert await journal.reader.unsettled_after(entries[-1].position, 3) == []


async def test_nothing_is_read_of_a_partition_that_is_not_assigned(journal: OpenJournal) -> None:
    await journal.appender.append(uplink(1))
    assert await journal.reader.unsettled_after(position_of(9_999, 0), 10) == []


async def test_uplink_that_cannot_be_stored_is_refused_alone(
    journal: OpenJournal, listener: Hearing
) -> None:
    answers = await asyncio.gather(
        journal.appender.append(uplink(1)),
        journal.appender.append(uplink(1, source_key="\ud800")),
        journal.appender.append(uplink(1)),
        return_exceptions=True,
    )
    assert isinstance(answers[1], RowRefused)
    assert len(await listener.hears(2)) == 2


async def test_caller_that_gives_up_does_not_take_its_message_back(
    journal: OpenJournal, listener: Hearing
) -> None:
    appending = asyncio.ensure_future(journal.appender.append(uplink(1)))
    await asyncio.sleep(0)
    appending.cancel()
    await journal.appender.append(uplink(2))
    heard = await listener.hears(2)
    assert {entry.uplink.device_id for entry in heard} == {1, 2}


async def test_listener_has_let_go_before_a_run_ends_and_it_can_be_run_again(
    place: JournalPlace, database: Database
) -> None:
    listener = Hearing()
    for revocations in (1, 2):
        async with place.open(database, listener) as journal:
            await journal.appender.append(uplink(1))
            await unsettled(journal, listener, revocations)
        assert listener.revocations == revocations
        assert await journal.reader.unsettled_after(0, 10) == [] or not listener.cursors.keys() - {
            0
        }


async def test_books_balance_when_a_source_key_comes_again(
    journal: OpenJournal, listener: Hearing, database: Database
) -> None:
    for key in ("a", "b", "a"):
        await journal.appender.append(uplink(1, source_key=key))
    await journal.appender.append(uplink(1))
    await asyncio.wait_for(_until_told(journal, listener), 20)
    await settle(database, journal, listener.entries)
    (balance,) = await Ledger(database).balance([1])
    assert (balance.imbalance, balance.jobs.accepted, balance.jobs.decoded) == (0, 3, 3)


async def _until_told(journal: OpenJournal, listener: Hearing) -> None:
    """The last message has no key, so that it is told by every journal."""
    while not any(entry.uplink.source_key is None for entry in listener.entries):
        await listener.hears(len(listener.entries) + 1)


async def test_results_under_a_claim_that_was_lost_are_refused_and_change_nothing(
    journal: OpenJournal, listener: Hearing, database: Database
) -> None:
    await journal.appender.append(uplink(1))
    (entry,) = await listener.hears(1)
    await CursorClaims(database, "another").take([partition_of(entry.position)])
    with pytest.raises(ClaimLost) as caught:
        await settle(database, journal, [entry])
    assert caught.value.partitions == {partition_of(entry.position)}
    balances = await Ledger(database).balance([1])
    assert all((one.imbalance, one.jobs.decoded) == (0, 0) for one in balances)
    assert await journal.reader.unsettled_after(entry.position - 1, 10) == [entry]


async def test_claims_that_ended_in_disorder_are_counted_until_the_cursor_moves(
    place: JournalPlace, database: Database
) -> None:
    listener = Hearing()
    async with place.open(database, listener) as journal:
        await journal.appender.append(uplink(1))
        (entry,) = await listener.hears(1)
    for _ in range(2):
        await CursorClaims(database, "crashing").take([partition_of(entry.position)])
    async with place.open(database, listener) as journal:
        assert listener.crashes == 2
        await settle(database, journal, [entry])
        await CursorClaims(database, "fine").take([partition_of(entry.position)])
    async with place.open(database, listener):
        assert listener.crashes == 1


async def test_status_says_how_many_entries_are_not_settled(
    journal: OpenJournal, listener: Hearing, database: Database
) -> None:
    for number in range(12):
        await journal.appender.append(uplink(number))
    entries = await listener.hears(12)
    assert sum(one.lag for one in journal.reader.status()) == 12
    await settle(database, journal, entries)
    status = journal.reader.status()
    assert [one.lag for one in status] == [0] * len(status)
    assert {one.partition: one.cursor for one in status} == await journal.reader.cursors()


async def test_only_the_holder_of_its_partition_has_a_device(journal: OpenJournal) -> None:
    assert all(journal.reader.holds(DeviceId(number)) for number in range(DEVICES))
