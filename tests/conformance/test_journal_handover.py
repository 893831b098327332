"""What the embedded journal holds goes over to a topic: whole, once, in order, and in the books."""

import asyncio
from collections import defaultdict
from datetime import timedelta

import pytest
from sqlalchemy import select

from protocols.errors import ClaimLost, RowRefused, StorageUnavailable
from protocols.messages import Uplink
from storage import Database
from storage.cursor_claims import CursorClaims
from storage.database import BulkInsert
from storage.journal import EMBEDDED, Appended, JournalAppender, JournalEntry, position_of
from storage.journal_handover import HandoverReport, JournalHandover, entries_left
from storage.ledger import Ledger, LedgerBalance
from storage.results import ResultStore
from storage.tables.pipeline import journal_cursor, message, set_aside
from tests.conformance.test_log_settling import TopicReader, partition_for
from tests.support.pipeline import NOW, pipeline_on, result, uplink

DEVICES, ROUNDS = 5, 6


class Topic(JournalAppender):
    """A journal in memory. `fails_after` appends it is away; `refused` it cannot store."""

    def __init__(self) -> None:
        self.entries: list[JournalEntry] = []
        self.fails_after: int | None = None
        self.refused: set[str] = set()

    async def append(self, uplink: Uplink) -> Appended:
        if self.fails_after is not None and len(self.entries) >= self.fails_after:
            raise StorageUnavailable("Kafka is away.")
        if uplink.message_id in self.refused:
            raise RowRefused("It is too large.")
        partition = partition_for(uplink.device_id)
        position = position_of(partition, len(self.entries) + 1)
        self.entries.append(JournalEntry(position, uplink))
        return Appended(uplink.message_id, position, False)

    @property
    def waiting(self) -> int:
        return 0


@pytest.fixture
def topic() -> Topic:
    return Topic()


@pytest.fixture
async def uplinks(database: Database) -> list[Uplink]:
    """What an embedded journal took and did not settle; every other message has a source key."""
    taken = [
        uplink(device_id, source_key=f"k{number}" if number % 2 else None)
        for number in range(ROUNDS)
        for device_id in range(DEVICES)
    ]
    async with pipeline_on(database) as pipeline:
        await pipeline.accept(*taken)
    return taken


def handover(database: Database, topic: Topic) -> JournalHandover:
    return JournalHandover(database, topic, holder="migrate")


async def settle(database: Database, topic: Topic) -> None:
    """Settle the topic as a worker would, two entries at a time."""
    rows = [(number, position_of(number, 0)) for number in (1, 2)]
    cursors = BulkInsert(journal_cursor, ("partition", "position"))
    await database.write(lambda transaction: transaction.insert_many(cursors, rows))
    reader = TopicReader(database, "worker")
    await reader.claims.take((1, 2))
    results = ResultStore(database, reader)
    for start in range(0, len(topic.entries), 2):
        pair = topic.entries[start : start + 2]
        await results.commit(
            [result(entry) for entry in pair],
            cursors={entry.position >> 48: entry.position for entry in pair},
        )


async def books(database: Database) -> LedgerBalance:
    ledger = Ledger(database)
    assert await ledger.audit() == []
    (balance,) = await ledger.balance([1])
    assert balance.imbalance == 0, balance
    return balance


async def stored_messages(database: Database) -> dict[int, list[str]]:
    """Message ids by device, in the order of their positions."""
    statement = select(message.c.message_id, message.c.device_id).order_by(message.c.position)
    by_device: dict[int, list[str]] = defaultdict(list)
    for row in await database.read(lambda reader: reader.fetch_all(statement)):
        by_device[row.device_id].append(row.message_id)
    return dict(by_device)


def sent_messages(uplinks: list[Uplink]) -> dict[int, list[str]]:
    by_device: dict[int, list[str]] = defaultdict(list)
    for one in uplinks:
        by_device[one.device_id].append(one.message_id)
    return dict(by_device)


async def test_everything_goes_over_as_it_was_and_in_the_order_of_each_device(
    database: Database, topic: Topic, uplinks: list[Uplink]
) -> None:
    assert await handover(database, topic).run() == HandoverReport(handed_over=len(uplinks))
    assert sent_messages([entry.uplink for entry in topic.entries]) == sent_messages(uplinks)
    assert {entry.uplink for entry in topic.entries} == set(uplinks)
    assert await entries_left(database) == 0


