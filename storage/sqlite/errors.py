"""The fence: what `sqlite3` raises, in the words of the project's error tree."""

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager

from protocols.errors import Conflict, RowRefused, StorageError, StorageUnavailable

# Primary result codes, the low byte of the extended ones. Source: https://sqlite.org/rescode.html
_SENTENCES = {
    sqlite3.SQLITE_BUSY: "Another process holds the database locked.",
    sqlite3.SQLITE_LOCKED: "A table of the database is locked.",
    sqlite3.SQLITE_NOMEM: "There is no memory left for the database.",
    sqlite3.SQLITE_READONLY: "The database may not be written: check the file's owner and mode.",
    sqlite3.SQLITE_IOERR: "Reading or writing the disk failed.",
    sqlite3.SQLITE_CORRUPT: "The database file is damaged: restore a backup.",
    sqlite3.SQLITE_FULL: "The disk is full: make room and the hub goes on by itself.",
    sqlite3.SQLITE_CANTOPEN: "The database file cannot be opened: check the path and its rights.",
    sqlite3.SQLITE_PROTOCOL: "Another process holds the database locked.",
    sqlite3.SQLITE_NOTADB: "The file is not a database: name another file, or restore a backup.",
}
_KEY_CONFLICTS = frozenset(
    {
        sqlite3.SQLITE_CONSTRAINT_UNIQUE,
        sqlite3.SQLITE_CONSTRAINT_PRIMARYKEY,
        sqlite3.SQLITE_CONSTRAINT_FOREIGNKEY,
        sqlite3.SQLITE_CONSTRAINT_ROWID,
    }
)
_VALUE_REFUSALS = (OverflowError, UnicodeEncodeError, sqlite3.DataError)


def translated(error: Exception) -> StorageError | Conflict | None:
    """Return the error to raise instead, or None when `error` is a defect of the caller."""
    code = getattr(error, "sqlite_errorcode", None)
    if isinstance(error, sqlite3.IntegrityError):
        return Conflict(str(error)) if code in _KEY_CONFLICTS else RowRefused(str(error))
    if isinstance(error, _VALUE_REFUSALS):
        return RowRefused(f"A value cannot be stored: {error}.")
    if code is not None and (sentence := _SENTENCES.get(code & 0xFF)):
        return StorageUnavailable(f"{sentence} ({error})")
    if code is not None and code & 0xFF in {sqlite3.SQLITE_TOOBIG, sqlite3.SQLITE_MISMATCH}:
        return RowRefused(f"A value cannot be stored: {error}.")
    # Python 3.11 says so of a type that it cannot bind; 3.12 made a ProgrammingError of it.
    if isinstance(error, sqlite3.InterfaceError | sqlite3.ProgrammingError) and (
        "binding parameter" in str(error)
    ):
        return RowRefused(f"A value cannot be stored: {error}.")
    return None


@contextmanager
def fence() -> Iterator[None]:
    """Translate what the block raises. For rare paths; hot ones call `translated` themselves."""
    try:
        yield
    except Exception as exc:
        if (ours := translated(exc)) is not None:
            raise ours from exc
        raise
