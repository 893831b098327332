"""LeasedOwnership: this process acts for what it holds by lease, and for nothing else.

Theory of operation. One *round* after the other, never two at once: release what was put down,
renew all that is held, look who else is there, and from that decide what to take up, what to hand
over and what to claim (`divide`). The rows are the truth: what a renewal returns is held, also when
nobody here remembers having claimed it, and what it does not return is lost.

* What is handed over is put down first, which takes as long as the acts that have begun; its lease
  is renewed until then. Only then is it released. So there are never two who begin acts for it.
* What is lost is put down without being released. Whoever acts for it noticed before: it asks its
  tenure, and a tenure ends by this process's own clock before another process can have the lease.
* While the database is away no round comes to an end and tenures lapse. Who asks before acting stays
  up, idle, so that what became of its last acts can still be written if nobody has taken over;
  the others are put down.
"""

import asyncio
import time
from collections.abc import Callable, Mapping, Sequence
from enum import Enum
from random import random as random_share

import structlog

from actors import events, paths
from actors.fair_share import Division, divide, next_expiry_s
from actors.lease_book import LeaseBook, LeasedTenure
from actors.leases import LeaseActor
from actors.messages import NextRound
from actors.ownership import Keeper, Ownership, kind_of
from actors.runtime import ActorSystem, ChildSpec
from protocols.errors import StorageUnavailable
from storage.leases import Lease, LeaseStore, LeaseSurvey

# What expires is claimed a moment after it has, by nobody at the same moment.
_EXPIRY_SPREAD_S = 0.2
_JITTER = 0.2
_RELEASE_PATIENCE_S = 1.0
_LOOK_LIMIT_S = 1.0

log = structlog.get_logger(__name__)


class _End(Enum):
    """What becomes of a lease whose thing has been put down."""

    RELEASE = "release"
    FORGET = "forget"


def boot_time_s() -> float:
    """Seconds on a clock that goes on while the machine sleeps, where there is one."""
    if hasattr(time, "CLOCK_BOOTTIME"):
        return time.clock_gettime(time.CLOCK_BOOTTIME)
    return time.monotonic()


