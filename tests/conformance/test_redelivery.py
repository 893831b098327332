"""What sending again must do, on every database engine that is discovered."""

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import delete, select

from protocols.errors import Conflict
from protocols.messages import DeviceId, TargetId
from storage import Database
from storage.database import Transaction
from storage.delivery import redelivery, redelivery_slices
from storage.delivery.outbox import DeliveryState, OutboxItem
from storage.delivery.redelivery import SETTLED, Redelivery, RedeliveryState, Wish
from storage.delivery.redelivery_slices import RedeliverySlices
from storage.instants import microseconds
from storage.tables.entities import data_target
from storage.tables.pipeline import delivery, message_job
from storage.tables.targets import target_health
from tests.conformance.test_outbox import fill, make_target
from tests.support.pipeline import NOW, TARGET, Pipeline, outcome, result, uplink

LATER = NOW + timedelta(hours=1)
DELIVERED = frozenset((DeliveryState.DELIVERED,))


@pytest.fixture
async def pipeline(pipeline: Pipeline) -> Pipeline:
    """With the target that everything is for."""
    await pipeline.database.write(lambda transaction: make_target(transaction, TARGET))
    return pipeline


async def die(
    pipeline: Pipeline,
    items: Sequence[OutboxItem],
    state: DeliveryState = DeliveryState.DEAD,
    *,
    at: datetime = NOW,
) -> None:
    await pipeline.outbox.record([outcome(item, state, at=at) for item in items])


async def take(pipeline: Pipeline, wish: Wish | None = None) -> Redelivery:
    wanted = wish or Wish()
    estimated = await pipeline.database.read(
        lambda reader: redelivery.estimate(reader, TARGET, wanted)
    )

    def unit(transaction: Transaction) -> Redelivery:
        taken = redelivery.create(transaction, TARGET, wanted, LATER, estimated=estimated)
        return redelivery.get(transaction, TARGET, taken)

    return await pipeline.database.write(unit)


async def carry_out(pipeline: Pipeline, *, limit: int = 100) -> list[Redelivery]:
    """Make all that is wished for; return the wishes as they stand then."""
    slices = RedeliverySlices(pipeline.database)
    while wishes := await slices.open_wishes():
        for wish in wishes:
            found = await slices.next_slice(wish, limit)
            assert len(found.rows) <= limit
            assert await slices.make(wish, found, LATER) is not None
    return await pipeline.database.read(
        lambda reader: redelivery.list_of_target(reader, TARGET, 100)
    )


async def test_dead_letters_are_made_anew_with_the_same_message_and_body(
    pipeline: Pipeline,
) -> None:
    items = await fill(pipeline, 1, 2, 3)
    await die(pipeline, items[:1])
    await die(pipeline, items[1:2], DeliveryState.EXPIRED)
    await die(pipeline, items[2:], DeliveryState.DELIVERED)
    assert (await take(pipeline)).estimate == 2
    (done,) = await carry_out(pipeline)
    assert (done.state, done.made, done.skipped) == (RedeliveryState.FINISHED, 2, 0)
    again = await pipeline.waiting()
    assert [(one.message_id, one.body, one.generation) for one in again] == [
        (item.message_id, item.body, 1) for item in items[:2]
    ]
    assert not {one.delivery_id for one in again} & {item.delivery_id for item in items}
    assert {one.expires_at for one in again} == {LATER + timedelta(hours=72)}
    deliveries = (await pipeline.balance()).deliveries
    assert (deliveries.created, deliveries.dead, deliveries.expired) == (5, 1, 1)


async def test_second_wish_doubles_nothing_that_waits_or_has_arrived(pipeline: Pipeline) -> None:
    items = await fill(pipeline, 1, 2)
    await die(pipeline, items)
    await take(pipeline)
    await take(pipeline)
    second, first = await carry_out(pipeline)
    assert (first.made, second.made) == (2, 0)
    again = await pipeline.waiting()
    await die(pipeline, again[:1])
    await die(pipeline, again[1:], DeliveryState.DELIVERED)
    await take(pipeline)
    assert (await carry_out(pipeline))[0].made == 1
    assert [one.generation for one in await pipeline.waiting()] == [2]


