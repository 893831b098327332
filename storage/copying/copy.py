"""The copy itself: opens both databases, moves every row in one transaction, compares."""

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

from protocols.errors import Conflict, NotFound, SchemaMismatch, StorageUnavailable
from storage.copying.engines import EngineKind, particulars_of
from storage.copying.pages import TablePages
from storage.copying.stream import LastIds, Page, SourceStream, TableEnd
from storage.copying.tables import CopiedTable, copied_tables
from storage.copying.vacancy import check_source, check_vacant
from storage.database import Database, Transaction
from storage.engines import open_database
from storage.ledger import Ledger
from storage.place import place_of

OnTable = Callable[[str, int], None]


@dataclass(frozen=True, slots=True)
class CopyReport:
    """What was copied: rows by table, and how many texts held a NUL and were mended."""

    rows: dict[str, int] = field(default_factory=dict)
    mended_texts: int = 0

    @property
    def total(self) -> int:
        return sum(self.rows.values())


async def copy_database(source_url: str, target_url: str, on_table: OnTable) -> CopyReport:
    """Copy everything from one database into another, which has the schema and is empty.

    No hub may run on either. All of it is written in one transaction: whatever ends the copy early
    leaves the target empty. `on_table` is told, on a thread, of each table that has been read and
    how many rows it had.

    Raises:
        NotFound: there is no source.
        InvalidSettings: no engine knows one of the URLs.
        Conflict: the target is not empty, or cannot take what the source holds.
        SchemaMismatch: one of them does not have this version's schema.
        StorageUnavailable: a hub runs on one of them, or one cannot be read or written.
    """
    closed = [open_database(url, migrate=False) for url in (source_url, target_url)]
    _refuse_nonsense(source_url, target_url)
    async with _opened(closed[0], source_url) as source, _opened(closed[1], target_url) as target:
        await source.read(lambda reader: check_source(reader, _kind(target_url)))
        work = _Copying(source, source_url, target_url, on_table)
        try:
            report = await target.write(work)
        except _Interrupted:
            reason = work.cause or target.health().reason or "The connection was lost."
            raise StorageUnavailable(
                f"The copy was interrupted, and {place_of(target_url)} is as empty as before. "
                f"{reason} Mend that, then run the same command again."
            ) from None
        if await Ledger(source).balance() != await Ledger(target).balance():
            raise Conflict("The books of the copy differ from the source's: do not use the copy.")
    return report


class _Copying:
    """The write unit. It is run once: a second run would only hide what ended the first."""

    def __init__(
        self, source: Database, source_url: str, target_url: str, on_table: OnTable
    ) -> None:
        self._source = source
        self._source_kind = _kind(source_url)
        self._target_kind = _kind(target_url)
        self._target_place = place_of(target_url)
        self._on_table = on_table
        self._loop = asyncio.get_running_loop()
        self._has_run = False
        self.cause: str | None = None

    def __call__(self, transaction: Transaction) -> CopyReport:
        if self._has_run:
            raise _Interrupted
        self._has_run = True
        tables = copied_tables()
        particulars_of(self._target_kind).lift_limits(transaction)
        check_vacant(transaction, tables, self._target_place)
        try:
            return self._fill(transaction, tables)
        except StorageUnavailable as exc:
            self.cause = str(exc)
            # As itself it would have the engine try until the database is well again.
            raise _Interrupted from exc

    def _fill(self, transaction: Transaction, tables: Sequence[CopiedTable]) -> CopyReport:
        rows = dict.fromkeys((table.name for table in tables), 0)
        pages = {table.name: TablePages(table) for table in tables}
        stream = SourceStream(self._source, self._source_kind, tables, self._loop)
        with stream.open() as parts:
            for part in parts:
                match part:
                    case Page():
                        name = part.table.name
                        rows[name] += _store(transaction, part, pages[name])
                    case TableEnd(table):
                        self._on_table(table.name, rows[table.name])
                    case LastIds(last_ids):
                        particulars_of(self._target_kind).go_on_behind(transaction, last_ids)
        return CopyReport(rows, sum(table.mended_texts for table in tables))


class _Interrupted(Exception):
    """One of the databases failed; nothing was written."""


@asynccontextmanager
async def _opened(database: Database, url: str) -> AsyncIterator[Database]:
    """One of the two databases, claimed for the copy alone."""
    try:
        await database.open()
    except SchemaMismatch as exc:
        raise SchemaMismatch(f"{place_of(url)}: {exc}") from exc
    try:
        yield database
    finally:
        await database.close()


def _refuse_nonsense(source_url: str, target_url: str) -> None:
    if source_url == target_url:
        raise Conflict("Source and target are the same database.")
    # Opening a file that is not there would make it.
    for url in (source_url, target_url):
        if _kind(url) is EngineKind.SQLITE and not Path(place_of(url)).exists():
            raise NotFound(f"There is no database at {place_of(url)}.")


def _kind(url: str) -> EngineKind:
    is_sqlite = urlsplit(url).scheme == "sqlite"
    return EngineKind.SQLITE if is_sqlite else EngineKind.POSTGRESQL


def _store(transaction: Transaction, page: Page, pages: TablePages) -> int:
    """Write a page and read it back by its bounds; return how many rows it had."""
    transaction.insert_many(page.table.insert, page.rows)
    stored = pages.count(transaction, page.bounds)
    if stored != len(page.rows):
        raise Conflict(
            f"Of {len(page.rows)} rows of {page.table.name} the target holds {stored}: nothing was "
            "kept of this copy."
        )
    return stored
