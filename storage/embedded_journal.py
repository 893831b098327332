"""The journal as a table of the hub's own database.

Appends that wait while a commit is under way are written by one unit: it takes what is queued at
the moment at which it runs, not at the moment at which it was handed over. Positions continue from the
table itself inside the transaction, so that a group that is rolled back leaves no trace of them.
"""

import asyncio
from asyncio import Future
from collections import deque
from collections.abc import Sequence
from datetime import timedelta
from functools import partial

import structlog
from sqlalchemy import bindparam, func, select

from protocols.errors import Conflict, HubFull, RowRefused
from protocols.messages import Uplink
from storage import events
from storage.append_unit import AppendUnit, Queued, Written
from storage.database import Database
from storage.journal import EMBEDDED, Appended, Journal, JournalEntry, JournalLimits, OnAppended
from storage.tables.pipeline import journal, journal_cursor
from storage.uplinks import uplink_columns, uplink_of

# Asking the file system costs microseconds; a disk does not fill within a second.
_FREE_CHECK_S = 1.0

_cursor_position = (
    select(journal_cursor.c.position).where(journal_cursor.c.partition == EMBEDDED).scalar_subquery()
)
_SELECT_CURSOR = select(_cursor_position.label("position"))
_SELECT_UNSETTLED = (
    select(*uplink_columns(journal))
    .where(journal.c.position > bindparam("position"))
    .order_by(journal.c.position)
    .limit(bindparam("limit"))
)
_SELECT_BACKLOG = select(
    func.count().label("entries"),
    func.coalesce(func.sum(func.length(journal.c.payload)), 0).label("size_bytes"),
)

_log = structlog.get_logger(__name__)


class EmbeddedJournal(Journal):
    """See `Journal`. Entries are deleted by the transaction that settles them."""

    def __init__(self, database: Database, limits: JournalLimits | None = None) -> None:
        self._database = database
        self._limits = limits or JournalLimits()
        self._subscribers: list[OnAppended] = []
        self._queue: deque[Queued] = deque()
        self._is_handed_over = False
        self._backlog = 0
        self._backlog_bytes = 0
        self._free_checked_at = float("-inf")
        self._is_full = False

    async def open(self) -> None:
        row = await self._database.read(lambda reader: reader.fetch_one(_SELECT_BACKLOG))
        assert row is not None
        self._backlog, self._backlog_bytes = row.entries, row.size_bytes

    async def append(self, uplink: Uplink) -> Appended:
        loop = asyncio.get_running_loop()
        self._check_room(loop.time())
        self._backlog += 1
        self._backlog_bytes += len(uplink.payload)
        future: Future[Appended] = loop.create_future()
        self._queue.append((uplink, future))
        # Cleared by the unit just before it empties the queue: whatever is queued afterwards
        # hands over a unit of its own.
        if not self._is_handed_over:
            self._is_handed_over = True
            self._hand_over(AppendUnit(self._take_queued, self._limits.source_key_window))
        return await future

    def subscribe(self, on_appended: OnAppended) -> None:
        self._subscribers.append(on_appended)

    async def unsettled_after(self, position: int, limit: int) -> list[JournalEntry]:
        parameters = {"position": position, "limit": limit}
        rows = await self._database.read(
            lambda reader: reader.fetch_all(_SELECT_UNSETTLED, parameters)
        )
        return [JournalEntry(row.position, uplink_of(row)) for row in rows]

    async def cursor(self) -> int:
        row = await self._database.read(lambda reader: reader.fetch_one(_SELECT_CURSOR))
        return int(row.position) if row is not None and row.position is not None else 0

    @property
    def source_key_window(self) -> timedelta:
        return self._limits.source_key_window

    @property
    def backlog(self) -> int:
        return self._backlog

    def release(self, entries: int, size_bytes: int) -> None:
        self._backlog = max(0, self._backlog - entries)
        self._backlog_bytes = max(0, self._backlog_bytes - size_bytes) if self._backlog else 0

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

    def _refuse(self, reason: str, sentence: str) -> None:
        _log.debug(events.JOURNAL_APPEND_REFUSE, reason=reason, backlog=self._backlog)
        raise HubFull(f"{sentence}: try again later.", retry_after_s=self._limits.retry_after_s)

    def _take_queued(self) -> list[Queued]:
        """On the writer's thread: only operations of the deque that are atomic."""
        self._is_handed_over = False
        taken: list[Queued] = []
        while self._queue:
            taken.append(self._queue.popleft())
        return taken

    def _hand_over(self, unit: AppendUnit) -> None:
        self._database.submit(unit).add_done_callback(partial(self._on_written, unit))

    def _on_written(self, unit: AppendUnit, done: "Future[Written]") -> None:
        error = done.exception()
        if error is None:
            self._announce(unit.taken, done.result())
        elif isinstance(error, RowRefused | Conflict) and len(unit.taken) > 1:
            # One of them cannot be stored: each alone, so that only that one is refused.
            for queued in unit.taken:
                self._hand_over(AppendUnit(partial(list, (queued,)), unit.window))
        else:
            self._give_up(unit.taken or self._take_queued(), error)

    def _announce(self, queued: Sequence[Queued], written: Written) -> None:
        if written.entries:
            for on_appended in self._subscribers:
                on_appended(written.entries)
        for (uplink, future), appended in zip(queued, written.appended, strict=True):
            if appended.is_duplicate:
                self.release(1, len(uplink.payload))
            if not future.done():
                future.set_result(appended)

    def _give_up(self, queued: Sequence[Queued], error: BaseException) -> None:
        for uplink, future in queued:
            self.release(1, len(uplink.payload))
            if not future.done():
                future.set_exception(error)