class LeasedOwnership(Ownership):
    """For a process among several. Its actor at `/hub/leases` makes the rounds."""

    def __init__(
        self,
        store: LeaseStore,
        *,
        monotonic: Callable[[], float] = boot_time_s,
        random: Callable[[], float] = random_share,
        path: str = paths.LEASES,
    ) -> None:
        """`monotonic` is the clock that `store` was given, `path` where the actor is to be."""
        self._store = store
        self._random = random
        self._path = path
        self._book = LeaseBook(monotonic)
        self._keepers: Mapping[str, Keeper] = {}
        self._up: dict[str, LeasedTenure] = {}
        self._leaving: dict[str, asyncio.Task[None]] = {}
        self._put_down: dict[Lease, _End] = {}
        self._nudge: Callable[[], None] = lambda: None
        self._round = asyncio.Lock()
        self._has_begun = False
        self._is_retired = False

    # -- as the hub's ownership --------------------------------------------------------------

    def prepare(self, system: ActorSystem, keepers: Sequence[Keeper]) -> None:
        self._keepers = {keeper.kind: keeper for keeper in keepers}
        parent_path, _, name = self._path.rpartition("/")
        actor = system.spawn(parent_path, ChildSpec(name, LeaseActor, (self,)))
        self._nudge = lambda: actor.tell(NextRound())

    async def begin(self) -> None:
        self._has_begun = True
        self._nudge()

    async def reconsider(self, *, replaced: str | None = None) -> None:
        """Start `replaced` anew; what is new or gone follows in a round that this does not await."""
        if replaced in self._up and replaced not in self._leaving:
            await self._leave(replaced)
        self._nudge()

    def holds(self, name: str) -> bool:
        return name in self._up and name not in self._leaving

    def retire(self) -> None:
        self._is_retired = True

    # -- for its actor -----------------------------------------------------------------------

    @property
    def lapses_in_s(self) -> float | None:
        return self._book.lapses_in_s

    async def make_round(self) -> float:
        """Make one round; return in how many seconds the next one is due.

        Raises: StorageUnavailable; what is held may have been renewed. Make another one soon.
        """
        if not self._has_begun:
            return self._interval_s()
        async with self._round:
            await self._release_put_down()
            self._book.renew(await self._store.renew())
            self._put_down_lost()
            if self._is_retired:
                return self._interval_s()
            survey, wanted = await self._look_around()
            held = {lease.name: lease for lease in self._book.leases}
            division = divide(wanted=wanted, held=held.keys() - self._leaving.keys(), survey=survey)
            self._part_with(division, held)
            if division.room and division.claim:
                granted = await self._store.claim(division.claim, limit=division.room)
                self._book.add(granted)
            self._take_up(wanted.difference(division.hand_over))
            expiry_s = next_expiry_s(wanted, survey, self._store.holder)
            return self._delay_s(expiry_s if division.room else None)

    def lapse(self) -> None:
        """Put down what would go on without asking: nothing here can be proved to be ours now.

        All leases are renewed by one statement, so that they lapse together.
        """
        log.warning(events.LEASE_LAPSE, count=len(self._up))
        for name in tuple(self._up):
            if not self._keeper(name).asks_before_acting and name not in self._leaving:
                self._leave(name)

    async def close(self) -> None:
        """Let others have everything at once; nothing that was kept here is up any more."""
        self._is_retired = True
        try:
            async with asyncio.timeout(_RELEASE_PATIENCE_S), self._round:
                await self._store.release(tuple(self._book.leases))
        except (TimeoutError, StorageUnavailable):
            log.warning(events.LEASE_RELEASE_FAIL, count=len(self._book.leases))

    # -- within a round ----------------------------------------------------------------------

    async def _release_put_down(self) -> None:
        ended = dict(self._put_down)
        await self._store.release([one for one, end in ended.items() if end is _End.RELEASE])
        await self._store.forget([one.name for one, end in ended.items() if end is _End.FORGET])
        for one in ended:
            del self._put_down[one]

    async def _look_around(self) -> tuple[LeaseSurvey, set[str]]:
        """Return who holds what, and what there is; reads that are slow must not delay renewing."""
        try:
            async with asyncio.timeout(_LOOK_LIMIT_S):
                survey = await self._store.survey()
                wanted = {name for one in self._keepers.values() for name in await one.wanted()}
        except TimeoutError as error:
            raise StorageUnavailable("The database is slow to read.") from error
        return survey, wanted

    def _put_down_lost(self) -> None:
        held = set(self._book.leases)
        lost = [
            name
            for name, tenure in self._up.items()
            if tenure.lease not in held and name not in self._leaving
        ]
        if lost:
            log.warning(events.LEASE_LOSE, names=lost)
        for name in lost:
            self._leave(name)

    def _part_with(self, division: Division, held: Mapping[str, Lease]) -> None:
        if division.hand_over:
            log.info(events.LEASE_HAND_OVER, names=division.hand_over)
        ends = dict.fromkeys(division.forget, _End.FORGET)
        ends |= dict.fromkeys(division.hand_over, _End.RELEASE)
        for name, end in ends.items():
            if name in self._up:
                self._leave(name, (held[name], end))
            else:
                self._put_down[held[name]] = end
                self._nudge()

    def _take_up(self, names: set[str]) -> None:
        taken: list[str] = []
        if self._is_retired:
            return
        for lease in self._book.leases:
            is_free = lease.name not in self._up and lease not in self._put_down
            if is_free and lease.name in names:
                tenure = LeasedTenure(
                    lease,
                    self._book,
                    act_limit_s=self._store.settings.act_limit_s,
                    on_refused=lambda _lease: self._nudge(),
                )
                self._up[lease.name] = tenure
                self._keeper(lease.name).take_up(lease.name, tenure)
                taken.append(lease.name)
        if taken:
            log.info(events.LEASE_TAKE_UP, names=taken)

    def _leave(
        self, name: str, afterwards: tuple[Lease, "_End"] | None = None
    ) -> "asyncio.Task[None]":
        """Put it down in its own time, whatever becomes of the round or of the actor."""
        leaving = asyncio.get_running_loop().create_task(self._put_down_one(name, afterwards))
        self._leaving[name] = leaving
        return leaving

    async def _put_down_one(self, name: str, afterwards: tuple[Lease, "_End"] | None) -> None:
        try:
            await self._keeper(name).put_down(name)
        finally:
            del self._up[name], self._leaving[name]
        if afterwards is not None:
            lease, end = afterwards
            self._put_down[lease] = end
        self._nudge()

    def _delay_s(self, expiry_s: float | None) -> float:
        interval_s = self._interval_s()
        if expiry_s is None:
            return interval_s
        return min(interval_s, expiry_s + _EXPIRY_SPREAD_S * self._random())

    def _interval_s(self) -> float:
        return self._store.settings.renew_every_s * (1 - _JITTER * self._random())

    def _keeper(self, name: str) -> Keeper:
        return self._keepers[kind_of(name)]
