"""The journal as a table of the hub's own database.

Appends that wait while a commit is under way are written by one unit: it takes what is queued at
the moment at which it runs, not at the moment at which it was handed over. Positions are counted in memory, on
from the last that was ever given: the last entry that stands in the table or, since entries go
when they are settled, the last that was settled (`tail`). One process at a time owns the table,
which its engine guarantees.
"""

import asyncio
import itertools
from asyncio import Future, Handle
from collections import deque
from collections.abc import Collection, Iterator, Sequence
from datetime import timedelta
from functools import partial

import structlog
from sqlalchemy import bindparam, func, select

from protocols.errors import Conflict, HubFull, JournalMismatch, RowRefused, StorageUnavailable
from protocols.messages import DeviceId, Uplink
from storage import events
from storage.append_unit import AppendUnit, Queued, Written
from storage.cursor_claims import CursorClaims
from storage.database import Database
from storage.embedded_settling import EmbeddedSettling
from storage.journal import (
    EMBEDDED,
    Appended,
    Cursors,
    JournalAppender,
    JournalEntry,
    JournalLimits,
    JournalListener,
    JournalReader,
    PartitionStatus,
)
from storage.settling import Settling
from storage.tables.pipeline import journal
from storage.uplinks import uplink_columns, uplink_of

# Asking the file system costs microseconds; a disk does not fill within a second.
_FREE_CHECK_S = 1.0
# A database that cannot be written tries for ever. Not given up, the next start only takes the first
# messages more carefully.
_GIVE_UP_S = 1.0

_SELECT_UNSETTLED = (
    select(*uplink_columns(journal))
    .where(journal.c.position > bindparam("position"))
    .order_by(journal.c.position)
    .limit(bindparam("limit"))
)
_SELECT_BACKLOG = select(
    func.count().label("entries"),
    func.coalesce(func.sum(func.length(journal.c.payload)), 0).label("size_bytes"),
    func.max(journal.c.position).label("last"),
)

_log = structlog.get_logger(__name__)


