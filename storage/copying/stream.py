"""From the thread that reads the source to the thread that writes the target.

The source's pages are made inside one unit of the source, which is what makes them one snapshot;
a short queue keeps it from running ahead of the target.
"""

import asyncio
import contextlib
from collections.abc import Iterator, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from queue import Empty, Full, Queue
from threading import Event
from typing import Final

from sqlalchemy import func, select

from storage.copying.identities import IdentityKind, identities_of
from storage.copying.pages import TablePages
from storage.copying.tables import CopiedTable
from storage.database import Database, Reader

_PAGES_AHEAD: Final = 2
# How soon each side notices that the other one has ended.
_POLL_S: Final = 0.2


@dataclass(frozen=True, slots=True)
class Page:
    """Rows of one table, ready for any engine."""

    table: CopiedTable
    rows: Sequence[Sequence[object]]


@dataclass(frozen=True, slots=True)
class TableEnd:
    """All pages of this table were sent; so many rows it has by the database's own count."""

    table: CopiedTable
    rows: int


@dataclass(frozen=True, slots=True)
class Identities:
    """The last id that the source gave, by table."""

    last_ids: dict[str, int]


Part = Page | TableEnd | Identities


class SourceStream:
    """Iterate over it once, on a thread that is not the loop's; leave the block to let the source go."""

    def __init__(
        self,
        source: Database,
        kind: IdentityKind,
        tables: Sequence[CopiedTable],
        loop: asyncio.AbstractEventLoop,
    ) -> None:
        self._source = source
        self._kind = kind
        self._tables = tables
        self._loop = loop
        self._parts: Queue[Part] = Queue(_PAGES_AHEAD)
        self._is_abandoned = Event()

    @contextlib.contextmanager
    def open(self) -> Iterator[Iterator[Part]]:
        reading = asyncio.run_coroutine_threadsafe(self._source.read(self._send), self._loop)
        try:
            yield self._receive(reading)
        finally:
            self._is_abandoned.set()
            with contextlib.suppress(Exception):  # it was told to who iterated
                reading.result()

    def _receive(self, reading: "Future[None]") -> Iterator[Part]:
        while True:
            try:
                yield self._parts.get(timeout=_POLL_S)
            except Empty:
                # Nothing is put after the unit has ended, so an empty queue then stays empty.
                if reading.done() and self._parts.empty():
                    return reading.result()

    def _send(self, reader: Reader) -> None:
        for table in self._tables:
            for rows in TablePages(table).read(reader):
                self._put(Page(table, table.values(rows)))
            counted = reader.fetch_one(select(func.count().label("rows")).select_from(table.table))
            self._put(TableEnd(table, counted.rows if counted is not None else 0))
        self._put(Identities(identities_of(self._kind).last_ids(reader)))

    def _put(self, part: Part) -> None:
        while not self._is_abandoned.is_set():
            with contextlib.suppress(Full):
                return self._parts.put(part, timeout=_POLL_S)
        raise _Abandoned


class _Abandoned(Exception):
    """Nobody takes the pages any more."""
