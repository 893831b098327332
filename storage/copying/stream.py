"""From the thread that reads the source to the thread that writes the target.

The source's pages are made inside one unit of the source, which is what makes them one snapshot;
a short queue keeps it from running ahead of the target. An engine that runs its units on the loop is
held up there while the queue is full: nothing else happens in a process that copies.
"""

import asyncio
import contextlib
from collections.abc import Iterator, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from queue import Empty, Full, Queue
from threading import Event
from typing import Final

from protocols.errors import StorageUnavailable
from storage.copying.engines import EngineKind, particulars_of
from storage.copying.pages import Bounds, TablePages
from storage.copying.tables import CopiedTable
from storage.database import Database, Reader

_PAGES_AHEAD: Final = 2
# How soon each side notices that the other one has ended.
_POLL_S: Final = 0.2


@dataclass(frozen=True, slots=True)
class Page:
    """Rows of one table, ready for any engine; `bounds` finds exactly them."""

    table: CopiedTable
    rows: Sequence[Sequence[object]]
    bounds: Bounds


@dataclass(frozen=True, slots=True)
class TableEnd:
    """All pages of this table were sent."""

    table: CopiedTable


@dataclass(frozen=True, slots=True)
class LastIds:
    """The last id that the source gave, by table."""

    last_ids: dict[str, int]


Part = Page | TableEnd | LastIds


class SourceStream:
    """Iterate over it once, on a thread that is not the loop's; leave the block to let the source go."""

    def __init__(
        self,
        source: Database,
        kind: EngineKind,
        tables: Sequence[CopiedTable],
        loop: asyncio.AbstractEventLoop,
    ) -> None:
        self._source = source
        self._kind = kind
        self._tables = tables
        self._loop = loop
        self._parts: Queue[Part] = Queue(_PAGES_AHEAD)
        self._is_abandoned = Event()
        self._has_begun = False

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
        if self._has_begun:
            # An engine that lost its connection begins a read anew, on a snapshot of now.
            raise StorageUnavailable("The connection to the source was lost.")
        self._has_begun = True
        particulars = particulars_of(self._kind)
        particulars.lift_limits(reader)
        for table in self._tables:
            for bounds, rows in TablePages(table).read(reader):
                self._put(Page(table, table.values(rows), bounds))
            self._put(TableEnd(table))
        self._put(LastIds(particulars.last_ids(reader)))

    def _put(self, part: Part) -> None:
        while not self._is_abandoned.is_set():
            with contextlib.suppress(Full):
                return self._parts.put(part, timeout=_POLL_S)
        raise _Abandoned


class _Abandoned(Exception):
    """Nobody takes the pages any more."""
