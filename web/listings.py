"""A page of rows as lists answer it."""

from collections.abc import Callable, Mapping
from typing import Any, TypeVar

from storage.repositories import PageOf

T = TypeVar("T")


def listing(page: PageOf[T], show: Callable[[T], Any] | None = None) -> Mapping[str, Any]:
    """`{data, count}`; with `show`, each row as that makes it."""
    rows: list[Any] = [show(row) for row in page.rows] if show else list(page.rows)
    return {"data": rows, "count": page.total}
