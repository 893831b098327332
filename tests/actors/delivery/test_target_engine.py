"""The engine of delivery as one target sees it: breaker, pace, batches, and what ends without it."""

from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path

import pytest
from sqlalchemy import select

from actors.messages import DeliveriesCreated, DeliveriesWithdrawn, Tick
from protocols.errors import DeliveryFault, DeliveryRefused, DeliveryRetryable
from protocols.targets import Delivered, Outcome, Push
from protocols.targets.policy import DeliveryPolicy, Ordering
from storage.tables.pipeline import delivery_attempt
from tests.support.pipeline import NOW, TARGET
from tests.support.target_scene import BUSY, DOWN, BatchScene, Scene, target_scene


@pytest.fixture
async def scene(tmp_path: Path) -> AsyncIterator[Scene]:
    async with target_scene(tmp_path) as scene:
        yield scene


async def test_outage_of_a_day_costs_no_delivery_more_than_a_few_attempts_and_loses_none(
    scene: Scene,
) -> None:
    items = await scene.make(*range(1, 31))
    scene.receiver.fail_with(DOWN)
    scene.start()
    await scene.pass_time(24 * 3600)
    # Five to notice, some in flight then, and a probe every ten minutes.
    assert len(scene.receiver.pushed) < 13 + 24 * 6 + 10
    assert max([await scene.attempts_of(item) for item in items]) <= 2

    scene.receiver.heal()
    await scene.pass_time(1_200)
    deliveries = (await scene.pipeline.balance()).deliveries
    assert (deliveries.delivered, deliveries.dead) == (30, 0)


async def test_target_stays_open_over_a_restart_of_its_actor(scene: Scene) -> None:
    await scene.make(*range(1, 9))
    scene.receiver.fail_with(DOWN)
    first = scene.start()
    await scene.pass_time(2)
    sent = len(scene.receiver.pushed)
    assert sent >= 5
    await scene.system.stop_child(first.path)

    scene.start()
    await scene.pass_time(20)
    assert len(scene.receiver.pushed) == sent
    await scene.pass_time(20)
    assert len(scene.receiver.pushed) == sent + 1


async def test_receiver_that_wants_fewer_messages_is_left_alone_for_as_long_as_it_says(
    scene: Scene,
) -> None:
    await scene.make(1, 2, 3)
    scene.receiver.fail_with(
        DeliveryRetryable(
            "Fewer.", fault=DeliveryFault.THROTTLED, status_code=429, retry_after_s=300
        )
    )
    scene.start(DeliveryPolicy(max_in_flight=1))
    await scene.pass_time(2)
    assert len(scene.receiver.pushed) == 1
    scene.receiver.heal()
    await scene.pass_time(290)
    assert len(scene.receiver.pushed) == 1
    await scene.pass_time(20)
    assert (await scene.pipeline.balance()).deliveries.delivered == 3


async def test_target_that_is_gone_is_disabled_and_its_deliveries_wait(scene: Scene) -> None:
    items = await scene.make(1, 2, 3)
    scene.receiver.fail_with(DeliveryRetryable("Gone.", fault=DeliveryFault.GONE))
    scene.start(DeliveryPolicy(max_in_flight=1))
    await scene.pass_time(3_600)
    assert len(scene.receiver.pushed) == 1
    health = await scene.outbox.health(TARGET)
    assert health.disabled_reason == "Gone."
    assert await scene.attempts_of(items[0]) == 0

    scene.receiver.heal()
    scene.start()
    await scene.pass_time(60)
    assert len(scene.receiver.pushed) == 1
    deliveries = (await scene.pipeline.balance()).deliveries
    assert deliveries.pending + deliveries.retrying == 3


async def test_no_more_go_at_once_than_may(scene: Scene) -> None:
    await scene.make(*range(1, 21))
    scene.receiver.may_answer.clear()
    scene.start(DeliveryPolicy(max_in_flight=3))
    await scene.pass_time(1)
    scene.receiver.may_answer.set()
    await scene.pass_time(1)
    assert scene.receiver.most_at_once == 3
    assert len(scene.receiver.pushed) == 20


async def test_no_more_go_in_a_second_than_may(scene: Scene) -> None:
    await scene.make(*range(1, 41))
    scene.start(DeliveryPolicy(max_rate_per_s=2))
    await scene.pass_time(10)
    assert 19 <= len(scene.receiver.pushed) <= 22


