"""Where the database is, and what every session of ours is told at its start.

The URL is libpq's, so `?sslmode=verify-full&target_session_attrs=read-write` and several hosts work
as its documentation says. It may hold a password and is therefore never repeated: texts name the
server and the database only.
"""

import os
import secrets
import socket
from typing import Any, Final

import psycopg2
from psycopg2.extensions import parse_dsn

from protocols.errors import InvalidSettings

# How long libpq tries to reach a server, and signing in may take.
CONNECT_TIMEOUT_S: Final = 5
# What takes longer is given up: a write is tried again, a reader is told.
STATEMENT_TIMEOUT_S: Final = 30
# A row that another process holds for longer than this is not waited for any more.
LOCK_TIMEOUT_S: Final = 5
# A process that was stopped within a transaction holds its rows for this long.
IDLE_IN_TRANSACTION_TIMEOUT_S: Final = 5

# A peer that says nothing, to either side: noticed after about 11 s.
_KEEPALIVE_IDLE_S: Final = 5
_KEEPALIVE_INTERVAL_S: Final = 2
_KEEPALIVE_COUNT: Final = 3
_UNACKNOWLEDGED_LIMIT_MS: Final = 10_000

_SERVER_OPTIONS: Final = {
    "statement_timeout": f"{STATEMENT_TIMEOUT_S}s",
    "lock_timeout": f"{LOCK_TIMEOUT_S}s",
    "idle_in_transaction_session_timeout": f"{IDLE_IN_TRANSACTION_TIMEOUT_S}s",
    "tcp_keepalives_idle": f"{_KEEPALIVE_IDLE_S}",
    "tcp_keepalives_interval": f"{_KEEPALIVE_INTERVAL_S}",
    "tcp_keepalives_count": f"{_KEEPALIVE_COUNT}",
    "tcp_user_timeout": f"{_UNACKNOWLEDGED_LIMIT_MS}",
    "client_min_messages": "warning",
}
# With these libpq finds out by itself whether the server wants encryption.
_ASKING_MODES: Final = ("allow", "prefer")
_NAME_LIMIT: Final = 63


class DatabaseAddress:
    """One database URL, understood.

    Raises:
        InvalidSettings: libpq does not understand it; the text does not repeat it.
    """

    def __init__(self, url: str) -> None:
        try:
            given: dict[str, str] = parse_dsn(url)
        except (psycopg2.Error, UnicodeError):
            # libpq's own text quotes the URL.
            given = {}
        if not given.get("dbname"):
            raise InvalidSettings(
                [
                    "The database URL is not understood: "
                    "write postgresql://USER:PASSWORD@HOST:PORT/DATABASE, with every character of "
                    "the password that is no letter, digit, dot, hyphen or underscore "
                    "percent-encoded."
                ]
            )
        self._given = given
        self._route: dict[str, Any] = {}
        # The token tells our own sessions from those of an earlier process with this number.
        token = secrets.token_hex(4)
        host = socket.gethostname()
        self.application_name = f"tingbro {host[:32]}:{os.getpid()}:{token}"[:_NAME_LIMIT]

    def __str__(self) -> str:
        """The server and the database, for sentences."""
        host = self._given.get("host") or self._given.get("hostaddr") or "the local socket"
        port = self._given.get("port", "5432")
        return f"the database {self._given['dbname']} on {host} (port {port})"

    def __repr__(self) -> str:
        return f"<DatabaseAddress of {self}>"

    def parameters(self) -> dict[str, Any]:
        """Return what `psycopg2.connect` is to be given. It holds the password."""
        options = " ".join(f"-c {name}={value}" for name, value in _SERVER_OPTIONS.items())
        return {
            "connect_timeout": CONNECT_TIMEOUT_S,
            "keepalives_idle": _KEEPALIVE_IDLE_S,
            "keepalives_interval": _KEEPALIVE_INTERVAL_S,
            "keepalives_count": _KEEPALIVE_COUNT,
            "tcp_user_timeout": _UNACKNOWLEDGED_LIMIT_MS,
            **self._given,
            # The operator's own options stand last, where they win over ours.
            "options": f"{options} {self._given.get('options', '')}".strip(),
            "application_name": self.application_name,
            "client_encoding": "UTF8",
        }

    def follow(self, connection: Any) -> None:
        """Remember how this session, which blocks, was reached: `direct_parameters` go the same way."""
        info = connection.info
        self._route = {"host": info.host, "port": info.port, "gssencmode": "disable"}
        if not info.host.startswith("/"):
            self._route["hostaddr"] = _peer(connection)
        if self._given.get("sslmode", "prefer") in _ASKING_MODES:
            self._route["sslmode"] = "require" if info.ssl_in_use else "disable"

    def direct_parameters(self) -> dict[str, Any]:
        """Return parameters for a session that does not block, which reach one server in one attempt.

        Where libpq has to try a second address, or again without encryption, it does so over
        another socket, and aiopg would go on watching the first. Looking a name up would block.
        """
        return {**self.parameters(), **self._route}


def _peer(connection: Any) -> str:
    with socket.socket(fileno=os.dup(connection.fileno())) as same:
        return str(same.getpeername()[0])
