"""The journal as a table of the hub's own database."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from storage import Database
from storage.embedded_journal import EmbeddedJournal
from tests.conformance.journals import OpenJournal
from tests.support.pipeline import RecordingListener, running

NEEDS: tuple[str, ...] = ()


class EmbeddedPlace:
    async def prepare(self, database: Database) -> None:
        """The database's own migration has made it."""

    @asynccontextmanager
    async def open(
        self, database: Database, listener: RecordingListener
    ) -> AsyncIterator[OpenJournal]:
        journal = EmbeddedJournal(database)
        async with running(journal, listener):
            yield OpenJournal(journal, journal)


def make_place() -> EmbeddedPlace:
    return EmbeddedPlace()
