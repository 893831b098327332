"""What ends a delivery beside attempts, and what is kept of its target, on every database engine."""

from dataclasses import replace
from datetime import timedelta

import orjson
import pytest
from sqlalchemy import select, update

from protocols.identifiers import new_delivery_id
from protocols.messages import TargetId
from protocols.targets.policy import Ordering
from storage.database import Transaction
from storage.delivery.outbox import DeliveryState, OutboxItem, TargetNote
from storage.delivery.target_events import NewEvent, TargetEventType
from storage.delivery.target_health import TargetHealth
from storage.retention import Retention, RetentionKind
from storage.tables.entities import application, data_target, organization
from storage.tables.pipeline import delivery
from storage.tables.targets import target_event
from tests.support.pipeline import NOW, TARGET, Pipeline, outcome, result, uplink

LISTENER = TargetId(8)
DEAF = TargetId(9)
GRACE = timedelta(minutes=5)
FAILING = NewEvent(TargetEventType.FAILING, NOW, {"failures": 4})


async def fill(pipeline: Pipeline, *device_ids: int) -> list[OutboxItem]:
    entries = await pipeline.accept(*(uplink(device_id) for device_id in device_ids))
    await pipeline.commit(*(result(entry) for entry in entries))
    return await pipeline.waiting()


async def age(pipeline: Pipeline, items: list[OutboxItem]) -> None:
    """Make these as old as to have expired."""
    statement = (
        update(delivery)
        .where(delivery.c.delivery_id.in_([item.delivery_id for item in items]))
        .values(expires_at=delivery.c.expires_at - 80 * 3_600_000_000)
    )
    await pipeline.database.write(lambda transaction: transaction.execute(statement))


def make_targets(transaction: Transaction) -> None:
    """The target, one beside it that hears of it, and one that does not."""
    named = {"created_at": 0, "updated_at": 0, "name": "there"}
    organization_id = transaction.insert(organization, {"open_data_dk_registered": False, **named})
    assert organization_id == 1
    application_id = transaction.insert(application, {"organization_id": organization_id, **named})
    for target_id, settings in (
        (TARGET, {"operationalEvents": True}),
        (LISTENER, {"operationalEvents": True}),
        (DEAF, {"operationalEvents": False}),
    ):
        transaction.insert(
            data_target,
            {
                "id": target_id,
                "application_id": application_id,
                "type": "HTTP_PUSH",
                "settings": orjson.dumps(settings).decode(),
                "secrets": "{}",
                **named,
            },
        )


@pytest.mark.parametrize("is_thorough", [False, True])
async def test_what_is_past_its_time_expires_and_the_rest_waits(
    pipeline: Pipeline, is_thorough: bool
) -> None:
    items = await fill(pipeline, *range(1, 301))
    await age(pipeline, items[:250])
    expired = await pipeline.outbox.expire(TARGET, grace=GRACE, is_thorough=is_thorough)
    assert expired == 250
    assert await pipeline.waiting() == items[250:]
    deliveries = (await pipeline.balance()).deliveries
    assert (deliveries.expired, deliveries.pending) == (250, 50)


async def test_what_stands_behind_much_that_is_younger_is_found_by_looking_thoroughly(
    pipeline: Pipeline,
) -> None:
    items = await fill(pipeline, *range(1, 1_051))
    waiting = await pipeline.waiting(limit=2_000)
    assert len(items) == 1_000
    await age(pipeline, waiting[1_020:])
    assert await pipeline.outbox.expire(TARGET, grace=GRACE, is_thorough=False) == 0
    assert await pipeline.outbox.expire(TARGET, grace=GRACE, is_thorough=True) == 30


async def test_lane_whose_head_expired_is_open(pipeline: Pipeline) -> None:
    head, behind = await fill(pipeline, 1, 1)
    await pipeline.outbox.record([outcome(head, DeliveryState.RETRYING, retry_in_s=600)])
    assert await pipeline.waiting() == []
    await age(pipeline, [head])
    assert await pipeline.outbox.expire(TARGET, grace=GRACE, is_thorough=True) == 1
    assert await pipeline.waiting() == [behind]


async def test_end_without_an_attempt_is_counted_and_leaves_no_attempt(pipeline: Pipeline) -> None:
    (item,) = await fill(pipeline, 1)
    ended = outcome(item, DeliveryState.EXPIRED)
    ended.is_spent = ended.was_made = False
    await pipeline.outbox.record([ended])
    assert (await pipeline.balance()).deliveries.expired == 1
    rows = await pipeline.database.read(
        lambda reader: reader.fetch_all(select(delivery.c.attempts))
    )
    assert [row.attempts for row in rows] == [0]


async def test_attempt_that_is_not_spent_leaves_as_many_as_before(pipeline: Pipeline) -> None:
    (item,) = await fill(pipeline, 1)
    probe = outcome(item, DeliveryState.RETRYING, retry_in_s=0)
    probe.is_spent = False
    await pipeline.outbox.record([probe])
    (again,) = await pipeline.waiting()
    assert again.attempts == 0


