"""Connections to the file, with the settings that the promises rest on."""

import sqlite3
from pathlib import Path

# Statements differ by the number of rows they carry, so there are many; each takes a few kB.
_CACHED_STATEMENTS = 1_024
_WRITER_CACHE_KIB = 32_768
_READER_CACHE_KIB = 8_192
# How long a writer waits for another process (an operator's command beside the hub).
_BUSY_TIMEOUT_MS = 2_000
# The log file is cut back to this after a checkpoint that ended it.
_LOG_SIZE_LIMIT_BYTES = 64 * 1024 * 1024
# The writer's own checkpoint, in the middle of a commit, is the exception: 64 MiB of log, most of
# which the checkpointer has moved by then.
CHECKPOINT_PAGES = 16_384


def connect_writer(path: Path) -> sqlite3.Connection:
    """Open the file for writing, creating it; WAL, and every commit synced to the disk."""
    connection = _connect(f"{path.absolute().as_uri()}?mode=rwc")
    try:
        _set(connection, "journal_mode = WAL")
        _set(connection, "synchronous = FULL")
        _set(connection, "foreign_keys = ON")
        _set(connection, f"cache_size = -{_WRITER_CACHE_KIB}")
        _set(connection, f"wal_autocheckpoint = {CHECKPOINT_PAGES}")
        _set(connection, f"journal_size_limit = {_LOG_SIZE_LIMIT_BYTES}")
    except BaseException:
        connection.close()
        raise
    return connection


def connect_reader(path: Path, *, may_write: bool = False) -> sqlite3.Connection:
    """Open the file, which must exist, for reading, or (`may_write`) for checkpoints too."""
    # Opened read-write, since a reader of a WAL file must be able to write its shared memory.
    connection = _connect(f"{path.absolute().as_uri()}?mode=rw")
    _set(connection, f"cache_size = -{_READER_CACHE_KIB}")
    if not may_write:
        _set(connection, "query_only = ON")
    return connection


def _connect(uri: str) -> sqlite3.Connection:
    # isolation_level=None: transactions are opened by us and never behind our back.
    connection = sqlite3.connect(
        uri,
        uri=True,
        isolation_level=None,
        check_same_thread=False,
        cached_statements=_CACHED_STATEMENTS,
        timeout=_BUSY_TIMEOUT_MS / 1000,
    )
    _set(connection, "temp_store = MEMORY")
    return connection


def _set(connection: sqlite3.Connection, pragma: str) -> None:
    connection.execute(f"PRAGMA {pragma}").fetchall()
