"""The reading side: a bounded pool of aiopg's connections, and units that read over them.

Theory of operation. A unit is a plain function, and aiopg's answers are awaited. So a unit runs in a
greenlet: each of its fetches hands what is to be awaited to the task that started it, and goes on when
the answer is there. Other tasks run meanwhile; the unit never leaves the loop's thread.

The transaction begins in the round trip of the unit's first statement; the snapshot is that
statement's. A unit whose connection is lost runs once more on a fresh one, since it only reads.
aiopg's pool does not wake those who wait when a broken connection comes back, so the number of units at
work is bounded before it is asked, and it always has a place left. aiopg cannot follow libpq to a second
address either: sessions that block find the way (see `DatabaseAddress.direct_parameters`), and a
pool that fails to connect is replaced by one that takes the way as it is then.
"""

import asyncio
from collections.abc import Callable
from typing import Any, Final, TypeVar

import aiopg
import psycopg2
from sqlalchemy.sql.expression import ClauseElement
from sqlalchemy.util import await_only, greenlet_spawn

from protocols.errors import StorageUnavailable
from storage.database import Parameters, Reader, Row
from storage.postgresql.address import CONNECT_TIMEOUT_S, STATEMENT_TIMEOUT_S, DatabaseAddress
from storage.postgresql.connection import find_way, prepare, session_settings
from storage.postgresql.errors import translated, unreachable
from storage.postgresql.loop_connection import loop_parameters, watch_for_loss
from storage.postgresql.statements import StatementCache

# Each is a process on the server. More units wait their turn.
_CONNECTIONS: Final = 6
_BEGIN: Final = "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY; "

T = TypeVar("T")


class ReaderPool:
    """Runs read units on the loop. Connections are made when they are needed first."""

    def __init__(self, address: DatabaseAddress, *, timeout_s: float = STATEMENT_TIMEOUT_S) -> None:
        self._address = address
        self._timeout_s = timeout_s
        self._places = asyncio.Semaphore(_CONNECTIONS)
        self._statements = StatementCache()
        self._pool: aiopg.Pool | None = None
        self._finding = asyncio.Lock()
        self._is_open = True

    async def open(self) -> None:
        """Call after a session that blocks has found the way to the server."""
        await self._open_pool()

    async def close(self) -> None:
        """Let the units that run come to their end, then close."""
        self._is_open = False
        for _ in range(_CONNECTIONS):
            await self._places.acquire()
        if self._pool is not None:
            self._pool.close()
            await self._pool.wait_closed()
        # Whoever still waits for a place learns that it is closed.
        for _ in range(_CONNECTIONS):
            self._places.release()

    async def read(self, unit: Callable[[Reader], T]) -> T:
        async with self._places:
            try:
                return await self._read(unit)
            except SessionLost:
                # The others that lie idle were lost with it, or soon will be.
                await self._opened().clear()
            try:
                return await self._read(unit)
            except SessionLost as exc:
                raise StorageUnavailable(str(exc)) from exc.__cause__

    async def _read(self, unit: Callable[[Reader], T]) -> T:
        pool, connection = await self._acquire()
        reader = PostgresqlReader(connection, self._statements, self._timeout_s)
        try:
            result = await greenlet_spawn(unit, reader)
            await reader.end("COMMIT")
        except BaseException:
            # Of a caller that was cancelled aiopg has closed the connection, and the server ends
            # what it was doing.
            if not connection.closed:
                await _give_up(reader, connection)
            raise
        finally:
            pool.release(connection)
        return result

    async def _acquire(self) -> tuple[aiopg.Pool, aiopg.Connection]:
        pool = self._opened()
        try:
            return pool, await self._connection(pool)
        except SessionLost:
            await self._find_way(pool)
        pool = self._opened()
        return pool, await self._connection(pool)

    async def _connection(self, pool: aiopg.Pool) -> aiopg.Connection:
        try:
            return await pool.acquire()
        except (psycopg2.Error, UnicodeError) as exc:
            raise SessionLost(str(unreachable(exc, self._address))) from None
        except OSError as exc:  # among them TimeoutError
            reason = TimeoutError("no answer in time")
            raise SessionLost(str(unreachable(reason, self._address))) from exc
        except AssertionError as exc:
            # So aiopg's pool puts it that a connection was lost just when it was to be given out.
            raise SessionLost("The connection was lost before it was used.") from exc

    async def _find_way(self, failed: aiopg.Pool) -> None:
        """Look where the server is by now, and take another pool there."""
        async with self._finding:
            if self._pool is not failed:
                return
            await asyncio.to_thread(find_way, self._address)
            await self._open_pool()
        # What is read over it at present goes on; its connections are closed as they come back.
        failed.close()
        await failed.clear()

    async def _open_pool(self) -> None:
        self._pool = await aiopg.create_pool(
            minsize=0,
            maxsize=_CONNECTIONS,
            timeout=CONNECT_TIMEOUT_S,
            enable_json=False,
            enable_hstore=False,
            enable_uuid=False,
            on_connect=self._prepare,
            **loop_parameters(self._address),
        )

    def _opened(self) -> aiopg.Pool:
        if self._pool is None or not self._is_open:
            raise StorageUnavailable("The database is closed.")
        return self._pool

    async def _prepare(self, connection: aiopg.Connection) -> None:
        watch_for_loss(connection)
        try:
            prepare(connection.raw, self._address)
            cursor = await connection.cursor()
            await cursor.execute(session_settings(connection.raw))
            cursor.close()
        except BaseException:
            connection.close()
            raise