async def test_strict_order_lets_nothing_pass_what_failed(scene: Scene) -> None:
    items = await scene.make(1, 2, 3)
    failing = {items[0].message_id: 2}

    def answer(push: Push) -> Outcome:
        if failing.get(push.message_id):
            failing[push.message_id] -= 1
            return BUSY
        return Delivered(duration_s=0.001)

    scene.receiver.answer = answer
    scene.start(DeliveryPolicy(ordering=Ordering.STRICT))
    await scene.pass_time(60)
    first, second, third = [item.message_id for item in items]
    assert scene.receiver.pushed == [first, first, first, second, third]


async def test_without_order_a_failing_message_holds_up_none_of_its_device(scene: Scene) -> None:
    first, second, third = [item.message_id for item in await scene.make(1, 1, 1)]
    scene.receiver.answer = lambda push: (
        BUSY if push.message_id == first else Delivered(duration_s=0.001)
    )
    scene.start(DeliveryPolicy(ordering=Ordering.NONE))
    await scene.pass_time(2)
    assert set(scene.receiver.pushed) == {first, second, third}


async def test_message_that_fails_by_itself_lets_its_device_pass_after_an_hour(
    scene: Scene,
) -> None:
    poisoned = (await scene.make(1, 1, 2))[0]
    scene.receiver.answer = lambda push: (
        BUSY if push.message_id == poisoned.message_id else Delivered(duration_s=0.001)
    )
    scene.start()
    await scene.pass_time(3_540)
    assert (await scene.pipeline.balance()).deliveries.delivered == 1
    await scene.pass_time(120)
    assert (await scene.pipeline.balance()).deliveries.delivered == 2
    # What comes later is not held up either, and the one that failed goes on being tried.
    await scene.make(1)
    before = scene.receiver.pushed.count(poisoned.message_id)
    await scene.pass_time(3 * 3600)
    assert (await scene.pipeline.balance()).deliveries.delivered == 3
    assert scene.receiver.pushed.count(poisoned.message_id) == before + 1


async def test_delivery_that_waited_for_longer_than_72_hours_ends_without_an_attempt(
    scene: Scene,
) -> None:
    await scene.make(1, 2)
    scene.clock.shift(73 * 3600)
    scene.start()
    await scene.pass_time(2)
    assert scene.receiver.pushed == []
    assert (await scene.pipeline.balance()).deliveries.expired == 2


@pytest.mark.parametrize("jump_h", [-2, 2])
async def test_clock_that_is_set_while_deliveries_wait_loses_none_and_keeps_their_order(
    scene: Scene, jump_h: int
) -> None:
    made = [item.message_id for item in await scene.make(1, 1, 1)]
    scene.receiver.fail_with(BUSY)
    scene.start()
    await scene.pass_time(2)
    scene.clock.ahead = timedelta(hours=jump_h)
    scene.receiver.heal()
    made += [item.message_id for item in await scene.make(1)]
    # As long as the clock was set back for, at the most.
    await scene.pass_time(3 * 3600)
    first_seen = list(dict.fromkeys(scene.receiver.pushed))
    assert first_seen == made
    assert (await scene.pipeline.balance()).deliveries.delivered == 4


async def test_what_was_pulled_is_not_sent_and_lets_the_next_one_pass(scene: Scene) -> None:
    scene.receiver.may_answer.clear()
    actor = scene.start(DeliveryPolicy(max_in_flight=1))
    await scene.pass_time(1)
    in_flight, pulled, last = await scene.make(1, 2, 3)
    actor.tell(DeliveriesCreated([in_flight, pulled, last]))
    await scene.pass_time(1)
    # As somebody who pulls does it: first on disk, then told.
    await scene.outbox.cancel_for_target(TARGET, reason="pulled")
    actor.tell(DeliveriesWithdrawn([pulled.delivery_id]))
    await scene.pass_time(1)
    scene.receiver.may_answer.set()
    await scene.pass_time(2)
    assert scene.receiver.pushed == [in_flight.message_id, last.message_id]


