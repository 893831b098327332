"""The writer thread of every engine: runs what is queued, commits it as one group, tells the loop once.

Theory of operation. The thread waits for a unit, takes all that is queued by then, and runs the
group in one transaction. First hopefully: without savepoints, because every statement costs a
release of the interpreter's lock. If a unit raises, all is rolled back and the group runs again,
each unit in a savepoint of its own, so that only those that raise are undone. If the database
itself fails, the group is rolled back and tried again with back-off until it succeeds or
the writer is stopped. Nothing waits for a timer: the longer a commit takes, the larger
the next group becomes.

A connection over a network may be lost while the commit is under way, and then nobody here knows
whether it took place. The results of that run are kept until the driver has found out: they are told
when it did, and the group runs again only when it did not.
"""

import asyncio
import threading
from asyncio import AbstractEventLoop, Future
from collections.abc import Callable
from datetime import UTC, datetime
from queue import Empty, SimpleQueue
from typing import Any, Protocol

import structlog

from protocols.errors import StorageUnavailable
from storage import events
from storage.database import DatabaseHealth, Transaction

_RETRY_FIRST_S = 0.05
_RETRY_LIMIT_S = 5.0
# How often others may be in the way, or a commit in doubt, before that counts as an outage and
# before a closing database gives up.
_PATIENCE = 5
_HEALTHY = DatabaseHealth(is_ok=True)

_log = structlog.get_logger(__name__)

Unit = Callable[[Transaction], Any]
Task = tuple[Unit, "Future[Any]"]
Outcome = tuple["Future[Any]", Any, BaseException | None]


class CommitInDoubt(StorageUnavailable):
    """The connection was lost during COMMIT; `WriteDriver.was_committed` is to find out."""


class Contended(StorageUnavailable):
    """Other processes were in the way. The database is well, and the group may run again at once."""


class TransactionSpoiled(Exception):
    """A unit caught an error outside a savepoint and went on: what it wrote cannot be committed."""


class WriteDriver(Protocol):
    """One connection as the writer's thread drives it. All of it runs on that thread.

    `begin`, `commit` and `was_committed` raise StorageUnavailable while the database is away; after
    that the writer calls `roll_back` and in time `begin` again, which connects anew where it must.
    """

    @property
    def transaction(self) -> Transaction:
        """What units are given; the same one for every transaction."""

    @property
    def outage(self) -> StorageUnavailable | None:
        """The first error since `begin` that is nobody's fault, also when a unit hid it."""

    def begin(self) -> None: ...

    def commit(self) -> None:
        """Make it durable.

        Raises:
            CommitInDoubt: it may have taken place.
            TransactionSpoiled: it did not, because of some unit.
        """

    def roll_back(self) -> None:
        """Give up what was begun, if anything was. Raises nothing for a database that is away."""

    def was_committed(self) -> bool:
        """Say what became of the commit that was in doubt."""


