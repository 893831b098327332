"""Lanes that are fitted to another order, on every database engine."""

import pytest

from protocols.targets.policy import Ordering
from storage.delivery.outbox import DeliveryState
from tests.support.pipeline import TARGET, Pipeline, outcome, result, uplink


async def fail_heads(pipeline: Pipeline) -> None:
    """Have the first delivery of the devices 3 and 4 in back-off, the second for longer."""
    entries = await pipeline.accept(*(uplink(device_id) for device_id in (3, 4, 3)))
    await pipeline.commit(*(result(entry) for entry in entries))
    first, second, _ = await pipeline.waiting()
    await pipeline.outbox.record(
        [
            outcome(first, DeliveryState.RETRYING, retry_in_s=30),
            outcome(second, DeliveryState.RETRYING, retry_in_s=60),
        ]
    )


async def blocked(pipeline: Pipeline) -> dict[int, int]:
    """By lane, for how many seconds of the test it is blocked."""
    lanes = await pipeline.outbox.blocked_lanes(TARGET)
    first_s = min((lane.due_at.timestamp() for lane in lanes), default=0.0)
    return {lane.lane: round(lane.due_at.timestamp() - first_s) for lane in lanes}


async def test_strict_order_has_one_lane_that_opens_when_all_that_failed_is_due(
    pipeline: Pipeline,
) -> None:
    await fail_heads(pipeline)
    before = {lane.lane: lane for lane in await pipeline.outbox.blocked_lanes(TARGET)}
    await pipeline.outbox.fit_lanes(TARGET, Ordering.STRICT, None)
    (lane,) = await pipeline.outbox.blocked_lanes(TARGET)
    assert (lane.lane, lane.delivery_id) == (0, before[3].delivery_id)
    assert lane.due_at == before[4].due_at


async def test_lanes_of_devices_come_back_when_the_order_does(pipeline: Pipeline) -> None:
    await fail_heads(pipeline)
    before = await blocked(pipeline)
    await pipeline.outbox.fit_lanes(TARGET, Ordering.STRICT, None)
    await pipeline.outbox.fit_lanes(TARGET, Ordering.PER_DEVICE, None)
    assert await blocked(pipeline) == before == {3: 0, 4: 30}


async def test_without_order_nothing_is_blocked(pipeline: Pipeline) -> None:
    await fail_heads(pipeline)
    await pipeline.outbox.fit_lanes(TARGET, Ordering.NONE, None)
    assert await blocked(pipeline) == {}


async def test_lanes_that_fit_are_left_alone_without_a_write(
    pipeline: Pipeline, monkeypatch: pytest.MonkeyPatch
) -> None:
    await fail_heads(pipeline)

    async def refuse(_unit: object) -> None:
        raise AssertionError("there is nothing to write")

    monkeypatch.setattr(pipeline.database, "write", refuse)
    await pipeline.outbox.fit_lanes(TARGET, Ordering.PER_DEVICE, None)