async def test_lane_is_open_once_its_failed_head_was_pulled(scene: Scene) -> None:
    scene.receiver.fail_with(BUSY)
    actor = scene.start()
    head, behind = await scene.make(1, 1)
    actor.tell(Tick())
    await scene.pass_time(1)
    assert scene.receiver.pushed == [head.message_id]
    scene.receiver.heal()
    # As somebody who pulls does it.
    await scene.outbox.cancel_for_target(TARGET, reason="pulled")
    (fresh,) = await scene.make(1)
    actor.tell(DeliveriesWithdrawn([head.delivery_id, behind.delivery_id]))
    await scene.pass_time(1)
    assert scene.receiver.pushed == [head.message_id, fresh.message_id]


async def test_target_without_an_address_sends_nothing_and_keeps_what_waits(scene: Scene) -> None:
    scene.receiver.takes_pushes = False
    scene.start()
    await scene.make(1)
    await scene.pass_time(60)
    assert scene.receiver.batches == []
    assert (await scene.pipeline.balance()).deliveries.pending == 1


async def test_outcome_that_a_person_would_ask_about_is_logged_with_its_exchange(
    scene: Scene,
) -> None:
    await scene.make(1)
    scene.receiver.fail_with(DeliveryRefused("Too large.", status_code=413))
    scene.start()
    await scene.pass_time(1)
    rows = await scene.database.read(lambda reader: reader.fetch_all(select(delivery_attempt)))
    assert [(row.state, row.status_code, row.error) for row in rows] == [
        ("dead", 413, "Too large.")
    ]


async def test_batch_is_collected_for_a_moment_and_goes_out_as_one(scene: Scene) -> None:
    batches = BatchScene(scene, most=10)
    items = await scene.make(1, 1, 2)
    scene.start()
    await scene.pass_time(0.15)
    assert batches.sent() == []
    await scene.pass_time(0.2)
    ((batch_id, sent),) = batches.sent()
    assert batch_id is not None
    assert sent == [item.message_id for item in items]


async def test_full_batch_does_not_wait(scene: Scene) -> None:
    batches = BatchScene(scene, most=3)
    await scene.make(1, 1, 2)
    scene.start()
    await scene.clock.settle()
    assert [len(sent) for _, sent in batches.sent()] == [3]


async def test_batch_that_failed_is_the_same_again_over_a_restart(scene: Scene) -> None:
    batches = BatchScene(scene, most=10)
    await scene.make(1, 1, 2)
    scene.receiver.fail_with(BUSY)
    first = scene.start()
    await scene.pass_time(1)
    await scene.make(1, 2, 3)
    await scene.system.stop_child(first.path)
    scene.receiver.heal()

    scene.start()
    await scene.pass_time(20)

    sent = batches.sent()
    assert sent.count(sent[0]) == 2
    assert len(scene.receiver.pushed) == 3 + 3 + 3
    assert (await scene.pipeline.balance()).deliveries.delivered == 6


async def test_batch_killed_between_freezing_and_its_outcome_is_sent_again_as_it_was(
    scene: Scene,
) -> None:
    batches = BatchScene(scene, most=10)
    items = await scene.make(1, 2)
    scene.receiver.may_answer.clear()
    first = scene.start()
    await scene.pass_time(1)
    await scene.make(1)
    await scene.system.restart(first.path)
    scene.receiver.may_answer.set()
    await scene.pass_time(5)

    sent = batches.sent()
    assert sent[0] == sent[1]
    assert sent[0][1] == [item.message_id for item in items]
    assert len(sent[2][1]) == 1


async def test_batch_that_fails_by_itself_steps_aside_as_one(scene: Scene) -> None:
    batches = BatchScene(scene, most=10)
    items = await scene.make(1, 1, 2)
    poisoned = {item.message_id for item in items}
    scene.receiver.answer = lambda push: (
        BUSY if push.message_id in poisoned else Delivered(duration_s=0.001)
    )
    scene.start(DeliveryPolicy(head_of_line_max_s=60))
    await scene.pass_time(1)
    (later,) = await scene.make(1)
    await scene.pass_time(400)
    frozen = {tuple(sent) for _, sent in batches.sent() if later.message_id not in sent}
    assert frozen == {tuple(item.message_id for item in items)}
    assert (await scene.pipeline.balance()).deliveries.delivered == 1
    assert timedelta(0) < scene.clock.now() - NOW
