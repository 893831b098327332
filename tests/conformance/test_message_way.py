"""Where a message is, on every engine, wherever it is."""

from datetime import timedelta

import pytest

from protocols.errors import InvalidInput, NotFound
from protocols.identifiers import new_message_id
from protocols.messages import TargetId
from storage.database import BulkInsert, Transaction
from storage.delivery.deliveries import DeliveryState
from storage.instants import microseconds
from storage.message_lists import MessageFilter, MessagePage, list_page
from storage.message_way import MessageWay, Place, find
from storage.repositories import EVERYWHERE, Scope
from storage.results import JobState
from storage.tables.fleet import journal_topic
from storage.tables.pipeline import journal
from tests.support.pipeline import (
    DECODER,
    NOW,
    TARGET,
    UNSTORABLE,
    Pipeline,
    job,
    outcome,
    result,
    uplink,
)

NOWHERE = Scope(frozenset())
_JOURNAL = BulkInsert(
    journal,
    (
        *("position", "message_id", "device_id", "organization_id", "application_id"),
        *("device_type", "received_at", "payload", "source_key"),
    ),
)


async def way_of(pipeline: Pipeline, message_id: str, scope: Scope = EVERYWHERE) -> MessageWay:
    return await pipeline.database.read(lambda reader: find(reader, scope, message_id))


async def test_message_is_found_while_it_waits_in_the_journal(pipeline: Pipeline) -> None:
    _, entry, _ = await pipeline.accept(uplink(1), uplink(2, payload=b"[2]"), uplink(3))
    way = await way_of(pipeline, entry.uplink.message_id)
    assert (way.place, way.device_id, way.payload) == (Place.JOURNAL, 2, b"[2]")
    assert (way.received_at, way.jobs, way.deliveries) == (microseconds(NOW), (), ())


async def test_message_is_found_at_any_place_of_a_long_journal(pipeline: Pipeline) -> None:
    """Also one whose id is out of order, as after a clock was set back."""
    ids: list[str] = sorted(new_message_id() for _ in range(12_000))
    ids[9_000], late = "019b0000-0000-7000-8000-000000000000", ids[9_000]
    rows = [
        # Gaps: what is settled out of order is gone already.
        (2 * number, message_id, 1, 1, 1, "GENERIC_HTTP", 1, b"[%d]" % number, None)
        for number, message_id in enumerate(ids, 1)
    ]
    await pipeline.database.write(lambda transaction: transaction.insert_many(_JOURNAL, rows))
    for place in (0, 1, 5_999, 9_000, 11_998, 11_999):
        way = await way_of(pipeline, ids[place])
        assert (way.place, way.payload) == (Place.JOURNAL, b"[%d]" % (place + 1))
    for unknown in (late, new_message_id(), "019a0000-0000-7000-8000-000000000000"):
        with pytest.raises(NotFound):
            await way_of(pipeline, unknown)


async def test_message_that_was_refused_is_found_with_the_reason(pipeline: Pipeline) -> None:
    (entry,) = await pipeline.accept(uplink(1))
    failed = job(JobState.FAILED, error=UNSTORABLE)
    await pipeline.commit(result(entry, failed, targets=()))
    way = await way_of(pipeline, entry.uplink.message_id)
    assert (way.place, way.payload, way.jobs) == (Place.SET_ASIDE, b'{"t":1}', ())
    assert way.set_aside is not None
    assert (way.set_aside.reason, way.set_aside.at) == ("row_refused", microseconds(NOW))


async def test_jobs_tell_what_each_decoder_made_of_it(pipeline: Pipeline) -> None:
    (entry,) = await pipeline.accept(uplink(1))
    raw = job(JobState.NO_DECODER, decoder_id=None)
    await pipeline.commit(result(entry, raw, job(), targets=()))
    way = await way_of(pipeline, entry.uplink.message_id)
    assert way.place is Place.KEPT
    assert [(one.decoder_id, one.state, one.body) for one in way.jobs] == [
        (None, JobState.NO_DECODER, None),
        (DECODER, JobState.DECODED, b'{"decoded":1}'),
    ]
    assert {(one.decoder_version, one.warnings, one.settled_at) for one in way.jobs} == {
        ("v1", '["careful"]', microseconds(NOW))
    }


async def test_deliveries_come_with_the_attempts_that_are_in_the_log(pipeline: Pipeline) -> None:
    (entry,) = await pipeline.accept(uplink(1))
    await pipeline.commit(result(entry, targets=(TARGET, TargetId(8))))
    (item,) = await pipeline.waiting()
    await pipeline.outbox.record([outcome(item, DeliveryState.RETRYING, retry_in_s=5)])
    (again,) = await pipeline.waiting(now=NOW + timedelta(seconds=5))
    later = NOW + timedelta(seconds=6)
    await pipeline.outbox.record([outcome(again, at=later)])
    tried, waiting = (await way_of(pipeline, entry.uplink.message_id)).deliveries
    assert (tried.target_id, tried.state, tried.attempts) == (TARGET, DeliveryState.DELIVERED, 2)
    assert (tried.decoder_id, tried.settled_at) == (DECODER, microseconds(later))
    assert [(one.attempt, one.state, one.status_code, one.error) for one in tried.log] == [
        (1, DeliveryState.RETRYING, 503, "It is busy."),
        (2, DeliveryState.DELIVERED, 200, None),
    ]
    assert tried.log[0].next_at == microseconds(NOW + timedelta(seconds=5))
    assert (waiting.target_id, waiting.state, waiting.attempts, waiting.log) == (
        8,
        DeliveryState.PENDING,
        0,
        [],
    )
    assert waiting.is_aside is False


