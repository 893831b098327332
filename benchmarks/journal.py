"""Running a journal without a hub around it."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from storage.journal import Cursors, JournalEntry, JournalReader


class Listener:
    """Listens to a journal, and neither keeps nor settles what it is told."""

    def __init__(self) -> None:
        self.is_assigned = asyncio.Event()

    def assigned(self, _cursors: Cursors, *, crashes: int) -> None:
        self.is_assigned.set()

    def appended(self, entries: list[JournalEntry]) -> None:
        """Nothing is done about them."""

    async def revoked(self) -> None:
        self.is_assigned.clear()


class Collector(Listener):
    """Keeps what it is told."""

    def __init__(self) -> None:
        super().__init__()
        self.entries: list[JournalEntry] = []

    def appended(self, entries: list[JournalEntry]) -> None:
        self.entries += entries


@asynccontextmanager
async def running(reader: JournalReader, listener: Listener) -> AsyncIterator[None]:
    """Have the journal run for as long as the block takes."""
    run = asyncio.create_task(reader.run(listener))
    await listener.is_assigned.wait()
    try:
        yield
    finally:
        run.cancel()
        await asyncio.wait((run,))
