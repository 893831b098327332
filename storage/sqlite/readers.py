"""The reader pool: a few threads, each with a connection of its own and a snapshot per unit."""

import asyncio
import sqlite3
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TypeVar

from protocols.errors import StorageUnavailable
from storage.database import Reader
from storage.sqlite.connection import connect_reader
from storage.sqlite.errors import fence
from storage.sqlite.transaction import SqliteReader

# More would only queue for the interpreter's lock; two slow pages still leave two for the pipeline.
_THREADS = 4

T = TypeVar("T")


class ReaderPool:
    """Runs read units on threads that live until `close`."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._local = threading.local()
        self._connections: list[sqlite3.Connection] = []
        self._executor = ThreadPoolExecutor(_THREADS, thread_name_prefix="sqlite-reader")
        self._is_open = True

    async def read(self, unit: Callable[[Reader], T]) -> T:
        if not self._is_open:
            raise StorageUnavailable("The database is closed.")
        return await asyncio.get_running_loop().run_in_executor(self._executor, self._run, unit)

    async def close(self) -> None:
        self._is_open = False
        await asyncio.to_thread(self._executor.shutdown)
        for connection in self._connections:
            connection.close()
        self._connections.clear()

    def _run(self, unit: Callable[[Reader], T]) -> T:
        reader = self._reader()
        reader.run("BEGIN")
        try:
            return unit(reader)
        finally:
            # COMMIT of a transaction that only read: it gives the snapshot back. A failing disk may
            # have ended it already, and the unit's own error is the one to be told.
            if reader.is_in_transaction:
                reader.run("COMMIT")

    def _reader(self) -> SqliteReader:
        reader: SqliteReader | None = getattr(self._local, "reader", None)
        if reader is None:
            with fence():
                connection = connect_reader(self._path)
            self._connections.append(connection)
            reader = self._local.reader = SqliteReader(connection)
        return reader
