"""Which tables are copied, in which order, and what must not be carried over as it is."""

from collections.abc import Callable, Sequence
from typing import Any, Final

from sqlalchemy import Boolean, Column, LargeBinary, Table, Text, Uuid

from storage.database import BulkInsert, Merge, Row
from storage.tables import load_tables

# Only true of processes that run now.
_LEFT_BEHIND: Final = frozenset({"lease", "process", "process_order"})
# A claim of the source is nobody's in the target, and its starts have crashed nothing there.
_RESET: Final[dict[tuple[str, str], object]] = {
    ("journal_cursor", "holder"): None,
    ("journal_cursor", "starts"): 0,
}
# The migrations make its first row.
_MADE_BY_MIGRATIONS: Final = "journal_cursor"
# SQLite keeps a NUL within a text, PostgreSQL none: it becomes the replacement character.
_NUL, _REPLACEMENT = "\x00", "\ufffd"


class CopiedTable:
    """One table, with the way its rows go from one engine's values to any other's."""

    def __init__(self, table: Table) -> None:
        self.table = table
        self.name = table.name
        self.keys = tuple(table.primary_key)
        self.wide = tuple(
            column for column in table.c if isinstance(column.type, LargeBinary | Text)
        )
        names = tuple(column.name for column in table.c)
        merge = dict.fromkeys(names, Merge.NEW) if self.is_made_by_migrations else None
        self.insert = BulkInsert(table, names, merge)
        self.mended_texts = 0
        self._conversions = [
            (place, conversion)
            for place, column in enumerate(table.c)
            if (conversion := self._conversion(column)) is not None
        ]

    @property
    def is_made_by_migrations(self) -> bool:
        return self.name == _MADE_BY_MIGRATIONS

    def values(self, rows: Sequence[Row]) -> list[Sequence[object]]:
        """The rows as any engine takes them."""
        converted: list[Sequence[object]] = []
        for row in rows:
            values: list[object] = list(row)  # type: ignore[call-overload]  # rows are tuples
            for place, conversion in self._conversions:
                if values[place] is not None:
                    values[place] = conversion(values[place])
            converted.append(values)
        return converted

    def _conversion(self, column: Column[Any]) -> Callable[[Any], object] | None:
        reset = (self.name, column.name)
        if reset in _RESET:
            return lambda _value: _RESET[reset]
        match column.type:
            case Boolean():
                return bool
            case LargeBinary():
                return bytes
            case Uuid():
                return str
            case Text():
                return self._text
        return None

    def _text(self, value: str) -> str:
        if _NUL not in value:
            return value
        self.mended_texts += 1
        return value.replace(_NUL, _REPLACEMENT)


def copied_tables() -> list[CopiedTable]:
    """Every table whose rows move, parents before children."""
    return [
        CopiedTable(table)
        for table in load_tables().sorted_tables
        if table.name not in _LEFT_BEHIND
    ]
