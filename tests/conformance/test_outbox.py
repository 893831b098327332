"""What the outbox must do, on every database engine that is discovered."""

from dataclasses import replace
from datetime import timedelta

import pytest
from sqlalchemy import select

from protocols.errors import LeaseLost
from protocols.messages import TargetId
from storage import Database
from storage.database import Transaction
from storage.delivery.outbox import DeliveryState, OutboxItem
from storage.instants import microseconds
from storage.leases import Lease, LeaseStore
from storage.results import JobState
from storage.tables.entities import application, data_target, organization
from storage.tables.pipeline import delivery_attempt
from tests.support.pipeline import NOW, TARGET, Pipeline, job, outcome, result, uplink

FINAL = [
    DeliveryState.DELIVERED,
    DeliveryState.UNCONFIRMED,
    DeliveryState.PULLED,
    DeliveryState.DEAD,
    DeliveryState.EXPIRED,
    DeliveryState.CANCELLED,
]


async def fill(pipeline: Pipeline, *device_ids: int) -> list[OutboxItem]:
    entries = await pipeline.accept(*(uplink(device_id) for device_id in device_ids))
    await pipeline.commit(*(result(entry) for entry in entries))
    return await pipeline.waiting()


async def fail(pipeline: Pipeline, item: OutboxItem, *, retry_in_s: float = 60) -> None:
    await pipeline.outbox.record([outcome(item, DeliveryState.RETRYING, retry_in_s=retry_in_s)])


async def test_deliveries_wait_in_order_with_their_bodies_for_72_hours(pipeline: Pipeline) -> None:
    items = await fill(pipeline, 3, 1, 2)
    assert [item.device_id for item in items] == [3, 1, 2]
    assert {item.body for item in items} == {b'{"decoded":1}'}
    assert {item.expires_at - item.created_at for item in items} == {timedelta(hours=72)}


async def test_limit_and_what_the_caller_holds_are_left_out(pipeline: Pipeline) -> None:
    items = await fill(pipeline, *range(1, 11))
    held = [item.delivery_id for item in items[:3]]
    found = await pipeline.outbox.waiting(TARGET, now=NOW, limit=4, excluding=held)
    assert found == items[3:7]
    assert await pipeline.outbox.waiting(TargetId(8), now=NOW) == []


@pytest.mark.parametrize("state", FINAL)
async def test_first_attempt_that_ends_a_delivery_moves_it_in_the_books(
    pipeline: Pipeline, state: DeliveryState
) -> None:
    items = await fill(pipeline, 1, 2)
    await pipeline.outbox.record([outcome(items[0], state)])
    assert await pipeline.waiting() == items[1:]
    deliveries = (await pipeline.balance()).deliveries
    assert (deliveries.created, deliveries.pending, getattr(deliveries, state)) == (2, 1, 1)


async def test_first_success_leaves_no_attempt_row_and_a_failure_does(
    pipeline: Pipeline, database: Database
) -> None:
    items = await fill(pipeline, 1, 2)
    await pipeline.outbox.record([outcome(items[0])])
    await fail(pipeline, items[1])
    rows = await database.read(lambda reader: reader.fetch_all(select(delivery_attempt)))
    assert [(row.delivery_id, row.attempt, row.status_code, row.error) for row in rows] == [
        (items[1].delivery_id, 1, 503, "It is busy.")
    ]
    assert rows[0].duration_us == 250_000


async def test_failed_head_holds_back_its_device_only_until_it_is_due(pipeline: Pipeline) -> None:
    items = await fill(pipeline, 1, 1, 2)
    await fail(pipeline, items[0])
    due_at = NOW + timedelta(seconds=60)
    assert await pipeline.waiting() == items[2:]
    assert await pipeline.outbox.next_due_at(TARGET, now=NOW) == due_at
    (lane,) = await pipeline.outbox.blocked_lanes(TARGET)
    assert (lane.lane, lane.delivery_id, lane.due_at) == (1, items[0].delivery_id, due_at)
    found = await pipeline.waiting(now=due_at)
    assert [item.delivery_id for item in found] == [item.delivery_id for item in items]
    assert (found[0].attempts, found[0].next_at) == (1, due_at)


async def test_lane_opens_when_its_head_has_come_to_its_end(pipeline: Pipeline) -> None:
    items = await fill(pipeline, 1, 1)
    await fail(pipeline, items[0])
    retried = replace(items[0], attempts=1)
    await pipeline.outbox.record([outcome(retried)])
    assert await pipeline.waiting() == items[1:]
    assert await pipeline.outbox.blocked_lanes(TARGET) == []
    assert await pipeline.outbox.next_due_at(TARGET, now=NOW) is None
    assert (await pipeline.balance()).deliveries.delivered == 1


