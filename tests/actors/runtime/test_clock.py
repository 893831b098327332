import asyncio
from datetime import UTC, datetime, timedelta

from actors.runtime import SystemClock, VirtualClock


async def test_timers_fire_in_order_at_their_moment_when_time_is_advanced() -> None:
    clock = VirtualClock(datetime(2031, 5, 1, tzinfo=UTC))
    fired: list[tuple[str, float]] = []
    clock.call_later(2.0, lambda: fired.append(("b", clock.monotonic())))
    clock.call_later(1.0, lambda: fired.append(("a", clock.monotonic())))
    clock.call_later(3.0, lambda: fired.append(("c", clock.monotonic()))).cancel()
    clock.call_later(9.0, lambda: fired.append(("later", clock.monotonic())))
    await clock.advance(5.0)
    assert fired == [("a", 1.0), ("b", 2.0)]
    assert clock.monotonic() == 5.0
    assert clock.now() == datetime(2031, 5, 1, 0, 0, 5, tzinfo=UTC)


async def test_a_timer_set_by_a_timer_fires_within_the_same_advance() -> None:
    clock = VirtualClock()
    fired: list[float] = []

    def again() -> None:
        fired.append(clock.monotonic())
        if len(fired) < 3:
            clock.call_later(1.0, again)

    clock.call_later(1.0, again)
    await clock.advance(10.0)
    assert fired == [1.0, 2.0, 3.0]


async def test_sleepers_go_on_when_time_passes_and_not_before() -> None:
    clock = VirtualClock()
    sleeping = asyncio.create_task(clock.sleep(10.0))
    await clock.advance(9.9)
    assert not sleeping.done()
    await clock.advance(0.1)
    assert sleeping.done()


async def test_a_cancelled_sleep_leaves_no_timer_that_matters() -> None:
    clock = VirtualClock()
    sleeping = asyncio.create_task(clock.sleep(1.0))
    await clock.settle()
    sleeping.cancel()
    await clock.advance(2.0)
    assert sleeping.cancelled()


async def test_the_system_clock_is_the_loops() -> None:
    clock = SystemClock()
    before_s = clock.monotonic()
    await clock.sleep(0.001)
    assert clock.monotonic() > before_s
    assert abs(clock.now() - datetime.now(UTC)) < timedelta(seconds=5)
