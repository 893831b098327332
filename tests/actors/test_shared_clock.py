"""The time that a process of a fleet goes by, on a database whose clock a test turns."""

from datetime import UTC, datetime, timedelta
from typing import cast

import pytest

from actors.shared_clock import SharedClock
from protocols.errors import StorageUnavailable
from storage import Database

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)


class Clocks:
    """A clock that nobody can set, and a database whose clock is asked in the middle of `delay_s`."""

    def __init__(self) -> None:
        self.elapsed_s = 1_000.0
        self.ahead = timedelta(0)
        self.delay_s = 0.0
        self.is_away = False

    @property
    def shown(self) -> datetime:
        """What the database's clock shows now."""
        return NOON + self.ahead + timedelta(seconds=self.elapsed_s)

    async def read(self, _unit: object) -> int:
        self.elapsed_s += self.delay_s / 2
        if self.is_away:
            raise StorageUnavailable("Away.")
        shown_us = int(self.shown.timestamp() * 1e6)
        self.elapsed_s += self.delay_s / 2
        return shown_us

    def clock(self) -> SharedClock:
        return SharedClock(cast(Database, self), lambda: self.elapsed_s)


@pytest.fixture
def clocks() -> Clocks:
    return Clocks()


async def test_time_is_the_databases_and_goes_on_by_itself(clocks: Clocks) -> None:
    clock = clocks.clock()
    await clock.adjust()
    assert clock.now() == clocks.shown
    clocks.elapsed_s += 90
    assert clock.now() == clocks.shown


async def test_time_follows_a_clock_that_was_set(clocks: Clocks) -> None:
    clock = clocks.clock()
    await clock.adjust()
    for ahead in (timedelta(minutes=5), timedelta(minutes=-5)):
        clocks.ahead = ahead
        await clock.adjust()
        assert clock.now() == clocks.shown


async def test_slow_answer_moves_the_time_no_further_than_it_proves(clocks: Clocks) -> None:
    clock = clocks.clock()
    await clock.adjust()
    clocks.delay_s = 4.0
    await clock.adjust()
    assert clock.now() == clocks.shown
    clocks.ahead = timedelta(seconds=60)
    await clock.adjust()
    # Anything from 58 to 62 s further on agrees with what was shown.
    assert clocks.shown - clock.now() == timedelta(seconds=2)


async def test_time_goes_on_while_the_database_is_away(clocks: Clocks) -> None:
    clock = clocks.clock()
    await clock.adjust()
    clocks.is_away = True
    with pytest.raises(StorageUnavailable):
        await clock.adjust()
    clocks.elapsed_s += 10
    assert clock.now() == clocks.shown


async def test_time_is_the_machines_until_the_database_was_asked(clocks: Clocks) -> None:
    clock = clocks.clock()
    assert abs(clock.now() - datetime.now(UTC)) < timedelta(minutes=1)
