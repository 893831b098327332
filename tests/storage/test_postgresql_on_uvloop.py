"""The engine on the loop that the hub runs on: uvloop is particular about closed descriptors."""

import asyncio
from collections.abc import Callable

import uvloop
from sqlalchemy import select

from protocols.errors import StorageUnavailable
from storage import Database, open_database
from storage.tables.pipeline import journal_cursor
from tests.support.postgresql import PostgresqlServer

_READERS = 12


def test_reads_go_on_after_the_server_was_taken_away_again_and_again(
    own_postgresql: PostgresqlServer,
) -> None:
    url = own_postgresql.url(own_postgresql.create_database())
    uvloop.run(_read_over_restarts(url, own_postgresql))


async def _read_over_restarts(url: str, server: PostgresqlServer) -> None:
    database = open_database(url)
    await database.open()
    stopping = asyncio.Event()
    readers = [asyncio.create_task(_read_on(database, stopping)) for _ in range(_READERS)]
    for restart in (server.restart, _killed(server), server.restart, _killed(server)):
        await asyncio.to_thread(restart)
        await asyncio.wait_for(_until_readable(database), timeout=20)
    stopping.set()
    assert all(count > 0 for count in await asyncio.gather(*readers))
    await database.close()


async def _until_readable(database: Database) -> None:
    while True:
        if await _is_readable(database):
            return
        await asyncio.sleep(0.05)


def _killed(server: PostgresqlServer) -> Callable[[], None]:
    def kill_and_start() -> None:
        server.kill()
        server.start()

    return kill_and_start


async def _read_on(database: Database, stopping: asyncio.Event) -> int:
    """Anything but a result or StorageUnavailable ends the test."""
    count = 0
    while not stopping.is_set():
        count += await _is_readable(database)
        await asyncio.sleep(0.001)
    return count


async def _is_readable(database: Database) -> bool:
    try:
        rows = await database.read(lambda reader: reader.fetch_all(select(journal_cursor)))
    except StorageUnavailable:
        return False
    return len(rows) == 1