async def test_books_balance_before_between_and_after(
    database: Database, topic: Topic, uplinks: list[Uplink]
) -> None:
    assert (await books(database)).jobs.pending == len(uplinks)
    await handover(database, topic).run()
    balance = await books(database)
    assert (balance.jobs.accepted, balance.jobs.pending) == (0, 0)
    await settle(database, topic)
    balance = await books(database)
    assert balance.jobs.accepted == balance.jobs.decoded == len(uplinks)


@pytest.mark.parametrize("fails_after", [0, 1, 7, DEVICES * ROUNDS - 1])
async def test_interrupted_handover_is_begun_anew_and_nothing_is_lost_or_doubled(
    database: Database, topic: Topic, uplinks: list[Uplink], fails_after: int
) -> None:
    topic.fails_after = fails_after
    with pytest.raises(StorageUnavailable, match="Kafka is away"):
        await handover(database, topic).run()
    await books(database)
    topic.fails_after = None
    await handover(database, topic).run()
    await settle(database, topic)
    assert await stored_messages(database) == sent_messages(uplinks)
    assert (await books(database)).jobs.decoded == len(uplinks)


async def test_process_killed_before_it_took_out_what_it_appended_doubles_nothing(
    database: Database, topic: Topic, uplinks: list[Uplink], monkeypatch: pytest.MonkeyPatch
) -> None:
    async def killed(*_: object) -> None:
        raise StorageUnavailable("The power went.")

    monkeypatch.setattr(JournalHandover, "_take_out", killed)
    with pytest.raises(StorageUnavailable, match="power"):
        await handover(database, topic).run()
    monkeypatch.undo()
    await handover(database, topic).run()
    assert len(topic.entries) == 2 * len(uplinks)
    await settle(database, topic)
    assert await stored_messages(database) == sent_messages(uplinks)
    assert (await books(database)).jobs.accepted == len(uplinks)


async def test_repetition_of_a_message_that_went_over_is_still_recognised(
    database: Database, topic: Topic, uplinks: list[Uplink]
) -> None:
    await handover(database, topic).run()
    again = uplink(0, source_key="k1", received_at=NOW + timedelta(minutes=1))
    await topic.append(again)
    await settle(database, topic)
    assert await stored_messages(database) == sent_messages(uplinks)
    assert (await books(database)).jobs.accepted == len(uplinks)


async def test_many_entries_go_over_page_by_page(database: Database, topic: Topic) -> None:
    count = 1_100
    async with pipeline_on(database) as pipeline:
        for start in range(0, count, 100):
            await asyncio.gather(
                *(pipeline.journal.append(uplink(n % 3)) for n in range(start, start + 100))
            )
        sent = [entry.uplink for entry in pipeline.entries]
    assert (await handover(database, topic).run()).handed_over == count
    assert sent_messages([entry.uplink for entry in topic.entries]) == sent_messages(sent)


async def test_entry_that_the_topic_refuses_is_kept_raw_and_holds_up_no_other(
    database: Database, topic: Topic, uplinks: list[Uplink]
) -> None:
    topic.refused = {uplinks[3].message_id}
    report = await handover(database, topic).run()
    assert report == HandoverReport(handed_over=len(uplinks) - 1, set_aside=1)
    (kept,) = await database.read(lambda reader: reader.fetch_all(select(set_aside)))
    assert (kept.message_id, bytes(kept.payload)) == (
        uplinks[3].message_id,
        uplinks[3].payload,
    )
    assert kept.reason == "row_refused"
    assert (await books(database)).jobs.set_aside == 1


async def test_process_that_lost_its_claim_takes_nothing_out(
    database: Database, topic: Topic, uplinks: list[Uplink], monkeypatch: pytest.MonkeyPatch
) -> None:
    append = topic.append

    async def append_while_another_claims(uplink: Uplink) -> Appended:
        await CursorClaims(database, "another").take([EMBEDDED])
        return await append(uplink)

    monkeypatch.setattr(topic, "append", append_while_another_claims)
    with pytest.raises(ClaimLost):
        await handover(database, topic).run()
    assert await entries_left(database) == len(uplinks)
    await books(database)


async def test_empty_journal_is_handed_over_without_claiming_it(
    database: Database, topic: Topic
) -> None:
    assert await handover(database, topic).run() == HandoverReport()
    rows = await database.read(lambda reader: reader.fetch_all(select(journal_cursor)))
    assert [row.epoch for row in rows] == [0]


async def test_embedded_journal_gives_no_position_of_what_went_over_again(
    database: Database, topic: Topic, uplinks: list[Uplink]
) -> None:
    await handover(database, topic).run()
    async with pipeline_on(database) as pipeline:
        appended = await pipeline.journal.append(uplink(1))
    assert appended.position is not None
    assert appended.position > len(uplinks)
