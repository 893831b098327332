"""What fetching and acknowledging must do, on every database engine that is discovered."""

import asyncio
from datetime import datetime, timedelta

import pytest
from sqlalchemy import select

from protocols.errors import InvalidInput
from protocols.identifiers import new_delivery_id
from protocols.messages import OrganizationId, TargetId
from storage.database import BulkInsert, Row, Transaction
from storage.delivery import unacknowledged
from storage.delivery.acknowledgement import Acknowledgements
from storage.delivery.deliveries import STRICT_LANE
from storage.delivery.outbox import DeliveryState
from storage.delivery.pull_cursor import PullCursor
from storage.delivery.unacknowledged import COUNTED_TO, PullPage, PullQuery, Unacknowledged
from storage.instants import microseconds
from storage.results import JobState
from storage.tables.pipeline import delivery, delivery_attempt, delivery_lane
from storage.tables.targets import target_event
from tests.conformance.test_outbox import fail, fill, last_message_at, make_target
from tests.support.pipeline import NOW, TARGET, Pipeline, job, outcome, result, uplink

BEGINNING = PullCursor.beginning()
HALF_A_MINUTE = timedelta(seconds=30)


async def read(
    pipeline: Pipeline, cursor: PullCursor = BEGINNING, *, limit: int = 1_000, now: datetime = NOW
) -> PullPage:
    return await Unacknowledged(pipeline.database).read(
        TARGET, PullQuery(cursor=cursor, limit=limit), now
    )


async def lease(
    pipeline: Pipeline, cursor: PullCursor = BEGINNING, *, limit: int = 1_000, now: datetime = NOW
) -> PullPage:
    return await Unacknowledged(pipeline.database).lease(
        TARGET, PullQuery(cursor=cursor, limit=limit), now, HALF_A_MINUTE
    )


async def multiply(pipeline: Pipeline, count: int) -> None:
    """Add so many deliveries like the first one, without any books."""
    insert = BulkInsert(delivery, tuple(column.name for column in delivery.c))

    def unit(transaction: Transaction) -> None:
        row = transaction.fetch_all(select(delivery).limit(1))[0]._asdict()
        made = [
            {**row, "delivery_id": new_delivery_id(), "generation": number + 1}
            for number in range(count)
        ]
        transaction.insert_many(insert, [tuple(one.values()) for one in made])

    await pipeline.database.write(unit)


def ids(page: PullPage) -> list[str]:
    return [row.delivery_id for row in page.items]


async def test_pages_hold_everything_that_waits_once_and_in_order(pipeline: Pipeline) -> None:
    items = await fill(pipeline, 3, 1, 2, 1, 3)
    pages = [await read(pipeline, limit=2)]
    while pages[-1].has_more:
        pages.append(await read(pipeline, pages[-1].cursor, limit=2))
    assert [len(page.items) for page in pages] == [2, 2, 1]
    assert [one for page in pages for one in ids(page)] == [item.delivery_id for item in items]
    first: Row = pages[0].items[0]
    assert (bytes(first.body), first.received_at) == (b'{"decoded":1}', microseconds(NOW))


async def test_page_goes_past_what_is_in_back_off_and_what_stands_behind_it(
    pipeline: Pipeline,
) -> None:
    items = await fill(pipeline, 1, 1)
    await fail(pipeline, items[0])
    page = await read(pipeline)
    assert ids(page) == [item.delivery_id for item in items]
    assert (page.items[0].state, page.items[0].last_error) == ("retrying", "It is busy.")
    assert page.items[1].last_error is None


async def test_page_leaves_out_what_has_come_to_its_end_or_expired(pipeline: Pipeline) -> None:
    items = await fill(pipeline, 1, 2)
    await pipeline.outbox.record([outcome(items[0])])
    assert ids(await read(pipeline)) == [items[1].delivery_id]
    over = items[1].expires_at
    assert ids(await read(pipeline, now=over - timedelta(microseconds=1))) != []
    assert ids(await read(pipeline, now=over)) == []