async def test_each_failure_moves_the_due_time_and_counts_once(pipeline: Pipeline) -> None:
    (item,) = await fill(pipeline, 1)
    await fail(pipeline, item)
    await fail(pipeline, replace(item, attempts=1), retry_in_s=600)
    assert await pipeline.outbox.next_due_at(TARGET, now=NOW) == NOW + timedelta(seconds=600)
    deliveries = (await pipeline.balance()).deliveries
    assert (deliveries.retrying, deliveries.pending) == (1, 0)


async def test_replay_neither_waits_for_a_lane_nor_blocks_one(pipeline: Pipeline) -> None:
    (failed,) = await pipeline.accept(uplink(1))
    await pipeline.commit(result(failed, job(JobState.FAILED, error="It threw.")))
    live = await fill(pipeline, 1)
    await fail(pipeline, live[0])
    await pipeline.commit(result(failed, live=False, generation=1))
    (replayed,) = await pipeline.waiting()
    assert replayed.generation == 1
    await fail(pipeline, replayed, retry_in_s=5)
    (lane,) = await pipeline.outbox.blocked_lanes(TARGET)
    assert (lane.delivery_id, lane.due_at) == (live[0].delivery_id, NOW + timedelta(seconds=60))
    assert await pipeline.outbox.next_due_at(TARGET, now=NOW) == NOW + timedelta(seconds=5)


async def test_outcome_of_a_delivery_that_has_ended_meanwhile_changes_nothing(
    pipeline: Pipeline,
) -> None:
    items = await fill(pipeline, 1, 2, 3)
    assert await pipeline.outbox.cancel_for_target(TARGET, reason="deleted") == 3
    await pipeline.outbox.record(
        [outcome(items[0]), outcome(items[1], DeliveryState.RETRYING, retry_in_s=9)]
    )
    deliveries = (await pipeline.balance()).deliveries
    assert (deliveries.cancelled, deliveries.delivered, deliveries.retrying) == (3, 0, 0)
    assert await pipeline.outbox.blocked_lanes(TARGET) == []


async def test_late_outcome_does_not_hold_up_the_others_of_its_batch(pipeline: Pipeline) -> None:
    items = await fill(pipeline, 1, 2)
    await pipeline.outbox.record([outcome(items[0])])
    await pipeline.outbox.record([outcome(item) for item in items])
    assert (await pipeline.balance()).deliveries.delivered == 2


async def test_two_outcomes_of_one_delivery_in_one_batch_are_written_in_their_order(
    pipeline: Pipeline,
) -> None:
    (item,) = await fill(pipeline, 1)
    await pipeline.outbox.record(
        [
            outcome(item, DeliveryState.RETRYING, retry_in_s=0),
            outcome(replace(item, attempts=1)),
        ]
    )
    deliveries = (await pipeline.balance()).deliveries
    assert (deliveries.delivered, deliveries.retrying) == (1, 0)
    assert await pipeline.outbox.blocked_lanes(TARGET) == []


async def test_cancelling_a_target_takes_all_that_waits_and_nothing_else(
    pipeline: Pipeline,
) -> None:
    items = await fill(pipeline, *range(1, 451))
    await fail(pipeline, items[0])
    await pipeline.outbox.record([outcome(items[1])])
    assert await pipeline.outbox.cancel_for_target(TARGET, reason="deleted") == 449
    assert await pipeline.waiting(now=NOW + timedelta(hours=1)) == []
    assert await pipeline.outbox.blocked_lanes(TARGET) == []
    deliveries = (await pipeline.balance()).deliveries
    assert (deliveries.cancelled, deliveries.delivered) == (449, 1)


async def test_counts_say_what_waits_and_since_when(pipeline: Pipeline) -> None:
    items = await fill(pipeline, 1, 2, 3)
    await fail(pipeline, items[0])
    await pipeline.outbox.record([outcome(items[1])])
    counts = await pipeline.outbox.counts(TARGET)
    assert (counts.pending, counts.retrying, counts.oldest_created_at) == (1, 1, NOW)