class EmbeddedJournal(JournalAppender, JournalReader):
    """See `JournalAppender` and `JournalReader`; appends are taken while it runs."""

    def __init__(self, database: Database, limits: JournalLimits | None = None) -> None:
        self._database = database
        self._limits = limits or JournalLimits()
        self._claims = CursorClaims(database, "hub")
        self._settling = EmbeddedSettling(self._claims)
        self._listener: JournalListener | None = None
        self._positions: Iterator[int] | None = None
        self._lost: Future[None] | None = None
        self._cursor = 0
        self._queue: deque[Queued] = deque()
        self._is_handed_over = False
        self._burst: Handle | None = None
        self._backlog = 0
        self._backlog_bytes = 0
        self._free_checked_at = float("-inf")
        self._is_full = False

    # -- taking in ---------------------------------------------------------------------------

    async def append(self, uplink: Uplink) -> Appended:
        loop = asyncio.get_running_loop()
        now_s = loop.time()
        self._check_room(now_s)
        self._backlog += 1
        self._backlog_bytes += len(uplink.payload)
        future: Future[Appended] = loop.create_future()
        self._queue.append((uplink, future))
        # Cleared by the unit just before it empties the queue: whatever is queued afterwards
        # hands over a unit of its own.
        if not self._is_handed_over:
            self._is_handed_over = True
            self._burst = loop.call_soon(self._await_burst, 0, now_s + self._limits.burst_s)
        return await future

    def _await_burst(self, seen: int, until_s: float) -> None:
        """Hand the queue over as soon as a turn of the loop adds nothing to it.

        The writer's thread and this one take turns with the interpreter's lock: begun amid a
        burst, the unit is slow itself, slows the burst down, and is soon followed by another.
        """
        queued = len(self._queue)
        if seen < queued and asyncio.get_running_loop().time() < until_s:
            self._burst = asyncio.get_running_loop().call_soon(self._await_burst, queued, until_s)
        else:
            self._hand_over_queued()

    def _hand_over_queued(self) -> None:
        if self._burst is None:
            return
        assert self._positions is not None, "what is queued is handed over before the claim ends"
        self._burst.cancel()
        self._burst = None
        window = self._limits.source_key_window
        self._hand_over(AppendUnit(self._take_queued, self._positions, window))

    @property
    def waiting(self) -> int:
        return self._backlog

    def _check_room(self, now_s: float) -> None:
        limits = self._limits
        if self._backlog >= limits.backlog_entries or self._backlog_bytes >= limits.backlog_bytes:
            self._refuse("backlog", "More messages wait than the hub may hold")
        health = self._database.health()
        if not health.is_ok:
            self._refuse("unwritable", health.reason or "The database cannot be written")
        if now_s - self._free_checked_at >= _FREE_CHECK_S:
            self._free_checked_at = now_s
            free = self._database.free_bytes()
            self._is_full = free is not None and free < limits.free_bytes
        if self._is_full:
            self._refuse("disk", "The disk is nearly full")
        if self._positions is None:
            raise StorageUnavailable("The hub is starting or stopping: try again.")

    def _refuse(self, reason: str, sentence: str) -> None:
        _log.debug(events.JOURNAL_APPEND_REFUSE, reason=reason, backlog=self._backlog)
        raise HubFull(f"{sentence}: try again later.", retry_after_s=self._limits.retry_after_s)

    def _take_queued(self) -> list[Queued]:
        """On the writer's thread: only operations of the deque that are atomic."""
        self._is_handed_over = False
        take = self._queue.popleft
        return [take() for _ in range(len(self._queue))]

    def _hand_over(self, unit: AppendUnit) -> None:
        self._database.submit(unit).add_done_callback(partial(self._on_written, unit))

    def _on_written(self, unit: AppendUnit, done: "Future[Written]") -> None:
        error = done.exception()
        if error is None:
            self._announce(unit.taken, done.result())
        elif isinstance(error, RowRefused | Conflict) and len(unit.taken) > 1:
            # One of them cannot be stored: each alone, so that only that one is refused.
            for queued in unit.taken:
                self._hand_over(unit.alone(queued))
        else:
            self._give_up(unit.taken or self._take_queued(), error)

    def _announce(self, queued: Sequence[Queued], written: Written) -> None:
        if written.entries and self._listener is not None:
            self._listener.appended(written.entries)
        for (uplink, future), appended in zip(queued, written.appended, strict=True):
            if appended.is_duplicate:
                self._take_off(1, len(uplink.payload))
            if not future.done():
                future.set_result(appended)

    def _give_up(self, queued: Sequence[Queued], error: BaseException) -> None:
        for uplink, future in queued:
            self._take_off(1, len(uplink.payload))
            if not future.done():
                future.set_exception(error)

    # -- settling ----------------------------------------------------------------------------

    async def run(self, listener: JournalListener) -> None:
        claim = (await self._claims.take([EMBEDDED]))[EMBEDDED]
        try:
            row = await self._database.read(lambda reader: reader.fetch_one(_SELECT_BACKLOG))
            assert row is not None, "an aggregate always has a row"
            self._backlog, self._backlog_bytes = row.entries, int(row.size_bytes)
            self._cursor = claim.position
            last = max(claim.tail, claim.position, row.last or 0)
            self._positions = itertools.count(last + 1)
            self._listener = listener
            listener.assigned({EMBEDDED: claim.position}, crashes=claim.crashes)
            self._lost = asyncio.get_running_loop().create_future()
            await self._lost
        finally:
            # While the claim lasts; the next one counts on from what it finds.
            self._hand_over_queued()
            self._positions = None
            await listener.revoked()
            self._listener = None
            await self._let_go()

    async def _let_go(self) -> None:
        try:
            async with asyncio.timeout(_GIVE_UP_S):
                await self._claims.give_up()
        except (TimeoutError, StorageUnavailable):
            _log.warning(events.JOURNAL_GIVE_UP_FAIL)

    async def unsettled_after(self, position: int, limit: int) -> list[JournalEntry]:
        parameters = {"position": position, "limit": limit}
        rows = await self._database.read(
            lambda reader: reader.fetch_all(_SELECT_UNSETTLED, parameters)
        )
        return [JournalEntry(row.position, uplink_of(row)) for row in rows]

    async def cursors(self) -> Cursors:
        return await self._claims.positions()

    @property
    def settling(self) -> Settling:
        return self._settling

    def holds(self, _device_id: DeviceId) -> bool:
        return True

    def lose(self, partitions: Collection[int]) -> None:
        if EMBEDDED in partitions and self._lost is not None and not self._lost.done():
            self._lost.set_exception(
                JournalMismatch("Another hub has taken over this database: stop one of them.")
            )

    def release(self, *, entries: int, size_bytes: int, cursors: Cursors) -> None:
        self._take_off(entries, size_bytes)
        self._cursor = cursors.get(EMBEDDED, self._cursor)

    def status(self) -> list[PartitionStatus]:
        return [PartitionStatus(partition=EMBEDDED, cursor=self._cursor, lag=self._backlog)]

    @property
    def source_key_window(self) -> timedelta:
        return self._limits.source_key_window

    def _take_off(self, entries: int, size_bytes: int) -> None:
        self._backlog = max(0, self._backlog - entries)
        self._backlog_bytes = max(0, self._backlog_bytes - size_bytes) if self._backlog else 0
