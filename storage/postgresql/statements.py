"""SQL texts for PostgreSQL, made once from SQLAlchemy statements and from bulk descriptions.

Values are put into the text by the driver, so a literal without a type takes that of the column beside
it. A list becomes an array of its column's type: `= ANY` takes any length, none included.
"""

import re
from collections.abc import Sequence
from typing import Any, Final

from sqlalchemy.dialects.postgresql.psycopg2 import dialect as psycopg2_dialect
from sqlalchemy.sql.compiler import SQLCompiler
from sqlalchemy.sql.expression import ClauseElement

from storage.compiled_statements import CompiledStatements, row_maker
from storage.database import BulkInsert, BulkUpdate, Merge, Parameters
from storage.postgresql.copying import Encoder, encoders_of

_DIALECT: Final = psycopg2_dialect()  # type: ignore[no-untyped-call]  # as SQLAlchemy has it
_LIST: Final = re.compile(r"(NOT )?IN \(__\[POSTCOMPILE_(\w+)\]\)")


class Prepared:
    """One SQLAlchemy statement, compiled: gives the values that go into its text."""

    def __init__(self, statement: ClauseElement, column_keys: list[str] | None) -> None:
        compiled = statement.compile(dialect=_DIALECT, column_keys=column_keys)
        assert isinstance(compiled, SQLCompiler)
        self._defaults = dict(compiled.params)
        self.text = _LIST.sub(lambda found: _array(compiled, found), str(compiled))
        self.make_row = row_maker(compiled)

    def values(self, parameters: Parameters | None) -> dict[str, Any]:
        values = {**self._defaults, **parameters} if parameters else self._defaults
        return {
            name: list(value) if isinstance(value, tuple) else value
            for name, value in values.items()
        }


class BulkText:
    """How one bulk description is written: in a statement with its values, or by COPY."""

    def __init__(self, bulk: BulkInsert | BulkUpdate, number: int) -> None:
        table = bulk.table
        names = bulk.columns if isinstance(bulk, BulkInsert) else (*bulk.keys, *bulk.columns)
        columns = ", ".join(map(_quoted, names))
        self.encoders: list[Encoder] = encoders_of(table, names)
        self.staging = f"staging_{number}_{table.name}"
        self._row = f"({','.join(['%s'] * len(names))})"
        types = [table.c[name].type.compile(dialect=_DIALECT) for name in names]
        self._first_row = f"({','.join(f'%s::{one}' for one in types)})"
        self.create_staging = (
            f"CREATE TEMPORARY TABLE IF NOT EXISTS {self.staging} "
            f"({', '.join(f'{_quoted(name)} {one}' for name, one in zip(names, types, strict=True))}) "
            "ON COMMIT DELETE ROWS"
        )
        self.copy_to_staging = f"COPY {self.staging} ({columns}) FROM STDIN"
        self.copy_to_table = f"COPY {_quoted(table.name)} ({columns}) FROM STDIN"
        if isinstance(bulk, BulkInsert):
            self.is_plain = bulk.merge is None
            self._head = f"INSERT INTO {_quoted(table.name)} ({columns}) "
            self._tail = _on_conflict(bulk)
        else:
            self.is_plain = False
            self._head, self._tail = _update_around(bulk, columns)
        self._is_update = isinstance(bulk, BulkUpdate)
        self._texts: dict[int, str] = {}

    def with_values(self, rows: int) -> str:
        """Return the statement that carries so many rows itself."""
        text = self._texts.get(rows)
        if text is None:
            text = self._texts[rows] = self._write(rows)
        return text

    def from_staging(self) -> str:
        """Return the statement that takes its rows from the staging table."""
        given = f"(SELECT * FROM {self.staging})" if self._is_update else f"TABLE {self.staging}"
        return f"{self._head}{given}{self._tail}"

    def _write(self, rows: int) -> str:
        # The types of the first row are those of all: in an UPDATE no column beside them tells.
        first = self._first_row if self._is_update else self._row
        places = ",".join([first, *[self._row] * (rows - 1)])
        given = f"(VALUES {places})" if self._is_update else f"VALUES {places}"
        return f"{self._head}{given}{self._tail}"


class StatementCache(CompiledStatements[Prepared]):
    """The prepared statements and the bulk texts of one connection."""

    def __init__(self) -> None:
        super().__init__(Prepared)
        self._bulk: dict[BulkInsert | BulkUpdate, BulkText] = {}

    def bulk(self, bulk: BulkInsert | BulkUpdate) -> BulkText:
        # The merge is no part of a description's hash, but of its equality.
        text = self._bulk.get(bulk)
        if text is None:
            text = self._bulk[bulk] = BulkText(bulk, len(self._bulk))
        return text


def _array(compiled: SQLCompiler, found: "re.Match[str]") -> str:
    negated, name = found.groups()
    sql_type = compiled.binds[name].type.compile(dialect=_DIALECT)
    test = "<> ALL" if negated else "= ANY"
    return f"{test}(%({name})s::{sql_type}[])"


def _on_conflict(bulk: BulkInsert) -> str:
    if bulk.merge is None:
        return ""
    if not bulk.merge:
        return " ON CONFLICT DO NOTHING"
    keys = ", ".join(_quoted(column.name) for column in bulk.table.primary_key)
    merged = ", ".join(
        f"{_quoted(name)} = {_merged(bulk.table.name, name, rule)}"
        for name, rule in bulk.merge.items()
    )
    return f" ON CONFLICT ({keys}) DO UPDATE SET {merged}"


def _merged(table: str, name: str, rule: Merge) -> str:
    old, new = f"{_quoted(table)}.{_quoted(name)}", f"excluded.{_quoted(name)}"
    match rule:
        case Merge.NEW:
            return new
        case Merge.SUM:
            return f"{old} + {new}"
        case Merge.GREATEST:
            # Unlike SQLite's max, it passes over NULL by itself.
            return f"greatest({old}, {new})"


def _update_around(bulk: BulkUpdate, given: str) -> tuple[str, str]:
    table = _quoted(bulk.table.name)
    changed = ", ".join(f"{_quoted(name)} = given.{_quoted(name)}" for name in bulk.columns)
    found = " AND ".join(f"{table}.{_quoted(name)} = given.{_quoted(name)}" for name in bulk.keys)
    return f"UPDATE {table} SET {changed} FROM ", f" AS given ({given}) WHERE {found}"


def _quoted(name: str) -> str:
    return f'"{name}"'


def flattened(rows: Sequence[Sequence[object]]) -> list[object]:
    """Return the values of all rows, one after the other."""
    return [value for row in rows for value in row]