class GroupWriter:
    """One thread over one connection. `start`, then `submit` from the loop, then `stop`."""

    def __init__(self, driver: WriteDriver, loop: AbstractEventLoop, *, name: str) -> None:
        self._driver = driver
        self._transaction = driver.transaction
        self._loop = loop
        self._queue: SimpleQueue[Task | None] = SimpleQueue()
        self._stopping = threading.Event()
        self._is_accepting = True
        self._health = _HEALTHY
        self._doubtful: list[Outcome] | None = None
        self._thread = threading.Thread(target=self._work, name=name, daemon=True)

    @property
    def health(self) -> DatabaseHealth:
        return self._health

    def start(self) -> None:
        self._thread.start()

    def submit(self, unit: Unit) -> "Future[Any]":
        future = self._loop.create_future()
        if self._is_accepting:
            self._queue.put((unit, future))
        else:
            future.set_exception(StorageUnavailable("The database is closed."))
        return future

    async def stop(self) -> None:
        """Commit what is queued, then end the thread; an outage is not waited for."""
        if not self._is_accepting:
            return
        self._is_accepting = False
        self._stopping.set()
        self._queue.put(None)
        await asyncio.to_thread(self._thread.join)
        # The last results were sent to the loop before the thread ended: let them arrive.
        await asyncio.sleep(0)

    def _work(self) -> None:
        is_open = True
        while is_open:
            group, is_open = self._next_group()
            if group:
                outcomes = self._settle(group)
                self._loop.call_soon_threadsafe(_resolve, outcomes)

    def _next_group(self) -> tuple[list[Task], bool]:
        group: list[Task] = []
        task = self._queue.get()
        try:
            while task is not None:
                group.append(task)
                task = self._queue.get_nowait()
        except Empty:
            return group, True
        return group, False

    def _settle(self, group: list[Task]) -> list[Outcome]:
        """Return the group's outcomes once they are on the disk, trying as long as it takes."""
        delay_s, patience = _RETRY_FIRST_S, _PATIENCE
        while True:
            try:
                outcomes = self._try(group)
            except StorageUnavailable as exc:
                is_passing = isinstance(exc, CommitInDoubt | Contended) and patience > 0
                patience -= 1
                if not (is_passing and isinstance(exc, Contended)):
                    self._fail(exc)
                if self._stopping.wait(delay_s) and not is_passing:
                    return [(future, None, exc) for _, future in group]
                delay_s = min(2 * delay_s, _RETRY_LIMIT_S)
            # The entry of the thread: were it to end, every later write would wait for ever.
            except Exception as exc:
                _log.error(events.DATABASE_GROUP_FAIL, count=len(group), exc_info=exc)
                return [(future, None, exc) for _, future in group]
            else:
                self._recover()
                return outcomes

    def _try(self, group: list[Task]) -> list[Outcome]:
        if self._doubtful is not None:
            was_committed = self._driver.was_committed()
            doubtful, self._doubtful = self._doubtful, None
            if was_committed:
                return doubtful
        try:
            return self._commit(group, self._run_hopeful)
        except _UnitFailed as exc:
            if len(group) == 1:
                return [(group[0][1], None, exc.reason)]
        except TransactionSpoiled as exc:
            if len(group) == 1:
                return [(group[0][1], None, exc)]
        return self._commit(group, self._run_apart)

    def _commit(
        self, group: list[Task], run: Callable[[list[Task]], list[Outcome]]
    ) -> list[Outcome]:
        driver = self._driver
        try:
            driver.begin()
            outcomes = run(group)
            if driver.outage is not None:
                raise driver.outage
            try:
                driver.commit()
            except CommitInDoubt:
                self._doubtful = outcomes
                raise
        except BaseException:
            driver.roll_back()
            raise
        return outcomes

    def _run_hopeful(self, group: list[Task]) -> list[Outcome]:
        outcomes: list[Outcome] = []
        for unit, future in group:
            try:
                outcomes.append((future, unit(self._transaction), None))
            except BaseException as exc:
                self._pass_on_outage(exc)
                raise _UnitFailed(exc) from exc
        return outcomes

    def _run_apart(self, group: list[Task]) -> list[Outcome]:
        outcomes: list[Outcome] = []
        for unit, future in group:
            try:
                with self._transaction.savepoint():
                    result = unit(self._transaction)
                outcomes.append((future, result, None))
            except BaseException as exc:
                self._pass_on_outage(exc)
                outcomes.append((future, None, exc))
        return outcomes

    def _pass_on_outage(self, error: BaseException) -> None:
        if (outage := self._driver.outage) is not None:
            raise outage
        if isinstance(error, StorageUnavailable):
            raise error

    def _fail(self, error: StorageUnavailable) -> None:
        if self._health.is_ok:
            _log.error(events.DATABASE_WRITE_FAIL, reason=str(error))
        since = self._health.since or datetime.now(UTC)
        self._health = DatabaseHealth(is_ok=False, reason=str(error), since=since)

    def _recover(self) -> None:
        if not self._health.is_ok:
            self._health = _HEALTHY
            _log.info(events.DATABASE_WRITE_RECOVER)


class _UnitFailed(Exception):
    """A unit raised `reason` in the hopeful run."""

    def __init__(self, reason: BaseException) -> None:
        super().__init__()
        self.reason = reason


def _resolve(outcomes: list[Outcome]) -> None:
    for future, result, error in outcomes:
        if future.done():
            continue
        if error is None:
            future.set_result(result)
        else:
            future.set_exception(error)
