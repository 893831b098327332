"""Handing over to another journal what the embedded one holds: a hub that begins to use Kafka.

Entries are appended there and then deleted here, page by page, under the claim of the embedded
journal. Who is killed in between has appended some that still stand here: the next one appends them
again, under the same message ids, by which they are recognised when they are settled. So nothing is
lost and nothing counts twice. Source keys stay where they are: they name these same messages.

A device's entries are appended one after the other, each after the last was durable, and no page
before the one before it is done; so their order is kept. Nothing must be appended to the new journal by
others before this has ended, or a device's new message would pass its old ones.

In the books a message is accepted as soon as it stands in the embedded journal; in a topic only when it
is settled. So an entry that leaves is no longer accepted here, and will be there.
"""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import groupby
from typing import Any, Final

import structlog
from sqlalchemy import BigInteger, bindparam, case, delete, func, select, update

from protocols.errors import ClaimLost, RowRefused
from storage import events
from storage.cursor_claims import CursorClaims
from storage.database import BulkInsert, Database, Reader, Transaction
from storage.instants import microseconds
from storage.journal import EMBEDDED, JournalAppender, JournalEntry
from storage.ledger_changes import LedgerChanges
from storage.tables.pipeline import journal, journal_cursor, set_aside
from storage.uplinks import UPLINK_COLUMNS, uplink_columns, uplink_of, uplink_row

# What is appended again, at the most, when this process is killed in the middle.
_PAGE_ENTRIES: Final = 500
# What is held in memory; a single entry may have more.
_PAGE_BYTES: Final = 8 * 1024 * 1024

_SELECT_SIZES = (
    select(journal.c.position, func.length(journal.c.payload).label("size_bytes"))
    .order_by(journal.c.position)
    .limit(_PAGE_ENTRIES)
)
_SELECT_PAGE = (
    select(*uplink_columns(journal))
    .where(journal.c.position <= bindparam("last"))
    .order_by(journal.c.position)
)
_COUNT = select(func.count().label("entries")).select_from(journal)
_DELETE = delete(journal).where(journal.c.position.in_(bindparam("positions", expanding=True)))
_INSERT_SET_ASIDE = BulkInsert(set_aside, (*UPLINK_COLUMNS, "reason", "error", "set_aside_at"))

_last: Any = bindparam("last", type_=BigInteger)
# Positions are not given again, should this database ever have an embedded journal again.
_PASS = (
    update(journal_cursor)
    .where(journal_cursor.c.partition == EMBEDDED, journal_cursor.c.epoch == bindparam("under"))
    .values(
        position=case((_last > journal_cursor.c.position, _last), else_=journal_cursor.c.position),
        tail=case((_last > journal_cursor.c.tail, _last), else_=journal_cursor.c.tail),
        starts=0,
    )
)

_log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class HandoverReport:
    """How many entries went over, and how many the other journal cannot take: those are kept raw."""

    handed_over: int = 0
    set_aside: int = 0


@dataclass(frozen=True, slots=True)
class _Refused:
    entry: JournalEntry
    error: RowRefused


async def entries_left(database: Database) -> int:
    """How many entries the embedded journal holds. Not 0: it is too early to append elsewhere."""
    row = await database.read(lambda reader: reader.fetch_one(_COUNT))
    return 0 if row is None else int(row.entries)


class JournalHandover:
    """Run it while no hub runs on this database. `holder` names this process to people."""

    def __init__(self, database: Database, appender: JournalAppender, *, holder: str) -> None:
        self._database = database
        self._appender = appender
        self._claims = CursorClaims(database, holder)

    async def run(self) -> HandoverReport:
        """Hand over everything; returns when nothing is left. Run it again after any error.

        Raises:
            ClaimLost: another process has begun to do the same, or a hub was started.
            HubFull, StorageUnavailable: one of the journals is not well at present.
        """
        if not await entries_left(self._database):
            return HandoverReport()
        await self._claims.take([EMBEDDED])
        report = HandoverReport()
        while page := await self._page():
            refused = await self._append(page)
            await self._take_out(page, refused)
            report = HandoverReport(
                report.handed_over + len(page) - len(refused), report.set_aside + len(refused)
            )
        await self._claims.give_up()
        _log.info(events.JOURNAL_HAND_OVER, count=report.handed_over, refused=report.set_aside)
        return report

    async def _page(self) -> list[JournalEntry]:
        def read(reader: Reader) -> list[JournalEntry]:
            last = size_bytes = 0
            for row in reader.fetch_all(_SELECT_SIZES):
                size_bytes += row.size_bytes
                if last and size_bytes > _PAGE_BYTES:
                    break
                last = row.position
            rows = reader.fetch_all(_SELECT_PAGE, {"last": last})
            return [JournalEntry(row.position, uplink_of(row)) for row in rows]

        return await self._database.read(read)

    async def _append(self, page: Sequence[JournalEntry]) -> list[_Refused]:
        by_device = sorted(page, key=lambda entry: (entry.uplink.device_id, entry.position))
        outcomes = await asyncio.gather(
            *(
                self._append_device(list(entries))
                for _, entries in groupby(by_device, key=lambda entry: entry.uplink.device_id)
            ),
            return_exceptions=True,
        )
        refused: list[_Refused] = []
        for outcome in outcomes:
            if isinstance(outcome, BaseException):
                raise outcome
            refused += outcome
        return refused

    async def _append_device(self, entries: Sequence[JournalEntry]) -> list[_Refused]:
        refused: list[_Refused] = []
        for entry in entries:
            try:
                await self._appender.append(entry.uplink)
            except RowRefused as error:
                refused.append(_Refused(entry, error))
        return refused

    async def _take_out(self, page: Sequence[JournalEntry], refused: Sequence[_Refused]) -> None:
        now = microseconds(datetime.now(UTC))

        def unit(transaction: Transaction) -> None:
            under = self._claims.epoch_of(EMBEDDED)
            passed = transaction.execute(_PASS, {"last": page[-1].position, "under": under})
            if not passed:
                raise ClaimLost([EMBEDDED])
            transaction.execute(_DELETE, {"positions": [entry.position for entry in page]})
            changes = LedgerChanges()
            for entry in page:
                changes.add(entry.uplink.organization_id, "accepted", -1)
            for one in refused:
                changes.add(one.entry.uplink.organization_id, "accepted", 1)
                changes.add(one.entry.uplink.organization_id, "set_aside", 1)
            transaction.insert_many(_INSERT_SET_ASIDE, [_set_aside(one, now) for one in refused])
            changes.store(transaction)

        await self._database.write(unit)


def _set_aside(refused: _Refused, now: int) -> tuple[object, ...]:
    entry, error = refused.entry, refused.error
    return (*uplink_row(entry.uplink, entry.position), error.code, str(error), now)
