"""Signals over PostgreSQL's LISTEN and NOTIFY.

One session of its own serves both, outside of every transaction: a NOTIFY within a transaction
that writes would have all such commits wait for each other, since the server tells in the order of
commits.
"""

import asyncio
from collections.abc import Collection, Iterable, Iterator
from typing import Final

import aiopg
import psycopg2

from protocols.errors import StorageUnavailable
from protocols.messages import TargetId
from storage.postgresql.address import CONNECT_TIMEOUT_S, DatabaseAddress
from storage.postgresql.connection import find_way
from storage.postgresql.errors import unreachable
from storage.postgresql.loop_connection import loop_parameters, watch_for_loss
from storage.signals import OnSignal, Signals

CHANNEL: Final = "tingbro_deliveries"
# The server takes less than 8,000 bytes. An id with its comma has at most 20.
_IDS_PER_PAYLOAD: Final = 390
_ANSWER_TIMEOUT_S: Final = 5.0


class PostgresqlSignals(Signals):
    """Tells and hears over one session, which lasts as long as `listen` does.

    Before that, and after it has ended, `notify` raises StorageUnavailable.
    """

    def __init__(self, url: str) -> None:
        self._address = DatabaseAddress(url)
        self._connection: aiopg.Connection | None = None
        # A session does one thing at a time.
        self._asking = asyncio.Lock()

    async def notify(self, target_ids: Collection[TargetId]) -> None:
        connection = self._connection
        if connection is None:
            raise StorageUnavailable("No session for signals is open.")
        for payload in _payloads(sorted(target_ids)):
            await self._ask(connection, "SELECT pg_notify(%s, %s)", CHANNEL, payload)

    async def listen(self, on_signal: OnSignal) -> None:
        connection = await self._connect()
        try:
            await self._ask(connection, f"LISTEN {CHANNEL}")
            self._connection = connection
            while True:
                notice = await connection.notifies.get()
                if target_ids := _ids(notice.payload):
                    on_signal(target_ids)
        except psycopg2.Error as exc:
            raise unreachable(exc, self._address) from exc
        finally:
            self._connection = None
            connection.close()

    async def _connect(self) -> aiopg.Connection:
        await asyncio.to_thread(find_way, self._address)
        try:
            connection = await aiopg.connect(
                timeout=CONNECT_TIMEOUT_S,
                enable_json=False,
                enable_hstore=False,
                enable_uuid=False,
                **loop_parameters(self._address),
            )
        except (psycopg2.Error, UnicodeError, TimeoutError) as exc:
            # `from None`: what the driver raised may quote what it was given.
            raise unreachable(exc, self._address) from None
        watch_for_loss(connection)
        return connection

    async def _ask(self, connection: aiopg.Connection, text: str, *values: str) -> None:
        """Run one statement. One that fails ends the session, so that it is made anew."""
        try:
            async with self._asking, asyncio.timeout(_ANSWER_TIMEOUT_S):
                cursor = await connection.cursor(timeout=_ANSWER_TIMEOUT_S)
                await cursor.execute(text, values)
                cursor.close()
        except (psycopg2.Error, TimeoutError) as exc:
            connection.close()
            raise unreachable(exc, self._address) from exc
        except asyncio.CancelledError as exc:
            connection.close()
            # aiopg says so, too, when the server has ended the statement.
            task = asyncio.current_task()
            if task is not None and task.cancelling():
                raise
            raise unreachable(exc, self._address) from exc


def _payloads(target_ids: list[TargetId]) -> Iterator[str]:
    for start in range(0, len(target_ids), _IDS_PER_PAYLOAD):
        yield ",".join(map(str, target_ids[start : start + _IDS_PER_PAYLOAD]))


def _ids(payload: str) -> list[TargetId]:
    """Anybody who may connect may write to the channel: what is no id is passed over."""
    parts: Iterable[str] = payload.split(",")
    return [TargetId(int(part)) for part in parts if part.isascii() and part.isdecimal()]
