"""SQLAlchemy statements, compiled once for an engine, and the rows that they give."""

from collections import namedtuple
from collections.abc import Callable, Iterable
from typing import Any, Generic, TypeVar, cast
from weakref import WeakKeyDictionary

from sqlalchemy.sql.compiler import SQLCompiler
from sqlalchemy.sql.dml import Insert, Update
from sqlalchemy.sql.expression import ClauseElement

from storage.database import Parameters

P = TypeVar("P")


class CompiledStatements(Generic[P]):
    """What `build` made of statements. Not for several threads: each connection has its own.

    Statements built per request are forgotten with their last use.
    """

    def __init__(self, build: Callable[[ClauseElement, list[str] | None], P]) -> None:
        self._build = build
        self._prepared: WeakKeyDictionary[ClauseElement, dict[Any, P]] = WeakKeyDictionary()

    def prepare(self, statement: ClauseElement, parameters: Parameters | None) -> P:
        variants = self._prepared.get(statement)
        if variants is None:
            variants = self._prepared[statement] = {}
        # The columns of an INSERT or UPDATE without values are those that are given.
        keys = tuple(parameters) if parameters and isinstance(statement, Insert | Update) else None
        prepared = variants.get(keys)
        if prepared is None:
            prepared = variants[keys] = self._build(statement, list(keys) if keys else None)
        return prepared


def row_maker(compiled: SQLCompiler) -> Callable[[Iterable[Any]], Any] | None:
    """Return what makes a row of a statement's values, or None when it has no rows."""
    columns = [column.keyname for column in compiled._result_columns]
    if not columns:
        return None
    # rename: a label that is no identifier is reached by its place.
    row: Any = namedtuple("Row", columns, rename=True)  # type: ignore[misc]
    return cast("Callable[[Iterable[Any]], Any]", row._make)
