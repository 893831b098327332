"""Reading a table page by page, in the order of its primary key and in bounded memory.

A page is cut before it is read: first come the keys and sizes of the next rows, then the rows up
to the key at which the page is full. So one row may be as large as it is, but never a thousand of them.
"""

from collections.abc import Iterator, Sequence
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

from storage.copying.tables import CopiedTable
from storage.database import Reader, Row

PAGE_ROWS: Final = 1_000
PAGE_BYTES: Final = 4 * 1024 * 1024


class TablePages:
    """The statements for one table, and the loop over them."""

    def __init__(self, table: CopiedTable) -> None:
        self._keys = table.keys
        size: ColumnElement[Any] = literal(0)
        for column in table.wide:
            size = size + func.coalesce(func.length(column), 0)
        sizes = select(*table.keys, cast(size, BigInteger).label("page_size")).limit(PAGE_ROWS)
        rows = select(*table.table.c).where(self._compare("last", is_after=False))
        self._sizes = self._both(sizes)
        self._rows = self._both(rows)

    def read(self, reader: Reader) -> Iterator[Sequence[Row]]:
        """Yield every row of the table once; each page fits in memory beside a few others."""
        after: Sequence[Any] | None = None
        while (last := self._last_of_page(reader, after)) is not None:
            statement = self._rows[after is not None]
            yield reader.fetch_all(statement, {**_named("last", last), **_named("after", after)})
            after = last

    def _last_of_page(self, reader: Reader, after: Sequence[Any] | None) -> Sequence[Any] | None:
        """The key of the page's last row; None when nothing is left."""
        statement = self._sizes[after is not None]
        last, size = None, 0
        for row in reader.fetch_all(statement, _named("after", after)):
            size += row.page_size
            if last is not None and size > PAGE_BYTES:
                break
            last = [row[place] for place in range(len(self._keys))]
        return last

    def _both(self, statement: Select[Any]) -> tuple[Select[Any], Select[Any]]:
        """The statement for the first page, and the one for a page after another."""
        ordered = statement.order_by(*self._keys)
        return ordered, ordered.where(self._compare("after", is_after=True))

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


def _named(prefix: str, key: Sequence[Any] | None) -> dict[str, Any]:
    return {f"{prefix}_{place}": value for place, value in enumerate(key or ())}
