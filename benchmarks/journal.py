"""Running a journal without a hub around it."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from storage.journal import Cursors, JournalEntry, JournalReader


class Collector:
    """Listens to a journal and keeps what it is told."""

    def __init__(self) -> None:
        self.entries: list[JournalEntry] = []
        self.is_assigned = asyncio.Event()

    def assigned(self, _cursors: Cursors, *, crashes: int) -> None:
        self.is_assigned.set()

    def appended(self, entries: list[JournalEntry]) -> None:
        self.entries += entries

    async def revoked(self) -> None:
        self.is_assigned.clear()


@asynccontextmanager
async def running(reader: JournalReader, collector: Collector) -> AsyncIterator[None]:
    """Have the journal run for as long as the block takes."""
    run = asyncio.create_task(reader.run(collector))
    await collector.is_assigned.wait()
    try:
        yield
    finally:
        run.cancel()
        await asyncio.wait((run,))
