"""Reading a table page by page, in the order of its primary key and in bounded memory.

A page is cut before it is read: first come the keys and sizes of the next rows, then the rows up
to the key at which the page is full. So one row may be as large as it is, but never a thousand of
them; and no statement takes long, however large the table.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

from sqlalchemy import (
    BigInteger,
    ColumnElement,
    Select,
    bindparam,
    cast,
    func,
    literal,
    select,
    tuple_,
)

from protocols.errors import Conflict
from storage.copying.tables import CopiedTable
from storage.database import Reader, Row

PAGE_ROWS: Final = 1_000
PAGE_BYTES: Final = 4 * 1024 * 1024


Bounds = Mapping[str, Any]
"""The parameters that find the rows of one page."""


class TablePages:
    """The statements for one table, and the loop over them."""

    def __init__(self, table: CopiedTable) -> None:
        self._keys = table.keys
        size: ColumnElement[Any] = literal(0)
        for column in table.wide:
            size = size + func.coalesce(func.length(column), 0)
        is_within = self._compare("last", is_after=False)
        sizes = select(*table.keys, cast(size, BigInteger).label("page_size"))
        self._sizes = self._both(sizes.order_by(*self._keys).limit(PAGE_ROWS))
        self._rows = self._both(select(*table.table.c).where(is_within).order_by(*self._keys))
        counts = select(func.count().label("rows")).select_from(table.table)
        self._counts = self._both(counts.where(is_within))

    def read(self, reader: Reader) -> Iterator[tuple[Bounds, Sequence[Row]]]:
        """Yield every row of the table once; each page fits in memory beside a few others."""
        after: Bounds = {}
        while (page := self._next_page(reader, after)) is not None:
            last, count = page
            bounds = {**after, **_named("last", last)}
            rows = reader.fetch_all(self._rows[bool(after)], bounds)
            if len(rows) != count:
                raise Conflict(f"A page of {count} rows was read as {len(rows)}.")
            yield bounds, rows
            after = _named("after", last)

    def count(self, reader: Reader, bounds: Bounds) -> int:
        """How many rows of this page are here."""
        row = reader.fetch_one(self._counts["after_0" in bounds], bounds)
        return 0 if row is None else int(row.rows)

    def _next_page(self, reader: Reader, after: Bounds) -> tuple[Sequence[Any], int] | None:
        """The key of the page's last row, and how many rows it has; None when nothing is left."""
        last: Sequence[Any] | None = None
        count = size = 0
        for row in reader.fetch_all(self._sizes[bool(after)], after):
            size += row.page_size
            if count and size > PAGE_BYTES:
                break
            last = [row[place] for place in range(len(self._keys))]
            count += 1
        return None if last is None else (last, count)

    def _both(self, statement: Select[Any]) -> tuple[Select[Any], Select[Any]]:
        """The statement for the first page, and the one for a page after another."""
        return statement, statement.where(self._compare("after", is_after=True))

    def _compare(self, prefix: str, *, is_after: bool) -> ColumnElement[bool]:
        bounds = [
            bindparam(f"{prefix}_{place}", type_=key.type) for place, key in enumerate(self._keys)
        ]
        left, right = (
            (self._keys[0], bounds[0])
            if len(bounds) == 1
            else (tuple_(*self._keys), tuple_(*bounds))
        )
        compared: ColumnElement[bool] = left > right if is_after else left <= right
        return compared


def _named(prefix: str, key: Sequence[Any]) -> Bounds:
    return {f"{prefix}_{place}": value for place, value in enumerate(key)}
