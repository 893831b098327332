"""What a write unit is given: reading and writing over the writer's session."""

import io
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Final

from psycopg2.extensions import TRANSACTION_STATUS_INERROR
from sqlalchemy import Integer, Table, insert
from sqlalchemy.sql.expression import ClauseElement

from protocols.errors import StorageUnavailable
from storage.database import BulkInsert, BulkUpdate, Parameters, Row
from storage.group_commit import TransactionSpoiled
from storage.postgresql.copying import copy_text
from storage.postgresql.errors import translated
from storage.postgresql.statements import BulkText, StatementCache, flattened
from storage.postgresql.watch import Waiting

# From so many rows on COPY costs this process less than a statement with the values in it: measured by
# `benchmarks/bench_postgresql.py`. By way of a staging table it has two more statements to pay off.
COPY_FROM_ROWS: Final = 4
STAGE_FROM_ROWS: Final = 64

_IN_FAILED_TRANSACTION: Final = "25P02"


class PostgresqlTransaction:
    """Implements `Transaction`. One for a writer's life; the session beneath it may be replaced."""

    def __init__(self, ledger_shard: int) -> None:
        self.ledger_shard = ledger_shard
        self.outage: StorageUnavailable | None = None
        """The first error in this transaction that is nobody's fault, also when a unit hid it."""
        self.waiting = Waiting()
        self._statements = StatementCache()
        self._inserts: dict[str, Any] = {}
        self._connection: Any = None
        self._cursor: Any = None
        self._depth = 0
        # Staging tables live as long as the session, if the transaction that made them was committed.
        self._staged: set[str] = set()
        self._staged_here: set[str] = set()
        self._filled_here: set[str] = set()

    def attach(self, connection: Any) -> None:
        """Go on over another session."""
        self._connection = connection
        self._cursor = connection.cursor()
        self._staged.clear()

    def began(self) -> None:
        self.outage = None
        self._depth = 0
        self._staged_here.clear()
        self._filled_here.clear()

    def committed(self) -> None:
        self._staged |= self._staged_here

    def fetch_all(
        self, statement: ClauseElement, parameters: Parameters | None = None
    ) -> list[Row]:
        prepared = self._statements.prepare(statement, parameters)
        rows = self.run(prepared.text, prepared.values(parameters)).fetchall()
        return list(map(prepared.make_row, rows)) if prepared.make_row else rows

    def fetch_one(
        self, statement: ClauseElement, parameters: Parameters | None = None
    ) -> Row | None:
        rows = self.fetch_all(statement, parameters)
        return rows[0] if rows else None

    def execute(self, statement: ClauseElement, parameters: Parameters | None = None) -> int:
        prepared = self._statements.prepare(statement, parameters)
        return int(self.run(prepared.text, prepared.values(parameters)).rowcount)

    def insert(self, table: Table, values: Parameters) -> int:
        statement = self._inserts.get(table.name)
        if statement is None:
            keys = [key for key in table.primary_key if isinstance(key.type, Integer)]
            # Where the key is no number, or several, there is no id to tell.
            statement = insert(table) if len(keys) != 1 else insert(table).returning(*keys)
            self._inserts[table.name] = statement
        prepared = self._statements.prepare(statement, values)
        cursor = self.run(prepared.text, prepared.values(values))
        return int(cursor.fetchone()[0]) if prepared.make_row else 0

    def insert_many(self, insert: BulkInsert, rows: Sequence[Sequence[object]]) -> None:
        self._write_many(self._statements.bulk(insert), rows)

    def update_many(self, update: BulkUpdate, rows: Sequence[Sequence[object]]) -> int:
        return self._write_many(self._statements.bulk(update), rows)

    @contextmanager
    def savepoint(self) -> Iterator[None]:
        name = f"unit_{self._depth}"
        self.run(f"SAVEPOINT {name}")
        self._depth += 1
        try:
            yield
            self.check_sound()
        except BaseException:
            # A staging table that was made since is gone; rows in an older one may have come back.
            self._staged_here.clear()
            if self.outage is None:
                self.run(f"ROLLBACK TO {name}; RELEASE {name}")
            raise
        else:
            self.run(f"RELEASE {name}")
        finally:
            self._depth -= 1

    def check_sound(self) -> None:
        """Raises TransactionSpoiled when an error was caught outside a savepoint."""
        if self._connection.get_transaction_status() == TRANSACTION_STATUS_INERROR:
            raise TransactionSpoiled(
                "A unit caught an error of the database outside a savepoint and went on."
            )

    def run(self, text: str, values: object = None) -> Any:
        """Run a statement; return the cursor."""
        self._guarded(lambda: self._cursor.execute(text, values))
        return self._cursor

    def _write_many(self, text: BulkText, rows: Sequence[Sequence[object]]) -> int:
        count = len(rows)
        if not count:
            return 0
        if count < (COPY_FROM_ROWS if text.is_plain else STAGE_FROM_ROWS):
            return int(self.run(text.with_values(count), flattened(rows)).rowcount)
        data = copy_text(text.encoders, rows)
        if text.is_plain:
            self._copy(text.copy_to_table, data)
            return count
        self._make_staging(text)
        self._copy(text.copy_to_staging, data)
        return int(self.run(text.from_staging()).rowcount)

    def _make_staging(self, text: BulkText) -> None:
        name = text.staging
        if name not in self._staged and name not in self._staged_here:
            self.run(text.create_staging)
            self._staged_here.add(name)
        if name in self._filled_here:
            self.run(f"DELETE FROM {name}")
        self._filled_here.add(name)

    def _copy(self, text: str, data: bytes) -> None:
        # One piece: a process that is stopped between two of them would hold the server up.
        self._guarded(lambda: self._cursor.copy_expert(text, io.BytesIO(data), len(data)))

    def _guarded(self, action: Callable[[], object]) -> None:
        try:
            with self.waiting:
                action()
        except Exception as exc:
            if getattr(exc, "pgcode", None) == _IN_FAILED_TRANSACTION:
                self.check_sound()
            ours = translated(exc)
            if ours is None:
                raise
            if isinstance(ours, StorageUnavailable) and self.outage is None:
                self.outage = ours
            raise ours from exc
