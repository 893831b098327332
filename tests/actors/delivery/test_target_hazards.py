"""What could leave deliveries lying, tear batches apart or let one message pass another."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from datetime import timedelta
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import update

from actors.messages import DeliveriesCreated, DeliveriesWithdrawn, LookIntoOutbox, Tick
from protocols.errors import DeliveryFault, DeliveryRetryable
from protocols.messages import MessageId, TargetId
from protocols.targets import Delivered, Outcome, Push
from protocols.targets.policy import DeliveryPolicy, Ordering
from storage.delivery.acknowledgement import Acknowledgements
from storage.delivery.outbox import BlockedLane, DeliveryOutcome, OutboxItem, TargetNote
from storage.leases import Lease
from storage.tables.pipeline import delivery
from tests.support.pipeline import TARGET
from tests.support.target_scene import BUSY, DOWN, BatchScene, Scene, target_scene

SLOW = DeliveryRetryable("Too slow.", fault=DeliveryFault.THROTTLED, status_code=504)


@pytest.fixture
async def scene(tmp_path: Path) -> AsyncIterator[Scene]:
    async with target_scene(tmp_path) as scene:
        yield scene


async def pull(scene: Scene, *items: OutboxItem) -> None:
    ids = [item.delivery_id for item in items]
    await Acknowledgements(scene.database).of_deliveries(TARGET, ids, scene.clock.now())


async def set_expiry(scene: Scene, *items: OutboxItem, in_s: float) -> None:
    at_us = round((scene.clock.now() + timedelta(seconds=in_s)).timestamp() * 1_000_000)
    statement = (
        update(delivery)
        .where(delivery.c.delivery_id.in_([item.delivery_id for item in items]))
        .values(expires_at=at_us)
    )
    await scene.database.write(lambda transaction: transaction.execute(statement))


async def test_what_waits_is_sent_though_all_that_was_in_flight_ended_at_once_and_left_one_slot(
    scene: Scene,
) -> None:
    items = await scene.make(*range(1, 21))
    slow = items[0].message_id
    scene.receiver.answer = lambda push: (
        SLOW if push.message_id == slow else Delivered(duration_s=0.001)
    )
    scene.receiver.may_answer.clear()
    scene.start(DeliveryPolicy(max_in_flight=8))
    await scene.pass_time(1)
    scene.receiver.may_answer.set()
    await scene.pass_time(2)
    assert (await scene.pipeline.balance()).deliveries.delivered == 19


async def test_backlog_behind_a_cache_full_of_what_has_expired_is_sent(scene: Scene) -> None:
    old = await scene.make(*range(1, 9))
    await set_expiry(scene, *old, in_s=-3600)
    await scene.make(*range(11, 15))
    scene.start(capacity=8)
    await scene.pass_time(2)
    deliveries = (await scene.pipeline.balance()).deliveries
    assert (deliveries.expired, deliveries.delivered) == (8, 4)


async def test_head_that_fails_while_lanes_are_read_anew_keeps_what_is_behind_it_waiting(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second = await scene.make(1, 1)
    (pulled,) = await scene.make(2)
    scene.receiver.fail_with(BUSY)
    scene.receiver.may_answer.clear()
    actor = scene.start(capacity=4)
    await scene.pass_time(1)
    read, may_return = scene.outbox.blocked_lanes, asyncio.Event()

    async def read_and_hesitate(target_id: TargetId) -> list[BlockedLane]:
        lanes = await read(target_id)
        await may_return.wait()
        return lanes

    monkeypatch.setattr(scene.outbox, "blocked_lanes", read_and_hesitate)
    await pull(scene, pulled)
    actor.tell(DeliveriesWithdrawn([pulled.delivery_id]))
    await scene.pass_time(0.1)
    scene.receiver.may_answer.set()
    await scene.pass_time(0.1)
    may_return.set()
    await scene.pass_time(0.1)
    (fresh,) = await scene.make(1)
    actor.tell(DeliveriesCreated([fresh]))
    await scene.pass_time(1)
    assert second.message_id not in scene.receiver.pushed
    assert fresh.message_id not in scene.receiver.pushed
    scene.receiver.heal()
    await scene.pass_time(20)
    of_device = [one for one in scene.receiver.pushed if one != pulled.message_id]
    expected = [first.message_id, second.message_id, fresh.message_id]
    assert list(dict.fromkeys(of_device)) == expected


async def test_head_that_is_pulled_while_its_attempt_fails_keeps_nothing_waiting(
    scene: Scene,
) -> None:
    head, behind = await scene.make(1, 1)
    scene.receiver.fail_with(BUSY)
    scene.receiver.may_answer.clear()
    actor = scene.start()
    await scene.pass_time(1)
    await pull(scene, head)
    actor.tell(DeliveriesWithdrawn([head.delivery_id]))
    await scene.pass_time(1)
    scene.receiver.heal()
    scene.receiver.answer = lambda push: (
        BUSY if push.message_id == head.message_id else Delivered(duration_s=0.001)
    )
    scene.receiver.may_answer.set()
    await scene.pass_time(1)
    assert scene.receiver.pushed == [head.message_id, behind.message_id]


async def test_lane_whose_head_was_pulled_is_opened_by_the_next_look_though_nobody_said_so(
    scene: Scene,
) -> None:
    head, behind = await scene.make(1, 1)
    scene.receiver.fail_with(BUSY)
    actor = scene.start()
    await scene.pass_time(1)
    scene.receiver.heal()
    await pull(scene, head)
    actor.tell(LookIntoOutbox())
    await scene.pass_time(1)
    assert scene.receiver.pushed == [head.message_id, behind.message_id]


async def test_target_is_closed_when_what_is_needed_to_begin_cannot_be_read(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened = closed = 0

    async def fail(_target_id: TargetId) -> list[BlockedLane]:
        raise AssertionError("not now")

    async def count_open() -> None:
        nonlocal opened
        opened += 1

    async def count_close() -> None:
        nonlocal closed
        closed += 1

    monkeypatch.setattr(scene.outbox, "blocked_lanes", fail)
    monkeypatch.setattr(scene.receiver, "open", count_open)
    monkeypatch.setattr(scene.receiver, "close", count_close)
    scene.start()
    await scene.pass_time(1)
    assert opened == closed


async def test_actor_that_stops_waits_for_outcomes_that_are_just_being_written(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    record, is_writing, may_write = scene.outbox.record, asyncio.Event(), asyncio.Event()

    async def hesitate(
        outcomes: Sequence[DeliveryOutcome],
        lease: Lease | None = None,
        note: TargetNote | None = None,
    ) -> list[TargetId]:
        is_writing.set()
        await may_write.wait()
        return await record(outcomes, lease, note)

    monkeypatch.setattr(scene.outbox, "record", hesitate)
    await scene.make(1)
    actor = scene.start()
    await is_writing.wait()
    stopping = asyncio.create_task(scene.system.stop_child(actor.path))
    await scene.clock.settle()
    may_write.set()
    await stopping
    assert (await scene.pipeline.balance()).deliveries.delivered == 1


async def test_target_that_becomes_strict_lets_nothing_pass_what_has_failed(scene: Scene) -> None:
    made = [item.message_id for item in await scene.make(1)]
    scene.receiver.fail_with(BUSY)
    actor = scene.start(DeliveryPolicy(ordering=Ordering.PER_DEVICE))
    await scene.pass_time(1)
    await scene.system.stop_child(actor.path)
    made += [item.message_id for item in await scene.make(2, 1)]
    scene.receiver.heal()
    scene.start(DeliveryPolicy(ordering=Ordering.STRICT))
    await scene.pass_time(30)
    assert scene.receiver.pushed == [made[0], *made]


@pytest.mark.parametrize("before", [Ordering.STRICT, Ordering.NONE])
async def test_target_that_is_ordered_by_device_from_now_on_has_what_failed_wait_for_nobody_else(
    scene: Scene, before: Ordering
) -> None:
    (first,) = [item.message_id for item in await scene.make(1)]
    scene.receiver.fail_with(BUSY)
    actor = scene.start(DeliveryPolicy(ordering=before))
    await scene.pass_time(1)
    await scene.system.stop_child(actor.path)
    second, other = [item.message_id for item in await scene.make(1, 2)]
    scene.receiver.heal()
    scene.start(DeliveryPolicy(ordering=Ordering.PER_DEVICE))
    await scene.pass_time(1)
    assert scene.receiver.pushed == [first, other]
    await scene.pass_time(30)
    assert scene.receiver.pushed == [first, other, first, second]


async def test_receiver_that_wants_quiet_is_left_alone_over_a_restart(scene: Scene) -> None:
    await scene.make(1)
    throttled = DeliveryRetryable(
        "Fewer.", fault=DeliveryFault.THROTTLED, status_code=429, retry_after_s=300
    )
    scene.receiver.fail_with(throttled)
    actor = scene.start()
    await scene.pass_time(2)
    await scene.system.stop_child(actor.path)
    await scene.make(2)
    scene.receiver.heal()
    scene.start()
    await scene.pass_time(280)
    assert len(scene.receiver.pushed) == 1
    await scene.pass_time(30)
    assert (await scene.pipeline.balance()).deliveries.delivered == 2
    assert (await scene.outbox.health(TARGET)).open_until is None


async def test_outbox_that_is_slow_to_read_is_read_at_most_a_fifth_of_the_time(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    await scene.make(*range(1, 31))
    scene.receiver.fail_with(BUSY)
    read, began_s = scene.outbox.waiting, list[float]()

    async def read_slowly(target_id: TargetId, **how: Any) -> list[OutboxItem]:
        began_s.append(scene.clock.monotonic())
        await scene.clock.sleep(1.0)
        return await read(target_id, **how)

    monkeypatch.setattr(scene.outbox, "waiting", read_slowly)
    scene.start(DeliveryPolicy(max_in_flight=3))
    await scene.pass_time(60)
    assert len(began_s) > 2
    # As exactly as instants are subtracted.
    assert all(later - sooner >= 4.99 for sooner, later in pairwise(began_s))


class TestBatches:
    """Those that travel as one thing."""

    async def test_that_does_not_fit_the_cache_is_together_again(self, scene: Scene) -> None:
        batches = BatchScene(scene, most=6)
        made = [item.message_id for item in await scene.make(*range(1, 7))]
        scene.receiver.fail_with(BUSY)
        actor = scene.start(DeliveryPolicy(max_in_flight=2), capacity=8)
        await scene.pass_time(1)
        # Another one is never answered: what it leaves of the cache is too little for the first.
        scene.receiver.may_answer.clear()
        await scene.make(*range(11, 16))
        actor.tell(Tick())
        await scene.pass_time(20)
        scene.receiver.heal()
        scene.receiver.may_answer.set()
        await scene.pass_time(20)
        first_id = batches.sent()[0][0]
        again = [sent for batch_id, sent in batches.sent() if batch_id == first_id]
        assert again == [made, made]
        assert (await scene.pipeline.balance()).deliveries.delivered == 11

    async def test_counts_as_one_attempt_at_the_target(self, scene: Scene) -> None:
        BatchScene(scene, most=10)
        items = await scene.make(*range(1, 11))
        scene.receiver.fail_with(DOWN)
        scene.start()
        await scene.pass_time(1)
        health = await scene.outbox.health(TARGET)
        assert (health.breaker, health.failures) == ("closed", 1)
        assert {await scene.attempts_of(item) for item in items} == {1}

    async def test_is_due_before_the_first_of_it_expires(self, scene: Scene) -> None:
        BatchScene(scene, most=10)
        old = (await scene.make(1, 2))[1]
        await set_expiry(scene, old, in_s=3)
        scene.receiver.fail_with(BUSY)
        scene.start()
        await scene.pass_time(1)
        scene.receiver.heal()
        await scene.pass_time(3)
        assert (await scene.pipeline.balance()).deliveries.delivered == 2

    async def test_whose_first_has_come_to_its_end_keeps_its_lane_over_a_restart(
        self, scene: Scene
    ) -> None:
        BatchScene(scene, most=2)
        first, second, third = await scene.make(1, 1, 1)
        await set_expiry(scene, first, in_s=0.5)
        first_end = {first.message_id, second.message_id}

        def answer(push: Push) -> Outcome:
            return BUSY if push.message_id in first_end else Delivered(duration_s=0.001)

        scene.receiver.answer = answer
        scene.receiver.may_answer.clear()
        actor = scene.start()
        await scene.pass_time(1)
        scene.receiver.may_answer.set()
        await scene.pass_time(0.5)
        await scene.system.stop_child(actor.path)
        scene.start()
        await scene.pass_time(2)
        assert third.message_id not in scene.receiver.pushed

    async def test_of_which_the_middle_expires_first_leaves_nothing_behind(
        self, scene: Scene
    ) -> None:
        BatchScene(scene, most=3)
        first, middle, last = await scene.make(1, 1, 1)
        await set_expiry(scene, middle, in_s=-3600)
        scene.receiver.fail_with(BUSY)
        scene.start()
        await scene.pass_time(1)
        scene.receiver.heal()
        await scene.pass_time(20)
        deliveries = (await scene.pipeline.balance()).deliveries
        assert (deliveries.expired, deliveries.delivered) == (1, 2)
        ordered: list[MessageId] = list(dict.fromkeys(scene.receiver.pushed))
        assert ordered == [first.message_id, last.message_id]