async def test_wish_goes_on_from_slice_to_slice_and_makes_each_once(
    pipeline: Pipeline, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(redelivery_slices, "LOOK_ROWS", 20)
    items = await fill(pipeline, *range(1, 61))
    await die(pipeline, items)
    await take(pipeline)
    (done,) = await carry_out(pipeline, limit=7)
    assert done.made == 60
    assert len(await pipeline.waiting()) == 60
    assert (await pipeline.balance()).deliveries.created == 120


async def test_slice_that_was_looked_for_before_another_was_made_makes_nothing(
    pipeline: Pipeline,
) -> None:
    await die(pipeline, await fill(pipeline, 1, 2, 3))
    wish = await take(pipeline)
    slices = RedeliverySlices(pipeline.database)
    first, second = await slices.next_slice(wish, 2), await slices.next_slice(wish, 2)
    assert await slices.make(wish, first, LATER) is not None
    assert await slices.make(wish, second, LATER) is None
    assert (await pipeline.balance()).deliveries.pending == 2


async def test_two_wishes_that_find_the_same_at_once_make_it_once(pipeline: Pipeline) -> None:
    await die(pipeline, await fill(pipeline, 1))
    slices = RedeliverySlices(pipeline.database)
    wishes = [await take(pipeline), await take(pipeline)]
    found = [await slices.next_slice(wish, 9) for wish in wishes]
    assert await slices.make(wishes[0], found[0], LATER) is not None
    with pytest.raises(Conflict):
        await slices.make(wishes[1], found[1], LATER)
    assert [wish.made for wish in await carry_out(pipeline)] == [0, 1]
    assert (await pipeline.balance()).deliveries.pending == 1


async def test_wish_that_was_stopped_makes_no_more(pipeline: Pipeline) -> None:
    await die(pipeline, await fill(pipeline, 1, 2))
    wish = await take(pipeline)
    slices = RedeliverySlices(pipeline.database)
    found = await slices.next_slice(wish, 1)
    await slices.make(wish, found, LATER)
    (moved,) = await slices.open_wishes()
    rest = await slices.next_slice(moved, 1)
    await pipeline.database.write(lambda transaction: redelivery.stop(transaction, wish.id, LATER))
    assert await slices.make(moved, rest, LATER) is None
    (stopped,) = await carry_out(pipeline)
    assert (stopped.state, stopped.made) == (RedeliveryState.STOPPED, 1)
    assert len(await pipeline.waiting()) == 1


@pytest.mark.parametrize(
    ("wish", "devices"),
    [
        (Wish(states=frozenset((DeliveryState.EXPIRED,))), [2]),
        (Wish(device_id=DeviceId(1)), [1]),
        (Wish(from_at=microseconds(NOW) + 1), []),
        (Wish(to_at=microseconds(NOW)), []),
        (Wish(from_at=microseconds(NOW), to_at=microseconds(NOW) + 1), [1, 2]),
        (Wish(settled_from=microseconds(NOW) + 1), [2]),
        (Wish(states=DELIVERED), [3]),
        (Wish(states=DELIVERED, from_at=microseconds(NOW)), [3]),
        (Wish(states=SETTLED), [1, 2, 3]),
    ],
)
async def test_wish_takes_what_it_names(pipeline: Pipeline, wish: Wish, devices: list[int]) -> None:
    items = await fill(pipeline, 1, 2, 3)
    await die(pipeline, items[:1])
    await die(pipeline, items[1:2], DeliveryState.EXPIRED, at=NOW + timedelta(seconds=1))
    await die(pipeline, items[2:], DeliveryState.DELIVERED)
    taken = await take(pipeline, wish)
    assert taken.estimate == (None if DeliveryState.DELIVERED in wish.states else len(devices))
    await carry_out(pipeline)
    assert [one.device_id for one in await pipeline.waiting()] == devices


async def test_named_deliveries_are_sent_again_whatever_became_of_them(
    pipeline: Pipeline,
) -> None:
    items = await fill(pipeline, 1, 2, 3, 4)
    await die(pipeline, items[:1])
    await die(pipeline, items[1:2], DeliveryState.DELIVERED)
    named = [items[0], items[1], items[3]]
    unknown = "019b7d7e-0000-7000-8000-000000000000"
    ids = (*(one.delivery_id for one in named), unknown)
    assert (await take(pipeline, Wish(states=SETTLED, delivery_ids=ids))).estimate == 4
    (done,) = await carry_out(pipeline, limit=1)
    # One is on its way still, and one there is none of.
    assert (done.made, done.skipped) == (2, 2)
    again = [one.device_id for one in await pipeline.waiting() if one.generation]
    assert again == [1, 2]


async def test_deliveries_of_other_targets_are_left_alone(pipeline: Pipeline) -> None:
    other = TargetId(8)
    (entry,) = await pipeline.accept(uplink())
    await pipeline.commit(result(entry, targets=(TARGET, other)))
    (item,) = await pipeline.outbox.waiting(other, now=NOW)
    await die(pipeline, [item, *await pipeline.waiting()])
    for wish in (
        Wish(),
        Wish(states=SETTLED),
        Wish(states=SETTLED, delivery_ids=(item.delivery_id,)),
    ):
        await take(pipeline, wish)
        await carry_out(pipeline)
    assert await pipeline.outbox.waiting(other, now=NOW) == []
    assert len(await pipeline.waiting()) == 1


async def test_what_is_made_after_the_wish_is_not_looked_at(pipeline: Pipeline) -> None:
    await die(pipeline, await fill(pipeline, 1), DeliveryState.DELIVERED)
    await take(pipeline, Wish(states=SETTLED))
    await die(pipeline, await fill(pipeline, 2), DeliveryState.DELIVERED)
    (done,) = await carry_out(pipeline)
    assert done.made == 1


async def test_message_that_is_not_kept_any_more_is_skipped_and_counted(
    pipeline: Pipeline,
) -> None:
    items = await fill(pipeline, 1, 2)
    await die(pipeline, items)
    statement = delete(message_job).where(message_job.c.message_id == items[0].message_id)
    await pipeline.database.write(lambda transaction: transaction.execute(statement))
    await take(pipeline)
    (done,) = await carry_out(pipeline)
    assert (done.made, done.skipped) == (1, 1)


async def test_wish_for_a_target_that_was_deleted_comes_to_its_end(
    pipeline: Pipeline, database: Database
) -> None:
    await die(pipeline, await fill(pipeline, 1))
    await take(pipeline)
    await database.write(lambda transaction: transaction.execute(delete(data_target)))
    (done,) = await carry_out(pipeline)
    assert (done.state, done.made) == (RedeliveryState.FINISHED, 0)


async def test_long_way_without_anything_to_send_is_one_slice(
    pipeline: Pipeline, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(redelivery_slices, "LOOK_ROWS", 5)
    items = await fill(pipeline, *range(1, 51))
    await die(pipeline, items[:45], DeliveryState.DELIVERED)
    await die(pipeline, items[45:])
    taken = await take(pipeline, Wish(states=SETTLED - DELIVERED))
    found = await RedeliverySlices(pipeline.database).next_slice(taken, 100)
    assert [row.device_id for row in found.rows] == [46, 47, 48, 49, 50]


async def test_replays_that_still_wait_are_told_from_those_that_do_not(
    pipeline: Pipeline,
) -> None:
    items = await fill(pipeline, 1, 2)
    await die(pipeline, items[:1])
    slices = RedeliverySlices(pipeline.database)
    assert await slices.still_waiting([]) == set()
    ids = [item.delivery_id for item in items]
    assert await slices.still_waiting(ids) == {items[1].delivery_id}


async def test_time_since_which_a_target_fails_is_known_while_it_does(pipeline: Pipeline) -> None:
    async def since() -> int | None:
        return await pipeline.database.read(lambda reader: redelivery.failing_since(reader, TARGET))

    assert await since() is None
    row: dict[str, Any] = {"target_id": TARGET, "breaker": "open", "failing_since": 5}
    await pipeline.database.write(lambda transaction: transaction.insert(target_health, row))
    assert await since() == 5


async def test_generations_of_a_message_stand_side_by_side(pipeline: Pipeline) -> None:
    await die(pipeline, await fill(pipeline, 1))
    await take(pipeline)
    await carry_out(pipeline)
    rows = await pipeline.database.read(
        lambda reader: reader.fetch_all(select(delivery).order_by(delivery.c.generation))
    )
    assert [(row.generation, row.state) for row in rows] == [(0, "dead"), (1, "pending")]
    assert len({row.message_id for row in rows}) == 1