async def test_what_stepped_aside_waits_by_itself(pipeline: Pipeline) -> None:
    head, behind = await fill(pipeline, 1, 1)
    aside = outcome(head, DeliveryState.RETRYING, retry_in_s=600)
    aside.is_aside, aside.lane_due_at = True, NOW + timedelta(seconds=60)
    await pipeline.outbox.record([aside])
    assert await pipeline.waiting(now=NOW + timedelta(seconds=59)) == []
    assert await pipeline.outbox.next_due_at(TARGET, now=NOW) == NOW + timedelta(seconds=60)
    assert await pipeline.waiting(now=NOW + timedelta(seconds=60)) == [behind]
    found = await pipeline.waiting(now=NOW + timedelta(seconds=600))
    assert [item.is_aside for item in found] == [True, False]


async def test_strict_order_has_one_lane_and_no_order_has_none(pipeline: Pipeline) -> None:
    first, second = await fill(pipeline, 1, 2)
    failed = outcome(first, DeliveryState.RETRYING, retry_in_s=60)
    failed.lane = 0
    await pipeline.outbox.record([failed])

    async def waiting(ordering: Ordering) -> list[OutboxItem]:
        return await pipeline.outbox.waiting(TARGET, now=NOW, ordering=ordering)

    assert await waiting(Ordering.STRICT) == []
    assert await waiting(Ordering.NONE) == [second]
    assert await waiting(Ordering.PER_DEVICE) == [second]


async def test_batch_is_frozen_on_disk(pipeline: Pipeline) -> None:
    items = await fill(pipeline, 1, 2, 3)
    batch_id = new_delivery_id()
    await pipeline.outbox.freeze(batch_id, [item.delivery_id for item in items[:2]], None)
    assert await pipeline.waiting() == [
        replace(items[0], batch_id=batch_id),
        replace(items[1], batch_id=batch_id),
        items[2],
    ]


async def test_health_is_kept_and_a_target_that_people_disabled_stays_so(
    pipeline: Pipeline,
) -> None:
    assert await pipeline.outbox.health(TARGET) == TargetHealth()
    disabled = TargetHealth(
        breaker="open",
        openings=2,
        open_until=NOW + timedelta(seconds=60),
        failures=9,
        failing_since=NOW,
        last_failure_at=NOW,
        last_error="It is busy.",
        disabled_at=NOW,
        disabled_reason="By hand.",
    )
    await pipeline.outbox.record([], None, TargetNote(TARGET, disabled))
    assert await pipeline.outbox.health(TARGET) == disabled
    await pipeline.outbox.record([], None, TargetNote(TARGET, TargetHealth()))
    kept = await pipeline.outbox.health(TARGET)
    assert (kept.breaker, kept.failures) == ("closed", 0)
    assert (kept.disabled_at, kept.disabled_reason) == (NOW, "By hand.")


async def test_event_is_delivered_to_the_neighbours_that_want_to_hear_and_is_in_the_books(
    pipeline: Pipeline,
) -> None:
    await pipeline.database.write(make_targets)
    later = replace(FAILING, at=NOW + timedelta(seconds=1))
    note = TargetNote(TARGET, TargetHealth(failures=4), [FAILING, later])
    assert await pipeline.outbox.record([], None, note) == [LISTENER]

    found = await pipeline.outbox.waiting(LISTENER, now=NOW)
    assert [orjson.loads(item.body)["timestamp"] for item in found] == [
        "2026-03-01T12:00:00.000Z",
        "2026-03-01T12:00:01.000Z",
    ]
    assert orjson.loads(found[0].body)["data"] == {
        "targetId": TARGET,
        "targetName": "there",
        "applicationId": 1,
        "failures": 4,
    }
    assert {item.event_type for item in found} == {"endpoint.failing"}
    assert await pipeline.outbox.waiting(DEAF, now=NOW) == []
    assert (await pipeline.balance()).deliveries.created == 2
    await pipeline.outbox.record([outcome(item) for item in found])
    assert (await pipeline.balance()).deliveries.delivered == 2


async def test_event_of_a_target_that_is_gone_is_nobodys(pipeline: Pipeline) -> None:
    note = TargetNote(TARGET, TargetHealth(failures=4), [FAILING])
    assert await pipeline.outbox.record([], None, note) == []


async def test_event_is_deleted_when_it_was_kept_long_enough_and_nobody_waits_for_it(
    pipeline: Pipeline,
) -> None:
    await pipeline.database.write(make_targets)
    await pipeline.outbox.record([], None, TargetNote(TARGET, TargetHealth(), [FAILING]))
    retention = Retention(pipeline.database)

    async def delete() -> int:
        # Ids tell the real time.
        return await retention.delete_slice(
            RetentionKind.TARGET_EVENTS, older_than=NOW + timedelta(days=36_500)
        )

    assert await delete() == 0
    found = await pipeline.outbox.waiting(LISTENER, now=NOW)
    await pipeline.outbox.record([outcome(item) for item in found])
    assert await delete() == 1
    rows = await pipeline.database.read(lambda reader: reader.fetch_all(select(target_event)))
    assert rows == []


async def test_looking_for_what_has_expired_holds_up_no_commit(
    pipeline: Pipeline, monkeypatch: pytest.MonkeyPatch
) -> None:
    await fill(pipeline, 1, 2)

    async def refuse(_unit: object) -> None:
        raise AssertionError("a look of a second would stand in the way of every acknowledgement")

    monkeypatch.setattr(pipeline.database, "write", refuse)
    assert await pipeline.outbox.expire(TARGET, grace=GRACE, is_thorough=True) == 0
