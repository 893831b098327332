"""Sessions that a loop watches, with a descriptor that is theirs for as long as anybody knows its number.

libpq closes its socket by itself as soon as it sees the connection fail. The loop still watches that
number then, and another thread may get it for something else at that very moment: aiopg watches a
stranger from there on, and libuv aborts the whole process when the stranger is closed in its turn.

So what is watched is a duplicate of the socket. On `close` it is shut down, which tells the server,
but its number is given back only with the object: aiopg closes some connections twice, and ends the
watch of that number each time.
"""

import asyncio
import os
import socket
import weakref
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import aiopg
import psycopg2
from psycopg2.extensions import connection as psycopg2_connection

from storage.postgresql.address import DatabaseAddress


class WatchedConnection(psycopg2_connection):  # type: ignore[misc]  # psycopg2 is untyped
    """What psycopg2 makes for aiopg, which asks it once for a descriptor."""

    _duplicate: socket.socket | None = None
    _on_loss: "weakref.WeakMethod[Callable[[], object]] | None" = None

    def __del__(self) -> None:
        if self._duplicate is not None:
            self._duplicate.close()

    def fileno(self) -> int:
        if self._duplicate is None:
            self._duplicate = socket.socket(fileno=os.dup(super().fileno()))
        return self._duplicate.fileno()

    def poll(self) -> Any:
        try:
            return super().poll()
        except psycopg2.Error:
            # The failure of a statement comes this way, too; then the session goes on.
            if self.closed:
                self._tell_of_loss()
            raise

    def close(self) -> None:
        super().close()
        if self._duplicate is not None:
            with suppress(OSError):
                self._duplicate.shutdown(socket.SHUT_RDWR)

    def close_on_loss(self, close: Callable[[], object]) -> None:
        """Have aiopg's `close` called when the connection is lost, also while nobody uses it.

        Without it the loop would be told for ever that there is an end to be read.
        """
        self._on_loss = weakref.WeakMethod(close)

    def _tell_of_loss(self) -> None:
        close = self._on_loss() if self._on_loss is not None else None
        self._on_loss = None
        if close is not None:
            # Not at once: aiopg has yet to pass the error on.
            asyncio.get_running_loop().call_soon(close)


def loop_parameters(address: DatabaseAddress) -> dict[str, Any]:
    """Return what `aiopg.connect` is to be given, when a session that blocks has found the way."""
    return {**address.direct_parameters(), "connection_factory": WatchedConnection}


def watch_for_loss(connection: aiopg.Connection) -> None:
    """Call once for every connection that aiopg has made with `loop_parameters`."""
    connection.raw.close_on_loss(connection.close)