async def test_page_holds_the_raw_message_where_there_is_no_decoder(pipeline: Pipeline) -> None:
    (entry,) = await pipeline.accept(uplink(payload=b'{"raw": 1.50}'))
    await pipeline.commit(result(entry, job(JobState.NO_DECODER, decoder_id=None)))
    (row,) = (await read(pipeline)).items
    assert bytes(row.body) == b'{"raw": 1.50}'


async def test_event_about_a_target_is_fetched_like_any_message(pipeline: Pipeline) -> None:
    (item,) = await fill(pipeline, 1)

    def unit(transaction: Transaction) -> None:
        event = {"event_id": item.message_id, "target_id": 1, "organization_id": 1}
        transaction.insert(
            target_event, {**event, "type": "endpoint.failing", "at": 5, "body": b'{"e":1}'}
        )
        transaction.execute(delivery.update().values(decoder_id=-1, device_id=0, position=-(2**62)))

    await pipeline.database.write(unit)
    (row,) = (await read(pipeline)).items
    assert (bytes(row.body), row.device_name) == (b'{"e":1}', None)


async def test_page_ends_before_bodies_grow_beyond_its_bytes(
    pipeline: Pipeline, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(unacknowledged, "PAGE_BYTES", 1_000)
    entries = await pipeline.accept(*(uplink(number + 1) for number in range(3)))
    await pipeline.commit(*(result(entry, job(body=b"1" * 600)) for entry in entries))
    page = await read(pipeline)
    assert (len(page.items), page.has_more) == (1, True)
    assert len((await read(pipeline, page.cursor)).items) == 1


async def test_period_is_that_of_the_making(pipeline: Pipeline) -> None:
    await fill(pipeline, 1)
    made_at = microseconds(NOW)
    for from_at, to_at, count in (
        (made_at, made_at + 1, 1),
        (0, made_at, 0),
        (made_at + 1, 2**62, 0),
    ):
        query = PullQuery(cursor=BEGINNING, limit=9, from_at=from_at, to_at=to_at)
        page = await Unacknowledged(pipeline.database).read(TARGET, query, NOW)
        assert len(page.items) == count


async def test_what_comes_behind_the_cursor_is_found_from_the_beginning(
    pipeline: Pipeline,
) -> None:
    early, late = await pipeline.accept(uplink(1), uplink(2))
    await pipeline.commit(result(early, job(JobState.DEFERRED)), result(late))
    page = await read(pipeline)
    await pipeline.commit(result(early, live=False))
    assert (await read(pipeline, page.cursor)).items == []
    assert [row.device_id for row in (await read(pipeline)).items] == [1, 2]


async def test_backlog_is_counted_up_to_a_bound(pipeline: Pipeline) -> None:
    waiting = Unacknowledged(pipeline.database)
    assert (await waiting.backlog(TARGET, NOW)).count == 0
    await fill(pipeline, *range(1, 8))
    backlog = await waiting.backlog(TARGET, NOW)
    assert (backlog.count, backlog.oldest_created_at) == (7, microseconds(NOW))
    assert (await waiting.backlog(TargetId(8), NOW)).count == 0
    await multiply(pipeline, COUNTED_TO)
    assert (await waiting.backlog(TARGET, NOW)).count == COUNTED_TO + 1


async def test_leased_items_are_not_handed_out_again_until_the_lease_ends(
    pipeline: Pipeline,
) -> None:
    items = await fill(pipeline, *range(1, 6))
    first, second = await lease(pipeline, limit=3), await lease(pipeline, limit=3)
    assert ids(first) + ids(second) == [item.delivery_id for item in items]
    assert first.has_more
    assert (await lease(pipeline)).items == []
    assert len((await read(pipeline)).items) == 5
    later = NOW + HALF_A_MINUTE
    assert ids(await lease(pipeline, limit=3, now=later)) == ids(first)


async def test_readings_with_a_lease_at_the_same_time_are_handed_different_items(
    pipeline: Pipeline,
) -> None:
    await fill(pipeline, 1)
    await multiply(pipeline, 499)
    pages = await asyncio.gather(*(lease(pipeline, limit=100) for _ in range(5)))
    handed = [one for page in pages for one in ids(page)]
    assert len(handed) == len(set(handed))
    rest = await lease(pipeline)
    assert sorted(handed + ids(rest)) == sorted(ids(await read(pipeline)))


async def test_lease_does_not_keep_a_delivery_from_being_pushed(pipeline: Pipeline) -> None:
    await fill(pipeline, 1)
    page = await lease(pipeline)
    (item,) = await pipeline.waiting()
    await pipeline.outbox.record([outcome(item)])
    done = await Acknowledgements(pipeline.database).up_to(TARGET, page.cursor, NOW)
    assert done.delivery_ids == ()
    assert (await pipeline.balance()).deliveries.delivered == 1


async def test_acknowledged_deliveries_are_pulled_and_wait_no_more(pipeline: Pipeline) -> None:
    items = await fill(pipeline, *range(1, 212))
    acknowledgements = Acknowledgements(pipeline.database)
    named = [item.delivery_id for item in items[:210]]
    done = await acknowledgements.of_deliveries(TARGET, named, NOW)
    assert sorted(done.delivery_ids) == sorted(named)
    assert await pipeline.waiting() == items[210:]
    assert ids(await read(pipeline)) == [items[210].delivery_id]
    deliveries = (await pipeline.balance()).deliveries
    assert (deliveries.pulled, deliveries.pending) == (210, 1)


async def test_acknowledging_tells_what_was_settled_before_and_what_is_unknown(
    pipeline: Pipeline,
) -> None:
    items = await fill(pipeline, 1, 2)
    await pipeline.outbox.record([outcome(items[0])])
    unknown = "019b7d7e-0000-7000-8000-000000000000"
    named = [items[0].delivery_id, items[1].delivery_id, items[1].delivery_id, unknown]
    done = await Acknowledgements(pipeline.database).of_deliveries(TARGET, named, NOW)
    assert done.delivery_ids == (items[1].delivery_id,)
    assert (done.already_settled, done.unknown) == (1, 1)
    again = await Acknowledgements(pipeline.database).of_deliveries(TARGET, named, NOW)
    assert (again.delivery_ids, again.already_settled, again.unknown) == ((), 2, 1)
    assert (await pipeline.balance()).deliveries.pulled == 1


async def test_deliveries_of_another_target_are_unknown(pipeline: Pipeline) -> None:
    (item,) = await fill(pipeline, 1)
    page = await lease(pipeline)
    acknowledgements = Acknowledgements(pipeline.database)
    done = await acknowledgements.of_deliveries(8, [item.delivery_id], NOW)
    assert (done.delivery_ids, done.unknown) == ((), 1)
    assert (await acknowledgements.up_to(8, page.cursor, NOW)).delivery_ids == ()
    assert await pipeline.waiting() == [item]


async def test_acknowledging_up_to_a_cursor_takes_exactly_what_its_reading_was_handed(
    pipeline: Pipeline,
) -> None:
    early, *others = await pipeline.accept(*(uplink(number) for number in range(1, 6)))
    await pipeline.commit(result(early, job(JobState.DEFERRED)), *map(result, others))
    first = await lease(pipeline, limit=2)
    # Decoded at last, and in the order of reading it stands before what was handed out.
    await pipeline.commit(result(early, live=False))
    second = await lease(pipeline, first.cursor, limit=1)
    await lease(pipeline, second.cursor, limit=1)
    done = await Acknowledgements(pipeline.database).up_to(TARGET, second.cursor, NOW)
    assert sorted(done.delivery_ids) == sorted(ids(first) + ids(second))
    assert [row.device_id for row in (await read(pipeline)).items] == [1, 5]
    assert (await pipeline.balance()).deliveries.pulled == 3


async def test_what_another_reading_has_leased_since_is_not_acknowledged_by_the_first(
    pipeline: Pipeline,
) -> None:
    await fill(pipeline, 1, 2)
    first = await lease(pipeline)
    second = await lease(pipeline, limit=1, now=NOW + HALF_A_MINUTE)
    acknowledgements = Acknowledgements(pipeline.database)
    done = await acknowledgements.up_to(TARGET, first.cursor, NOW + HALF_A_MINUTE)
    assert list(done.delivery_ids) == ids(first)[1:]
    done = await acknowledgements.up_to(TARGET, second.cursor, NOW + HALF_A_MINUTE)
    assert list(done.delivery_ids) == ids(second)


async def test_cursor_of_a_reading_without_lease_acknowledges_nothing(pipeline: Pipeline) -> None:
    await fill(pipeline, 1)
    page = await read(pipeline)
    with pytest.raises(InvalidInput, match="without lease"):
        await Acknowledgements(pipeline.database).up_to(TARGET, page.cursor, NOW)


async def test_head_that_was_pulled_opens_its_lane(pipeline: Pipeline) -> None:
    items = await fill(pipeline, 1, 1, 2)
    await fail(pipeline, items[0])
    await Acknowledgements(pipeline.database).of_deliveries(TARGET, [items[0].delivery_id], NOW)
    assert await pipeline.outbox.blocked_lanes(TARGET) == []
    assert await pipeline.outbox.next_due_at(TARGET, now=NOW) is None
    assert await pipeline.waiting() == items[1:]


async def test_head_that_was_pulled_opens_the_one_lane_of_a_target_in_strict_order(
    pipeline: Pipeline,
) -> None:
    items = await fill(pipeline, 1, 2)
    lane = {"target_id": TARGET, "device_id": STRICT_LANE, "due_at": microseconds(NOW) + 1}

    def close(transaction: Transaction) -> None:
        transaction.insert(delivery_lane, {**lane, "delivery_id": items[0].delivery_id})

    await pipeline.database.write(close)
    await Acknowledgements(pipeline.database).of_deliveries(TARGET, [items[0].delivery_id], NOW)
    assert await pipeline.outbox.blocked_lanes(TARGET) == []


async def test_lane_stays_closed_when_something_behind_its_head_was_pulled(
    pipeline: Pipeline,
) -> None:
    items = await fill(pipeline, 1, 1, 1)
    await fail(pipeline, items[0])
    await Acknowledgements(pipeline.database).of_deliveries(TARGET, [items[1].delivery_id], NOW)
    assert len(await pipeline.outbox.blocked_lanes(TARGET)) == 1


@pytest.mark.parametrize("state", [DeliveryState.DELIVERED, DeliveryState.RETRYING])
async def test_outcome_that_comes_after_the_acknowledgement_changes_nothing(
    pipeline: Pipeline, state: DeliveryState
) -> None:
    (item,) = await fill(pipeline, 1)
    await Acknowledgements(pipeline.database).of_deliveries(TARGET, [item.delivery_id], NOW)
    retry_in_s = 9 if state is DeliveryState.RETRYING else None
    await pipeline.outbox.record([outcome(item, state, retry_in_s=retry_in_s)])
    deliveries = (await pipeline.balance()).deliveries
    assert (deliveries.pulled, deliveries.delivered, deliveries.retrying) == (1, 0, 0)


async def test_pulling_moves_the_time_at_which_the_target_last_took_something(
    pipeline: Pipeline,
) -> None:
    await pipeline.database.write(lambda transaction: make_target(transaction, TARGET))
    (item,) = await fill(pipeline, 1)
    at = NOW + timedelta(minutes=1)
    await Acknowledgements(pipeline.database).of_deliveries(TARGET, [item.delivery_id], at)
    assert await last_message_at(pipeline) == microseconds(at)


async def test_pulled_deliveries_are_booked_in_their_own_organizations(pipeline: Pipeline) -> None:
    entries = await pipeline.accept(uplink(1), uplink(2, organization_id=OrganizationId(2)))
    await pipeline.commit(*map(result, entries))
    named = ids(await read(pipeline))
    await Acknowledgements(pipeline.database).of_deliveries(TARGET, named, NOW)
    for balance in await pipeline.ledger.balance([1, 2]):
        assert (balance.deliveries.pulled, balance.imbalance) == (1, 0)
    rows = await pipeline.database.read(lambda reader: reader.fetch_all(select(delivery_attempt)))
    assert rows == []