class SessionLost(StorageUnavailable):
    """The connection was lost in the middle of a unit."""


class PostgresqlReader:
    """Implements `Reader`; for one unit, within its greenlet."""

    def __init__(
        self, connection: aiopg.Connection, statements: StatementCache, timeout_s: float
    ) -> None:
        self._connection = connection
        self._statements = statements
        self._timeout_s = timeout_s
        self._has_begun = False

    def fetch_all(
        self, statement: ClauseElement, parameters: Parameters | None = None
    ) -> list[Row]:
        prepared = self._statements.prepare(statement, parameters)
        text = prepared.text if self._has_begun else _BEGIN + prepared.text
        self._has_begun = True
        rows: list[Any] = await_only(self._fetch(text, prepared.values(parameters)))
        return list(map(prepared.make_row, rows)) if prepared.make_row else rows

    def fetch_one(
        self, statement: ClauseElement, parameters: Parameters | None = None
    ) -> Row | None:
        rows = self.fetch_all(statement, parameters)
        return rows[0] if rows else None

    async def end(self, text: str) -> None:
        """Give the snapshot back, if there is one."""
        if self._has_begun:
            await self._fetch(text, None)

    async def _fetch(self, text: str, values: Any) -> list[Any]:
        try:
            cursor = await self._connection.cursor(timeout=self._timeout_s)
            await cursor.execute(text, values)
            # The answer is here as a whole; aiopg's own cursor would only wrap each fetch.
            rows: list[Any] = cursor.raw.fetchall() if cursor.description else []
        except TimeoutError as exc:
            raise StorageUnavailable(
                f"The server took longer than {self._timeout_s:g} s to answer."
            ) from exc
        except asyncio.CancelledError as exc:
            # aiopg says so, too, when the server has ended the statement.
            task = asyncio.current_task()
            if task is not None and task.cancelling():
                raise
            self._connection.close()
            raise StorageUnavailable("The server has ended the statement.") from exc
        except Exception as exc:
            raise self._translated(exc) from exc
        return rows

    def _translated(self, error: Exception) -> Exception:
        ours = translated(error)
        if not isinstance(ours, StorageUnavailable):
            return ours or error
        if not getattr(error, "pgcode", None) or _ends_session(error):
            self._connection.close()
            return SessionLost(str(ours))
        return ours


def _ends_session(error: Exception) -> bool:
    """Class 57P: an operator, a crash or a start; the server closes the connection after it."""
    return str(getattr(error, "pgcode", "")).startswith(("57P", "08", "25P03"))


async def _give_up(reader: PostgresqlReader, connection: aiopg.Connection) -> None:
    """End the transaction of a unit that failed; its own error is the one to be told."""
    try:
        await reader.end("ROLLBACK")
    except (StorageUnavailable, psycopg2.Error):
        connection.close()
