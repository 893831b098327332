"""The time of day on which all processes of a fleet agree: the database's, carried on by each.

What one process writes another compares with the time: when a delivery is tried again, when it expires,
how old a message is. With the clocks of their machines minutes apart, a target that moves to another
worker would be sent to minutes late, or too soon. So the time is the database's, by which leases are
counted already. A clock of the machine's that is set, or that jumps, changes nothing either: what is
counted is how long ago the database was asked.
"""

from collections.abc import Callable
from datetime import datetime
from time import time_ns
from typing import Final

import structlog

from actors import events
from actors.runtime import SystemClock
from storage.database import Database
from storage.database_clock import read_database_clock
from storage.instants import instant

# Beyond this somebody ought to look after the machine's clock, by which its log is written.
_TOLERATED_US: Final = 2_000_000

log = structlog.get_logger(__name__)


class SharedClock(SystemClock):
    """Shows the machine's time until it has been adjusted once."""

    def __init__(self, database: Database, elapsed_s: Callable[[], float]) -> None:
        """`elapsed_s` is the clock that it goes by between two adjustments; nobody can set it."""
        self._database = database
        self._elapsed_s = elapsed_s
        self._at_zero_us = time_ns() // 1_000 - self._elapsed_us()
        self._is_told = False

    def now(self) -> datetime:
        return instant(self._at_zero_us + self._elapsed_us())

    async def adjust(self) -> None:
        """Ask the database; a difference that the time for asking explains is none.

        Raises:
            StorageUnavailable: it could not be asked; the clock goes on.
        """
        before_us = self._elapsed_us()
        shown_us = await read_database_clock(self._database)
        after_us = self._elapsed_us()
        # It showed this no sooner than `before` and no later than `after`.
        least_us, most_us = shown_us - after_us, shown_us - before_us
        self._at_zero_us = min(max(self._at_zero_us, least_us), most_us)
        self._tell()

    def _tell(self) -> None:
        """Once when the machine's clock is found to be wrong, and again when it was right meanwhile."""
        ahead_us = time_ns() // 1_000 - self._at_zero_us - self._elapsed_us()
        if abs(ahead_us) <= _TOLERATED_US:
            self._is_told = False
        elif not self._is_told:
            self._is_told = True
            log.warning(events.CLOCK_DIFFER, ahead_s=round(ahead_us / 1e6, 3))

    def _elapsed_us(self) -> int:
        return round(self._elapsed_s() * 1e6)