async def test_target_that_takes_something_shows_when_it_last_did(pipeline: Pipeline) -> None:
    await pipeline.database.write(lambda transaction: make_target(transaction, TARGET))
    items = await fill(pipeline, 1, 2, 3, 4)
    earlier, later = NOW + timedelta(seconds=1), NOW + timedelta(seconds=2)
    await pipeline.outbox.record([outcome(items[0], DeliveryState.DEAD, at=later)])
    assert await last_message_at(pipeline) is None

    await pipeline.outbox.record([outcome(items[1], at=later), outcome(items[2], at=earlier)])
    assert await last_message_at(pipeline) == microseconds(later)

    await pipeline.outbox.record([outcome(items[3], at=earlier)])
    assert await last_message_at(pipeline) == microseconds(later)


async def last_message_at(pipeline: Pipeline) -> int | None:
    statement = select(data_target.c.last_message_at).where(data_target.c.id == TARGET)
    row = await pipeline.database.read(lambda reader: reader.fetch_one(statement))
    assert row is not None
    found: int | None = row.last_message_at
    return found


async def test_targets_that_deliveries_wait_for_are_gone_until_they_exist(
    pipeline: Pipeline,
) -> None:
    there, gone = TargetId(8), TargetId(9)
    entries = await pipeline.accept(uplink(1), uplink(2))
    await pipeline.commit(*(result(entry, targets=(TARGET, there, gone)) for entry in entries))
    await pipeline.database.write(lambda transaction: make_target(transaction, there))
    await pipeline.outbox.cancel_for_target(TARGET, reason="deleted")

    assert await pipeline.outbox.targets_gone() == [gone]


def make_target(transaction: Transaction, target_id: TargetId, name: str = "there") -> None:
    stamps = {"created_at": 0, "updated_at": 0}
    named = {"name": name, **stamps}
    organization_id = transaction.insert(organization, {"open_data_dk_registered": False, **named})
    application_id = transaction.insert(application, {"organization_id": organization_id, **named})
    settings = {"type": "HTTP_PUSH", "settings": "{}", "secrets": "{}"}
    transaction.insert(
        data_target, {"id": target_id, "application_id": application_id, **settings, **named}
    )


async def test_outcome_is_recorded_under_the_lease_of_whoever_holds_the_target(
    pipeline: Pipeline,
) -> None:
    held = await claim(pipeline, "a")
    items = await fill(pipeline, 1, 2)
    await pipeline.outbox.record([outcome(items[0])], held)
    await pipeline.outbox.record([outcome(items[1], DeliveryState.RETRYING, retry_in_s=9)], held)
    deliveries = (await pipeline.balance()).deliveries
    assert (deliveries.delivered, deliveries.retrying) == (1, 1)


@pytest.mark.parametrize("batch", ["first", "retried", "twice"])
async def test_outcome_under_a_lease_that_is_over_is_refused_and_changes_nothing(
    pipeline: Pipeline, batch: str
) -> None:
    before = await claim(pipeline, "a")
    await LeaseStore(pipeline.database, "a").release([before])
    held = await claim(pipeline, "b")
    (item,) = await fill(pipeline, 1)
    first, retried = outcome(item), outcome(item, DeliveryState.RETRYING, retry_in_s=9)
    outcomes = {"first": [first], "retried": [retried], "twice": [retried, first]}[batch]

    with pytest.raises(LeaseLost):
        await pipeline.outbox.record(outcomes, before)

    assert await pipeline.waiting() == [item]
    assert await pipeline.outbox.blocked_lanes(TARGET) == []
    await pipeline.outbox.record(outcomes, held)
    assert (await pipeline.balance()).deliveries.delivered == (batch != "retried")


async def test_targets_that_something_waits_for_are_told_from_the_others(
    pipeline: Pipeline,
) -> None:
    idle, unasked = TargetId(8), TargetId(9)
    await pipeline.database.write(lambda transaction: make_target(transaction, TARGET))
    await pipeline.database.write(lambda transaction: make_target(transaction, idle, "idle"))
    entries = await pipeline.accept(uplink(1))
    await pipeline.commit(*(result(entry, targets=(TARGET, unasked)) for entry in entries))
    assert await pipeline.outbox.targets_waited_for([TARGET, idle]) == [TARGET]
    await pipeline.outbox.record([outcome(item) for item in await pipeline.waiting()])
    assert await pipeline.outbox.targets_waited_for([TARGET, idle]) == []


async def claim(pipeline: Pipeline, holder: str) -> Lease:
    leases = await LeaseStore(pipeline.database, holder).claim([f"target/{TARGET}"], limit=1)
    return leases.leases[0]
