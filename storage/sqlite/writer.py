"""How the writer's thread drives its one SQLite connection."""

import sqlite3

from protocols.errors import StorageUnavailable
from storage.sqlite.errors import translated
from storage.sqlite.transaction import SqliteTransaction


class SqliteDriver:
    """Implements `WriteDriver`. A commit on this side of the disk is never in doubt."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection
        self.transaction = SqliteTransaction(connection)

    @property
    def outage(self) -> StorageUnavailable | None:
        return self.transaction.outage

    def begin(self) -> None:
        self.transaction.outage = None
        # A failing disk may have refused to roll the last one back.
        self.roll_back()
        self.transaction.run("BEGIN IMMEDIATE")

    def commit(self) -> None:
        self.transaction.run("COMMIT")

    def roll_back(self) -> None:
        # After some errors SQLite has rolled back by itself.
        try:
            if self._connection.in_transaction:
                self._connection.execute("ROLLBACK")
        except sqlite3.Error as exc:
            if translated(exc) is None:
                raise

    def was_committed(self) -> bool:
        raise AssertionError("a commit of SQLite's is never in doubt")
