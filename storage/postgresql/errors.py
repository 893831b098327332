"""The fence: what `psycopg2` raises, in the words of the project's error tree.

The server's primary message is passed on, never its details, which quote the row.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final

import psycopg2

from protocols.errors import (
    Conflict,
    RowRefused,
    StorageAway,
    StorageError,
    StorageUnavailable,
)
from storage.group_commit import Contended

# Source: PostgreSQL, Appendix A, error codes.
_CONFLICTS = {"23503", "23505", "23P01"}
_CONTENTIONS = {
    "40001": "Another process changed the same rows.",
    "40P01": "Two processes waited for each other's rows.",
    "55P03": "Another process holds rows for longer than it should.",
}
_SENTENCES = {
    "25006": "The server takes no writes: it is a standby, or was made read-only.",
    "25P03": "A transaction stood still for too long, and the server ended it.",
    "28000": "The server refuses this user: check the URL's user and the server's pg_hba.conf.",
    "28P01": "The server refuses the password: check the URL's user and password.",
    "3D000": "There is no such database: create it, or check the URL's last part.",
    "42501": "The user has no right to do this: it must own the database or its schema.",
    "53100": "The server's disk is full: make room and the hub goes on by itself.",
    "53200": "The server has no memory left.",
    "53300": "The server has no connection left: raise its max_connections, or start fewer processes.",
    "57014": "The server took longer than it may for one statement.",
    "57P01": "The server is being stopped.",
    "57P02": "The server crashed and is recovering.",
    "57P03": "The server is starting up.",
    "58030": "The server could not read or write its disk.",
}
# Classes: connection lost, resources, intervention of an operator, the server's own system.
_UNAVAILABLE_CLASSES = {"08", "53", "57", "58", "XX"}
_REFUSED_CLASSES = {"22", "23"}
# Of those, what a server says that will take sessions again without anybody's help.
_PASSING: Final = {"53300", "57P01", "57P02", "57P03"}
# A server that refuses a session says so in words only; these are the ones it has in English.
_REFUSALS = {
    "too many clients": "53300",
    "too many connections": "53300",
    "remaining connection slots": "53300",
    "password authentication failed": "28P01",
    "no password supplied": "28P01",
    "no pg_hba.conf entry": "28000",
    'role "': "28000",
    "is not permitted to log in": "28000",
    'database "': "3D000",
    "the database system is starting up": "57P03",
    "the database system is shutting down": "57P01",
    "the database system is in recovery": "57P02",
    "administrator command": "57P01",
}


def translated(error: Exception) -> StorageError | Conflict | None:
    """Return the error to raise instead, or None when `error` is a defect of the caller."""
    if isinstance(error, psycopg2.Error):
        return _of_server(error) if error.pgcode else _of_client(error)
    if isinstance(error, UnicodeEncodeError | OverflowError):
        return RowRefused(f"A value cannot be stored: {_first_line(error)}.")
    # What psycopg2 says of a NUL within a text.
    if isinstance(error, ValueError) and "NUL" in str(error):
        return RowRefused("A value cannot be stored: a text holds a NUL character.")
    return None


def unreachable(error: BaseException, where: object) -> StorageUnavailable:
    """Return what to raise when no session could be opened."""
    text = _first_line(error)
    code = getattr(error, "pgcode", None)
    if code is None:
        code = next((code for words, code in _REFUSALS.items() if words in str(error)), None)
    sentence = _SENTENCES.get(code or "", "It cannot be reached: check the URL and the network.")
    kind = StorageAway if code is None or code in _PASSING else StorageUnavailable
    return kind(f"{_capitalized(where)}: {sentence} ({text})")


@contextmanager
def fence() -> Iterator[None]:
    """Translate what the block raises. For rare paths; hot ones call `translated` themselves."""
    try:
        yield
    except Exception as exc:
        if (ours := translated(exc)) is not None:
            raise ours from exc
        raise


def _of_server(error: Any) -> StorageError | Conflict | None:
    code: str = error.pgcode
    message = _first_line(error)
    if code in _CONFLICTS:
        return Conflict(message)
    if sentence := _CONTENTIONS.get(code):
        return Contended(f"{sentence} ({message})")
    if sentence := _SENTENCES.get(code):
        return StorageUnavailable(f"{sentence} ({message})")
    if code[:2] in _UNAVAILABLE_CLASSES:
        return StorageUnavailable(f"The server failed: {message}.")
    if code[:2] in _REFUSED_CLASSES:
        return RowRefused(f"A value cannot be stored: {message}.")
    return None


def _of_client(error: psycopg2.Error) -> StorageError | None:
    if isinstance(error, psycopg2.OperationalError | psycopg2.InterfaceError):
        return StorageUnavailable(f"The connection to the server is lost ({_first_line(error)}).")
    if isinstance(error, psycopg2.DatabaseError) and "can't adapt" in str(error):
        return RowRefused(f"A value cannot be stored: {_first_line(error)}.")
    # libpq's words for an answer that was cut off, without any code.
    if isinstance(error, psycopg2.DatabaseError) and not isinstance(
        error, psycopg2.ProgrammingError
    ):
        return StorageUnavailable(f"The connection to the server is lost ({_first_line(error)}).")
    return None


def _first_line(error: BaseException) -> str:
    primary = getattr(getattr(error, "diag", None), "message_primary", None)
    lines = str(primary or error).strip().splitlines()
    return lines[0].strip().rstrip(".") if lines else type(error).__name__


def _capitalized(where: object) -> str:
    text = str(where)
    return text[:1].upper() + text[1:]
