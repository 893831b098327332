"""A page of a list: sorted over the whole filtered set, and counted over the whole of it."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from sqlalchemy import ColumnElement, Select, func

from protocols.errors import InvalidInput
from storage.database import Reader, Row

T = TypeVar("T")


@dataclass(frozen=True, slots=True, kw_only=True)
class Page:
    """Which part of a list is wanted. `order_on` is a name of the API; None sorts by id."""

    limit: int = 100
    offset: int = 0
    order_on: str | None = None
    is_descending: bool = False


@dataclass(frozen=True, slots=True)
class PageOf(Generic[T]):
    """The rows of a page, and how many the whole list has."""

    rows: list[T]
    total: int


def fetch_page(
    reader: Reader,
    statement: Select[Any],
    page: Page,
    *,
    sortable: Mapping[str, ColumnElement[Any]],
    row_id: ColumnElement[int],
    build: Callable[[Row], T],
    counted: Select[Any] | None = None,
) -> PageOf[T]:
    """Run `statement` for one page.

    `statement` selects `row_id` as `id`. It breaks ties, so that pages neither repeat nor leave out
    a row. `counted` finds as many rows as `statement` with fewer joins, where that is possible:
    engines leave out a join that nothing asks for, but not when they count.

    Raises: InvalidInput when `order_on` is not among `sortable`.
    """
    total = count(reader, statement if counted is None else counted)
    order = [_order(column, page) for column in _order_columns(page, sortable, row_id)]
    # The ids first: an index alone gives them, also deep into the list; rows are read for the page.
    wanted = (
        statement.with_only_columns(row_id, maintain_column_froms=True)
        .order_by(*order)
        .limit(page.limit)
        .offset(page.offset)
    )
    ids = [row[0] for row in reader.fetch_all(wanted)]
    rows = reader.fetch_all(statement.where(row_id.in_(ids))) if ids else []
    found = {row.id: build(row) for row in rows}
    return PageOf([found[wanted_id] for wanted_id in ids], total)


def count(reader: Reader, statement: Select[Any]) -> int:
    """How many rows `statement` finds."""
    row = reader.fetch_one(
        statement.with_only_columns(func.count(), maintain_column_froms=True).order_by(None)
    )
    assert row is not None
    return int(row[0])


def _order_columns(
    page: Page, sortable: Mapping[str, ColumnElement[Any]], row_id: ColumnElement[int]
) -> list[ColumnElement[Any]]:
    if page.order_on is None or page.order_on == "id":
        return [row_id]
    try:
        return [sortable[page.order_on], row_id]
    except KeyError as exc:
        names = ", ".join(["id", *sortable])
        raise InvalidInput(
            f"This list cannot be sorted on that field; use one of {names}."
        ) from exc


def _order(column: ColumnElement[Any], page: Page) -> ColumnElement[Any]:
    return column.desc() if page.is_descending else column.asc()
