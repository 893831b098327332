"""Moving pages from the log into the database file, beside the writer instead of within its commits.

SQLite checkpoints at the end of the commit that makes the log long, and whoever waits for that commit
waits for thousands of pages and two more syncs. A passive checkpoint on a connection of its own needs no
lock that the writer needs. It can never quite catch up with a busy writer, so the log still grows; at
`connection.CHECKPOINT_PAGES` the writer moves the little that is left and begins the log anew.
"""

import sqlite3
import threading
from pathlib import Path

import structlog

from storage import events
from storage.sqlite.connection import connect_reader

_EVERY_S = 0.5
# Below this a checkpoint moves pages that will be written again in a moment.
_WORTH_BYTES = 4 * 1024 * 1024

_log = structlog.get_logger(__name__)


class Checkpointer:
    """One thread over one connection; a failure is logged, and the writer's own checkpoint remains."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._log_file = path.with_name(path.name + "-wal")
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._work, name="sqlite-checkpointer", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        """End the thread; blocks for as long as a checkpoint that is under way takes."""
        self._stopping.set()
        self._thread.join()

    def _work(self) -> None:
        try:
            connection = connect_reader(self._path, may_write=True)
        except sqlite3.Error as exc:
            _log.warning(events.DATABASE_CHECKPOINT_FAIL, reason=str(exc))
            return
        seen_ns, is_well = 0, True
        while not self._stopping.wait(_EVERY_S):
            changed_ns = self._changed_ns()
            if changed_ns == seen_ns:
                continue
            seen_ns = changed_ns
            try:
                connection.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchall()
                is_well = True
            except sqlite3.Error as exc:
                if is_well:
                    _log.warning(events.DATABASE_CHECKPOINT_FAIL, reason=str(exc))
                is_well = False
        connection.close()

    def _changed_ns(self) -> int:
        """Return when the log was last written, 0 while it is too short to bother."""
        try:
            found = self._log_file.stat()
        except OSError:
            return 0
        return found.st_mtime_ns if found.st_size >= _WORTH_BYTES else 0
