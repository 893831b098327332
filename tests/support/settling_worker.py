"""A worker without actors: it settles what its reader hands to it, in order, and nothing else.

    python -m tests.support.settling_worker DATABASE_URL SETTINGS_JSON

runs one as a process of its own, which tells what happens to it in lines of JSON.
"""

import asyncio
import json
import sys
from collections.abc import Callable
from typing import Any

from protocols.errors import ClaimLost, ConnectionLost, StorageUnavailable
from storage import Database, open_database
from storage.journal import Cursors, JournalEntry, JournalReader, partition_of
from storage.kafka import KafkaReader, KafkaSettings
from storage.results import ResultStore
from tests.support.pipeline import result

DRAIN_S = 2.0
_AGAIN_S = 0.2

Tell = Callable[..., None]


class SettlingWorker:
    """Implements `JournalListener`. `tell` is called with the name of what happened, and details."""

    def __init__(
        self, database: Database, reader: JournalReader, *, tell: Tell = lambda *_, **__: None
    ) -> None:
        self._reader = reader
        self._results = ResultStore(database, reader)
        self._tell = tell
        self._queue: list[JournalEntry] = []
        self._settling: asyncio.Task[None] | None = None
        self.partitions: set[int] = set()
        self.settled: list[str] = []

    async def work(self) -> None:
        """Take part until cancelled, again and again."""
        while True:
            try:
                await self._reader.run(self)
            except (ConnectionLost, StorageUnavailable) as error:
                self._tell("lost", reason=str(error))
                await asyncio.sleep(_AGAIN_S)

    def assigned(self, cursors: Cursors, *, crashes: int) -> None:
        self.partitions = set(cursors)
        self._tell("assigned", partitions=sorted(cursors), crashes=crashes)

    def appended(self, entries: list[JournalEntry]) -> None:
        self._queue += entries
        if self._settling is None or self._settling.done():
            self._settling = asyncio.ensure_future(self._settle())

    async def revoked(self) -> None:
        if self._settling is not None:
            await asyncio.wait((self._settling,), timeout=DRAIN_S)
            self._settling.cancel()
        self._queue.clear()
        self.partitions.clear()
        self._tell("revoked")

    async def _settle(self) -> None:
        while self._queue:
            entries, self._queue = self._queue[:500], self._queue[500:]
            cursors: dict[int, int] = {}
            for entry in entries:
                cursors[partition_of(entry.position)] = entry.position
            try:
                report = await self._results.commit(
                    [result(entry) for entry in entries], cursors=cursors
                )
            except ClaimLost as error:
                self._tell("refused", partitions=sorted(error.partitions))
                self._reader.lose(error.partitions)
                self._queue.clear()
                return
            self.settled += [one.uplink.message_id for one in report.written]
            self._tell("settled", count=len(report.written))


async def _main(database_url: str, settings: dict[str, Any]) -> None:
    def tell(what: str, **details: object) -> None:
        print(json.dumps({"what": what, **details}), flush=True)  # noqa: T201  # its output

    database = open_database(database_url, is_shared=True)
    await database.open()
    try:
        reader = KafkaReader(database, KafkaSettings(**settings), holder="process")
        await SettlingWorker(database, reader, tell=tell).work()
    finally:
        await database.close()


if __name__ == "__main__":
    asyncio.run(_main(sys.argv[1], json.loads(sys.argv[2])))
