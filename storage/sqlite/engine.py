"""The SQLite engine: opens the file, claims it, brings its schema up to date, starts the threads."""

import asyncio
import shutil
import sqlite3
from asyncio import Future
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from protocols.errors import StorageUnavailable
from storage.database import Database, DatabaseHealth, Reader, Transaction
from storage.group_commit import GroupWriter
from storage.sqlite.checkpointer import Checkpointer
from storage.sqlite.connection import connect_writer
from storage.sqlite.errors import fence
from storage.sqlite.lock import FileClaim
from storage.sqlite.readers import ReaderPool
from storage.sqlite.schema import bring_up_to_date
from storage.sqlite.writer import SqliteDriver

T = TypeVar("T")


class SqliteDatabase(Database):
    """See `Database`. `path` is created with its directory when it does not exist."""

    def __init__(self, path: Path, *, is_shared: bool = False, migrate: bool = True) -> None:
        self._path = path
        self._migrate = migrate
        self._claim = None if is_shared else FileClaim(path)
        self._connection: sqlite3.Connection | None = None
        self._writer: GroupWriter | None = None
        self._readers: ReaderPool | None = None
        self._checkpointer = None if is_shared else Checkpointer(path)
        self._is_open = False

    async def open(self) -> None:
        loop = asyncio.get_running_loop()
        self._connection = await asyncio.to_thread(self._prepare)
        self._readers = ReaderPool(self._path)
        self._writer = GroupWriter(SqliteDriver(self._connection), loop, name="sqlite-writer")
        self._writer.start()
        if self._checkpointer is not None:
            self._checkpointer.start()
        self._is_open = True

    async def close(self) -> None:
        if self._writer is not None:
            await self._writer.stop()
        if self._readers is not None:
            await self._readers.close()
        if self._checkpointer is not None and self._is_open:
            await asyncio.to_thread(self._checkpointer.stop)
        if self._connection is not None:
            connection, self._connection = self._connection, None
            await asyncio.to_thread(connection.close)
        if self._claim is not None:
            self._claim.release()

    async def read(self, unit: Callable[[Reader], T]) -> T:
        if self._readers is None:
            raise StorageUnavailable("The database is not open yet.")
        return await self._readers.read(unit)

    def submit(self, unit: Callable[[Transaction], T]) -> "Future[T]":
        if self._writer is None:
            raise StorageUnavailable("The database is not open yet.")
        return self._writer.submit(unit)

    def health(self) -> DatabaseHealth:
        if self._writer is None or self._connection is None:
            return DatabaseHealth(is_ok=False, reason="The database is not open.")
        return self._writer.health

    def free_bytes(self) -> int | None:
        try:
            return shutil.disk_usage(self._path.parent).free
        except OSError:
            return None

    def _prepare(self) -> sqlite3.Connection:
        """Claim and open the file; on failure nothing stays claimed or open."""
        connection: sqlite3.Connection | None = None
        try:
            _make_directory(self._path.parent)
            if self._claim is not None:
                self._claim.take()
            with fence():
                connection = connect_writer(self._path)
                bring_up_to_date(connection, may_migrate=self._migrate)
        except BaseException:
            if connection is not None:
                connection.close()
            if self._claim is not None:
                self._claim.release()
            raise
        return connection


def _make_directory(path: Path) -> None:
    try:
        path.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as exc:
        raise StorageUnavailable(
            f"{path} cannot be made ({exc.strerror}): check the data directory."
        ) from exc
