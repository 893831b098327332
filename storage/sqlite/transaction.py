"""What a unit is given: reading and writing over one `sqlite3` connection."""

import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from sqlalchemy import Table, insert
from sqlalchemy.sql.expression import ClauseElement

from protocols.errors import StorageUnavailable
from storage.database import BulkInsert, BulkUpdate, Parameters, Row
from storage.sqlite.errors import translated
from storage.sqlite.statements import StatementCache


class SqliteReader:
    """Implements `Reader`."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection
        self._statements = StatementCache()
        self.outage: StorageUnavailable | None = None
        """The first error in this transaction that is nobody's fault, also when a unit hid it."""

    def fetch_all(
        self, statement: ClauseElement, parameters: Parameters | None = None
    ) -> list[Row]:
        prepared = self._statements.prepare(statement, parameters)
        text, values = prepared.bind(parameters)
        rows = self._run(text, values, is_query=True)
        return list(map(prepared.make_row, rows)) if prepared.make_row else rows

    def fetch_one(
        self, statement: ClauseElement, parameters: Parameters | None = None
    ) -> Row | None:
        rows = self.fetch_all(statement, parameters)
        return rows[0] if rows else None

    @property
    def is_in_transaction(self) -> bool:
        return self._connection.in_transaction

    def run(self, text: str) -> None:
        """Run a statement of the engine's own (BEGIN, COMMIT, SAVEPOINT)."""
        self._run(text, ())

    def _run(self, text: str, values: Sequence[object], *, is_query: bool = False) -> Any:
        try:
            cursor = self._connection.execute(text, values)
            return cursor.fetchall() if is_query else cursor
        except Exception as exc:
            ours = translated(exc)
            if ours is None:
                raise
            if isinstance(ours, StorageUnavailable) and self.outage is None:
                self.outage = ours
            raise ours from exc


class SqliteTransaction(SqliteReader):
    """Implements `Transaction`."""

    # One process writes a file, so nobody waits for its rows.
    ledger_shard = 0

    def __init__(self, connection: sqlite3.Connection) -> None:
        super().__init__(connection)
        self._depth = 0
        self._inserts: dict[str, Any] = {}

    def execute(self, statement: ClauseElement, parameters: Parameters | None = None) -> int:
        text, values = self._statements.prepare(statement, parameters).bind(parameters)
        return int(self._run(text, values).rowcount)

    def insert(self, table: Table, values: Parameters) -> int:
        statement = self._inserts.get(table.name)
        if statement is None:
            statement = self._inserts[table.name] = insert(table)
        text, bound = self._statements.prepare(statement, values).bind(values)
        return int(self._run(text, bound).lastrowid)

    def insert_many(self, insert: BulkInsert, rows: Sequence[Sequence[object]]) -> None:
        for text, values in self._statements.bulk(insert, rows):
            self._run(text, values)

    def update_many(self, update: BulkUpdate, rows: Sequence[Sequence[object]]) -> int:
        found = 0
        for text, values in self._statements.bulk(update, rows):
            found += self._run(text, values).rowcount
        return found

    @contextmanager
    def savepoint(self) -> Iterator[None]:
        name = f"unit_{self._depth}"
        self.run(f"SAVEPOINT {name}")
        self._depth += 1
        try:
            yield
        except BaseException:
            # After a full disk SQLite may have rolled everything back by itself.
            if self.is_in_transaction:
                self.run(f"ROLLBACK TO {name}")
                self.run(f"RELEASE {name}")
            raise
        else:
            self.run(f"RELEASE {name}")
        finally:
            self._depth -= 1