async def test_message_of_another_organization_does_not_exist(pipeline: Pipeline) -> None:
    kept, waiting = await pipeline.accept(uplink(1), uplink(2))
    await pipeline.commit(result(kept))
    for entry in (kept, waiting):
        message_id = entry.uplink.message_id
        assert (await way_of(pipeline, message_id, Scope(frozenset({1})))).organization_id == 1
        for scope in (NOWHERE, Scope(frozenset({2}))):
            with pytest.raises(NotFound):
                await way_of(pipeline, message_id, scope)


async def test_hub_with_kafka_says_that_it_does_not_know_what_waits_there(
    pipeline: Pipeline,
) -> None:
    with pytest.raises(NotFound, match=r"or it is kept no longer\.$"):
        await way_of(pipeline, new_message_id())

    def register(transaction: Transaction) -> None:
        row = {"name": "raw", "topic": "uplink.raw", "partitions": 4, "first_partition": 1}
        transaction.insert(journal_topic, {**row, "registered_at": microseconds(NOW)})

    await pipeline.database.write(register)
    with pytest.raises(NotFound, match=r"waits in Kafka"):
        await way_of(pipeline, new_message_id())


# -- lists ------------------------------------------------------------------------------------


async def fill(pipeline: Pipeline, count: int, device_id: int = 1) -> list[str]:
    """Messages of a device, two in each second; returns their ids, oldest first."""
    uplinks = [
        uplink(device_id, received_at=NOW + timedelta(seconds=number // 2))
        for number in range(count)
    ]
    entries = await pipeline.accept(*uplinks)
    await pipeline.commit(*(result(entry) for entry in entries))
    return [entry.uplink.message_id for entry in entries]


async def page_of(
    pipeline: Pipeline,
    wanted: MessageFilter,
    *,
    scope: Scope = EVERYWHERE,
    limit: int = 100,
    cursor: str | None = None,
) -> MessagePage:
    return await pipeline.database.read(
        lambda reader: list_page(reader, scope, wanted, limit=limit, cursor=cursor)
    )


async def test_pages_of_a_device_hold_each_message_once_newest_first(pipeline: Pipeline) -> None:
    ids = await fill(pipeline, 7)
    await fill(pipeline, 3, device_id=2)
    seen: list[str] = []
    cursor: str | None = None
    sizes: list[int] = []
    while True:
        page = await page_of(pipeline, MessageFilter(device_id=1), limit=3, cursor=cursor)
        seen += [row.message_id for row in page.rows]
        sizes.append(len(page.rows))
        cursor = page.cursor
        if cursor is None:
            break
    assert seen == ids[::-1]
    assert sizes == [3, 3, 1]


async def test_page_that_ends_with_the_list_leads_nowhere(pipeline: Pipeline) -> None:
    await fill(pipeline, 2)
    assert (await page_of(pipeline, MessageFilter(device_id=1), limit=2)).cursor is None
    assert (await page_of(pipeline, MessageFilter(device_id=9))).rows == []


async def test_period_begins_with_its_start_and_ends_before_its_end(pipeline: Pipeline) -> None:
    ids = await fill(pipeline, 8)
    wanted = MessageFilter(
        device_id=1,
        since=microseconds(NOW + timedelta(seconds=1)),
        until=microseconds(NOW + timedelta(seconds=3)),
    )
    page = await page_of(pipeline, wanted)
    assert [row.message_id for row in page.rows] == ids[5:1:-1]


async def test_summary_counts_deliveries_by_state(pipeline: Pipeline) -> None:
    (entry,) = await pipeline.accept(uplink(1, payload=b'{"t":12}'))
    raw = job(JobState.NO_DECODER, decoder_id=None)
    await pipeline.commit(result(entry, raw, job(), targets=(TARGET, TargetId(8))))
    delivered, _ = await pipeline.waiting()
    await pipeline.outbox.record([outcome(delivered)])
    (row,) = (await page_of(pipeline, MessageFilter(device_id=1))).rows
    assert row.size_bytes == 8
    assert row.jobs == [(None, JobState.NO_DECODER), (DECODER, JobState.DECODED)]
    assert row.deliveries == {DeliveryState.DELIVERED: 1, DeliveryState.PENDING: 3}


async def test_list_shows_nothing_of_another_organization(pipeline: Pipeline) -> None:
    await fill(pipeline, 2)
    wanted = MessageFilter(device_id=1)
    assert (await page_of(pipeline, wanted, scope=Scope(frozenset({2})))).rows == []
    assert len((await page_of(pipeline, wanted, scope=Scope(frozenset({1})))).rows) == 2


async def test_cursor_that_was_not_given_out_is_refused(pipeline: Pipeline) -> None:
    for cursor in ("", "5", "5.x", "x.019b7d7e-0000-7000-8000-000000000000"):
        with pytest.raises(InvalidInput, match=r"\.$"):
            await page_of(pipeline, MessageFilter(device_id=1), cursor=cursor)
