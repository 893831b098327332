"""SQL texts for SQLite, made once from SQLAlchemy statements and from bulk descriptions.

A text depends on the statement and on how many values its lists and rows have. Sizes are bucketed, so that
few prepared statements serve every size: a list is filled up to a power of two by repeating its last
value; rows are cut into a multiple of eight and a rest, two statements for up to 135 rows.
"""

from collections.abc import Iterator, Sequence
from itertools import chain
from typing import Any

from sqlalchemy.dialects.sqlite import dialect as sqlite_dialect
from sqlalchemy.sql.compiler import SQLCompiler
from sqlalchemy.sql.expression import ClauseElement

from storage.compiled_statements import CompiledStatements, row_maker
from storage.database import BulkInsert, BulkUpdate, Merge, Parameters

# More rows per statement gain nothing measurable and make texts of a hundred kB.
_ROWS_LIMIT = 128
_ROWS_STEP = 8
# SQLite is commonly built with at most 32,766 parameters for a statement.
_LIST_LIMIT = 32_768 // 2
_EMPTY_LIST = "SELECT 1 WHERE 1 = 0"


class Prepared:
    """One SQLAlchemy statement, compiled: gives the text and values for given parameters."""

    def __init__(self, statement: ClauseElement, column_keys: list[str] | None) -> None:
        compiled = statement.compile(dialect=sqlite_dialect(), column_keys=column_keys)
        assert isinstance(compiled, SQLCompiler)
        self._text = str(compiled)
        self._names: list[str] = list(compiled.positiontup or ())
        self._defaults = dict(compiled.params)
        self._has_lists = "__[POSTCOMPILE_" in self._text
        self._texts: dict[tuple[int, ...], str] = {}
        self.make_row = row_maker(compiled)

    def bind(self, parameters: Parameters | None) -> tuple[str, list[Any]]:
        """Return the SQL text and its positional values."""
        given = self._defaults if not parameters else {**self._defaults, **parameters}
        if not self._has_lists:
            return self._text, [given[name] for name in self._names]
        values: list[Any] = []
        sizes: list[int] = []
        for name in self._names:
            value = given[name]
            if isinstance(value, list | tuple):
                filled = _filled(value)
                sizes.append(len(filled))
                values.extend(filled)
            else:
                values.append(value)
        return self._expanded(tuple(sizes)), values

    def _expanded(self, sizes: tuple[int, ...]) -> str:
        text = self._texts.get(sizes)
        if text is None:
            text = self._text
            for size in sizes:
                start = text.index("__[POSTCOMPILE_")
                end = text.index("]", start) + 1
                text = text[:start] + (",".join("?" * size) or _EMPTY_LIST) + text[end:]
            self._texts[sizes] = text
        return text


class StatementCache(CompiledStatements[Prepared]):
    """The prepared statements and the bulk texts of one connection."""

    def __init__(self) -> None:
        super().__init__(Prepared)
        self._bulk: dict[tuple[BulkInsert | BulkUpdate, int], str] = {}

    def bulk(
        self, bulk: BulkInsert | BulkUpdate, rows: Sequence[Sequence[object]]
    ) -> Iterator[tuple[str, list[object]]]:
        """Yield the texts and values that together carry all `rows`."""
        for piece in _pieces(rows):
            key = (bulk, len(piece))
            text = self._bulk.get(key)
            if text is None:
                write = _insert_text if isinstance(bulk, BulkInsert) else _update_text
                text = self._bulk[key] = write(bulk, len(piece))  # type: ignore[arg-type]  # narrowed by the line above
            yield text, list(chain.from_iterable(piece))


def _filled(values: Sequence[Any]) -> Sequence[Any]:
    size = len(values)
    if size <= 1 or size & (size - 1) == 0:
        return values
    if size > _LIST_LIMIT:
        raise ValueError(f"A list of {size} values is too long for one statement.")
    return [*values, *[values[-1]] * ((1 << size.bit_length()) - size)]


def _pieces(rows: Sequence[Sequence[object]]) -> Iterator[Sequence[Sequence[object]]]:
    start, left = 0, len(rows)
    while left:
        size = min(left, _ROWS_LIMIT)
        if size > _ROWS_STEP:
            size -= size % _ROWS_STEP
        yield rows[start : start + size]
        start, left = start + size, left - size


def _insert_text(bulk: BulkInsert, rows: int) -> str:
    columns = ", ".join(f'"{name}"' for name in bulk.columns)
    text = f'INSERT INTO "{bulk.table.name}" ({columns}) VALUES {_places(len(bulk.columns), rows)}'
    if bulk.merge is None:
        return text
    if not bulk.merge:
        return f"{text} ON CONFLICT DO NOTHING"
    keys = ", ".join(f'"{column.name}"' for column in bulk.table.primary_key)
    merged = ", ".join(
        f'"{name}" = {_merged(bulk.table.name, name, rule)}' for name, rule in bulk.merge.items()
    )
    return f"{text} ON CONFLICT ({keys}) DO UPDATE SET {merged}"


def _merged(table: str, name: str, rule: Merge) -> str:
    old, new = f'"{table}"."{name}"', f'excluded."{name}"'
    match rule:
        case Merge.NEW:
            return new
        case Merge.SUM:
            return f"{old} + {new}"
        case Merge.GREATEST:
            return f"coalesce(max({old}, {new}), {new}, {old})"


def _update_text(bulk: BulkUpdate, rows: int) -> str:
    names = (*bulk.keys, *bulk.columns)
    given = ", ".join(f'"{name}"' for name in names)
    table = f'"{bulk.table.name}"'
    changed = ", ".join(f'"{name}" = given."{name}"' for name in bulk.columns)
    found = " AND ".join(f'{table}."{name}" = given."{name}"' for name in bulk.keys)
    # The values are named inside FROM: of a statement that begins with WITH the driver tells no count.
    return (
        f"UPDATE {table} SET {changed} FROM (WITH given ({given}) AS "
        f"(VALUES {_places(len(names), rows)}) SELECT * FROM given) AS given WHERE {found}"
    )


def _places(columns: int, rows: int) -> str:
    row = f"({','.join('?' * columns)})"
    return ",".join([row] * rows)
