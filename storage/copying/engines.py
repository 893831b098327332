"""What a copy has to know of each engine beyond the contract: its limits, and the ids that it gave.

Ids are never given twice: messages, deliveries and the audit log name what they were about by
id, long after it was deleted. So a copy must go on behind the last id given, not behind the greatest.
"""

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from enum import StrEnum
from typing import Any, Final

from sqlalchemy import (
    BigInteger,
    Boolean,
    ColumnElement,
    Table,
    Text,
    bindparam,
    column,
    func,
    insert,
    literal_column,
    select,
    table,
    text,
    update,
)

from storage.database import Reader, Transaction
from storage.tables import load_tables

# Of SQLite's own making, so none of our tables.
_sequences: Final = table("sqlite_sequence", column("name", Text), column("seq", BigInteger))
_SELECT_SEQUENCES: Final = select(_sequences.c.name, _sequences.c.seq)
_RAISE_SEQUENCE: Final = (
    update(_sequences)
    .where(_sequences.c.name == bindparam("of_table"))
    .values(seq=func.max(_sequences.c.seq, bindparam("last", type_=BigInteger)))
)
_SELECT_STATE: Final = select(
    literal_column("last_value", BigInteger), literal_column("is_called", Boolean)
)
# The last argument: for this transaction only.
_NEVER_IDLE: Final = select(func.set_config("idle_in_transaction_session_timeout", "0", True))


class EngineKind(StrEnum):
    """Which engine a URL names."""

    SQLITE = "sqlite"
    POSTGRESQL = "postgresql"


class Particulars(ABC):
    """Its methods run inside units."""

    @abstractmethod
    def lift_limits(self, reader: Reader) -> None:
        """Let this unit take its time: while one side of a copy works, the other is idle."""

    @abstractmethod
    def last_ids(self, reader: Reader) -> dict[str, int]:
        """The last id given, by table; tables that never gave one may be missing."""

    @abstractmethod
    def go_on_behind(self, transaction: Transaction, last_ids: Mapping[str, int]) -> None:
        """Give no id of these tables again, up to the given ones and up to those that stand there."""


def particulars_of(kind: EngineKind) -> Particulars:
    return SqliteParticulars() if kind is EngineKind.SQLITE else PostgresqlParticulars()


class SqliteParticulars(Particulars):
    """AUTOINCREMENT tables remember in `sqlite_sequence`; the others go on behind their greatest row."""

    def lift_limits(self, reader: Reader) -> None:
        """There are none."""

    def last_ids(self, reader: Reader) -> dict[str, int]:
        remembered = {row.name: int(row.seq) for row in reader.fetch_all(_SELECT_SEQUENCES)}
        return _greatest(reader) | remembered

    def go_on_behind(self, transaction: Transaction, last_ids: Mapping[str, int]) -> None:
        for one, _key in _numbered():
            last = last_ids.get(one.name)
            if last is None or not one.dialect_options["sqlite"]["autoincrement"]:
                continue
            if not transaction.execute(_RAISE_SEQUENCE, {"of_table": one.name, "last": last}):
                transaction.execute(insert(_sequences), {"name": one.name, "seq": last})


class PostgresqlParticulars(Particulars):
    """Each table has a sequence of its own."""

    def lift_limits(self, reader: Reader) -> None:
        reader.fetch_all(_NEVER_IDLE)

    def last_ids(self, reader: Reader) -> dict[str, int]:
        found: dict[str, int] = {}
        for one, key in _numbered():
            row = reader.fetch_one(select(_sequence_of(one, key).label("sequence")))
            if row is None or row.sequence is None:
                continue
            last = reader.fetch_one(_SELECT_STATE.select_from(text(row.sequence)))
            if last is not None and last.is_called:
                found[one.name] = int(last.last_value)
        return found

    def go_on_behind(self, transaction: Transaction, last_ids: Mapping[str, int]) -> None:
        greatest = _greatest(transaction)
        for one, key in _numbered():
            last = max(greatest.get(one.name, 0), last_ids.get(one.name, 0))
            if last:
                given = bindparam("last", type_=BigInteger)
                raised = select(func.setval(_sequence_of(one, key), given))
                transaction.fetch_one(raised, {"last": last})


def _numbered() -> Iterator[tuple[Table, str]]:
    """The tables whose rows are numbered by the database, each with the column of the number."""
    for one in load_tables().sorted_tables:
        if one.autoincrement_column is not None:
            yield one, one.autoincrement_column.name


def _greatest(reader: Reader) -> dict[str, int]:
    found: dict[str, int] = {}
    for one, key in _numbered():
        row = reader.fetch_one(select(func.max(one.c[key]).label("greatest")))
        if row is not None and row.greatest is not None:
            found[one.name] = int(row.greatest)
    return found


def _sequence_of(one: Table, key: str) -> ColumnElement[Any]:
    return func.pg_get_serial_sequence(one.name, key)
