"""Processes of a hub, as far as leases are concerned, all in one test on one database."""

import asyncio
from collections.abc import Collection
from typing import ClassVar

from sqlalchemy import update

from actors.leased_ownership import LeasedOwnership
from actors.ownership import Keeper, Tenure
from actors.runtime import ActorSystem, VirtualClock
from storage import Database
from storage.database import BulkInsert
from storage.leases import Granted, LeaseSettings, LeaseStore
from storage.tables.fleet import process
from tests.support.clock_in_database import ClockInDatabase

# Later than any test: of a process that lives, nobody here lets the row grow old.
_FOR_EVER = 2**62
_COLUMNS = [
    "process_id",
    "role",
    "host",
    "pid",
    "version",
    "started_at",
    "seen_at",
    "is_well",
    "reason",
    "report",
]
_SHOW = BulkInsert(process, tuple(_COLUMNS))


class StoppableLeases(LeaseStore):
    """Reaches the database only while `is_reached`."""

    def __init__(self, database: Database, holder: str, monotonic: "OwnClock") -> None:
        super().__init__(
            database,
            holder,
            settings=LeaseSettings(),
            monotonic=monotonic,
            now=ClockInDatabase.now,
        )
        self.is_reached = asyncio.Event()
        self.is_reached.set()

    async def renew(self) -> Granted:
        await self.is_reached.wait()
        return await super().renew()


class OwnClock:
    """The monotonic clock of one process: the virtual one, until it is made to stand still."""

    def __init__(self, clock: VirtualClock) -> None:
        self._clock = clock
        self._stopped_s: float | None = None

    def __call__(self) -> float:
        return self._clock.monotonic() if self._stopped_s is None else self._stopped_s

    def stand_still(self) -> None:
        self._stopped_s = self._clock.monotonic()

    def go_on(self) -> None:
        self._stopped_s = None


class Things(Keeper):
    """Takes up and puts down, and remembers who did in what order."""

    kind: ClassVar = "target"
    asks_before_acting: ClassVar = True

    def __init__(self, worker: str, wanted: set[str], log: list[tuple[str, str, str]]) -> None:
        self._worker = worker
        self._wanted = wanted
        self._log = log
        self.up: dict[str, Tenure] = {}
        self.may_end = asyncio.Event()
        self.may_end.set()

    async def wanted(self) -> Collection[str]:
        return [name for name in self._wanted if name.startswith(self.kind)]

    def take_up(self, name: str, tenure: Tenure) -> None:
        assert name not in self.up
        self.up[name] = tenure
        self._log.append((self._worker, "up", name))

    async def put_down(self, name: str) -> None:
        await self.may_end.wait()
        del self.up[name]
        self._log.append((self._worker, "down", name))


class Chores(Things):
    """Of the kind that does not ask before it acts."""

    kind: ClassVar = "housekeeping"
    asks_before_acting: ClassVar = False


class Worker:
    """One process: its leases, its ownership and what it has up."""

    def __init__(
        self,
        name: str,
        *,
        database: Database,
        clock: VirtualClock,
        wanted: set[str],
        log: list[tuple[str, str, str]],
    ) -> None:
        self.name = name
        self._database = database
        self.clock = OwnClock(clock)
        self.leases = StoppableLeases(database, name, self.clock)
        self.things = Things(name, wanted, log)
        self.chores = Chores(name, wanted, log)
        self.path = f"/hub/leases-{name}"
        self.ownership = LeasedOwnership(
            self.leases, monotonic=self.clock, random=lambda: 0.5, path=self.path
        )

    @property
    def up(self) -> set[str]:
        return {*self.things.up, *self.chores.up}

    async def join(self, system: ActorSystem) -> None:
        await self._show(seen_at=_FOR_EVER)
        self.ownership.prepare(system, (self.chores, self.things))
        await self.ownership.begin()

    def stop_renewing(self) -> None:
        self.leases.is_reached.clear()

    def go_on(self) -> None:
        self.leases.is_reached.set()

    async def be_missed(self) -> None:
        """Have the others find that this process has not been seen for long."""
        gone = update(process).where(process.c.process_id == self.name).values(seen_at=0)
        await self._database.write(lambda transaction: transaction.execute(gone))

    async def _show(self, *, seen_at: int) -> None:
        row = (self.name, "worker", "here", 1, "1", 0, seen_at, True, "", b"")
        await self._database.write(lambda transaction: transaction.insert_many(_SHOW, [row]))
