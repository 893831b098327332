"""A journal's listener that can be waited for."""

import asyncio

from storage.journal import JournalEntry
from tests.support.pipeline import RecordingListener

HEARS_TIMEOUT_S = 20.0


class Hearing(RecordingListener):
    """A listener that can be waited for."""

    def __init__(self) -> None:
        super().__init__()
        self._heard = asyncio.Condition()
        self._notifications: set[asyncio.Task[None]] = set()
        self.on_appended = self._note

    def _note(self, entries: list[JournalEntry]) -> None:
        self.entries.extend(entries)
        task = asyncio.ensure_future(self._notify())
        self._notifications.add(task)
        task.add_done_callback(self._notifications.discard)

    async def _notify(self) -> None:
        async with self._heard:
            self._heard.notify_all()

    async def hears(self, count: int) -> list[JournalEntry]:
        """Return what was told once it is so many entries."""
        async with asyncio.timeout(HEARS_TIMEOUT_S), self._heard:
            await self._heard.wait_for(lambda: len(self.entries) >= count)
        return self.entries
