"""The contract of a database engine, and the words in which work is handed to it.

Work is handed over as a *unit*: a plain function that gets a `Reader` or a `Transaction` and runs
on a thread of the engine. Theory of operation:

* Write units that wait while a commit is under way are run one after the other and committed
  together (group commit, without a timer). A caller's `write` resolves after that commit has
  reached the disk; many callers share the price of one fsync.
* A unit **may be run more than once**: when another unit of its group fails, or when the disk is
  full and the group is tried again. It must therefore do nothing but read and write through the transaction
  that it is given, and build its result anew each time.
* A unit that raises is rolled back alone and its error is raised to its own caller only.
* A unit that catches an error of the database does so around a `savepoint`: some engines take nothing
  more in a transaction that failed, and then the unit fails as a whole.
* A read unit may run on the loop itself, and once more after a lost connection: it must not block, and
  must not wait for anything but the reader.
* While the database cannot be written (disk full, locked, I/O error) the whole group is tried
  again with back-off, nothing resolves, and `health()` says why.

Each statement costs a release of the interpreter's lock and, under load, a wait to have it back. So write
few statements for many rows: `insert_many`, `update_many`, and lists in `IN`.
"""

from abc import ABC, abstractmethod
from asyncio import Future
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Any, Protocol, TypeVar

from sqlalchemy import Table
from sqlalchemy.sql.expression import ClauseElement

T = TypeVar("T")

Parameters = Mapping[str, object]


class Row(Protocol):
    """One row: a named tuple whose fields are the labels of the selected columns."""

    # The driver's values are untyped: this is the fence where they become typed again.
    def __getattr__(self, name: str, /) -> Any: ...
    def __getitem__(self, index: int, /) -> Any: ...
    def _asdict(self) -> dict[str, Any]: ...


class Merge(StrEnum):
    """What becomes of a column when a row with the same key is already there."""

    NEW = "new"
    """The new value replaces the old."""
    SUM = "sum"
    """The new value is added to the old."""
    GREATEST = "greatest"
    """The greater of both stays; NULL counts as the smallest."""


@dataclass(frozen=True, slots=True)
class BulkInsert:
    """Many rows into one table: `columns` name the places of each row's tuple, in order.

    `merge` decides what happens to a row whose primary key exists: None refuses it (`Conflict`), a
    mapping treats the named columns as it says and leaves the others alone (an empty mapping skips
    the row). Make it once, at import: the engine keeps the prepared statement for it. With `merge`
    the same key must not stand twice in one call.
    """

    table: Table
    columns: tuple[str, ...]
    merge: Mapping[str, Merge] | None = field(default=None, hash=False)


@dataclass(frozen=True, slots=True)
class BulkUpdate:
    """Many rows of one table, each with values of its own: a row is `keys` then `columns`, in order.

    A row is found when all its `keys` are equal; several rows of one call must not find the same.
    """

    table: Table
    keys: tuple[str, ...]
    columns: tuple[str, ...]


class Reader(Protocol):
    """Reads from one consistent snapshot. Synchronous, on a thread or in a greenlet of the engine's.

    Parameters are given by name. A parameter whose value is a list stands for an `IN` list
    (`column.in_(bindparam("ids", expanding=True))`); it may be empty.

    Raises (every method here and in `Transaction`):
        StorageUnavailable: the engine retries; let it pass.
        Conflict: a unique or foreign key forbids it.
        RowRefused: a value that the database cannot take.
    """

    def fetch_all(
        self, statement: ClauseElement, parameters: Parameters | None = None
    ) -> list[Row]: ...

    def fetch_one(
        self, statement: ClauseElement, parameters: Parameters | None = None
    ) -> Row | None: ...


class Transaction(Reader, Protocol):
    """Reads and writes inside the group's transaction; sees its own changes."""

    @property
    def ledger_shard(self) -> int:
        """Which of the ledger's rows of an organization this process adds to."""

    def execute(self, statement: ClauseElement, parameters: Parameters | None = None) -> int:
        """Run one statement; return how many rows it touched."""

    def insert(self, table: Table, values: Parameters) -> int:
        """Insert one row; return its integer id, which means nothing for a table of other keys."""

    def insert_many(self, insert: BulkInsert, rows: Sequence[Sequence[object]]) -> None:
        """Insert all `rows` with as few statements as can be."""

    def update_many(self, update: BulkUpdate, rows: Sequence[Sequence[object]]) -> int:
        """Update all `rows` with as few statements as can be; return how many were found."""

    def savepoint(self) -> AbstractContextManager[None]:
        """Undo what was written inside the `with` when it is left by an error, which goes on."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DatabaseHealth:
    """Whether the database can be written. `reason` is a sentence for operators."""

    is_ok: bool
    reason: str | None = None
    since: datetime | None = None


class Database(ABC):
    """One database with its connections. Made by `open_database`, used from one event loop."""

    @abstractmethod
    async def open(self) -> None:
        """Open it, bring the schema up to date and start the threads.

        Raises:
            StorageUnavailable: it cannot be opened or is in use; the sentence says what to do.
            SchemaMismatch: it was written by a newer version, or migrating is not allowed here.
        """

    @abstractmethod
    async def close(self) -> None:
        """Commit what was handed over, then stop. A second call does nothing."""

    @abstractmethod
    async def read(self, unit: Callable[[Reader], T]) -> T:
        """Run `unit` over one snapshot, which holds all that was committed.

        Raises:
            StorageUnavailable: it is closed or cannot be read.
        """

    @abstractmethod
    def submit(self, unit: Callable[[Transaction], T]) -> "Future[T]":
        """Hand a write unit over; the future resolves on the loop after the commit.

        Units are run in the order in which they were handed over. Cancelling the future does not
        take the unit back.
        """

    async def write(self, unit: Callable[[Transaction], T]) -> T:
        """Run `unit` in the next group commit and return its result after the commit.

        Raises:
            StorageUnavailable: it was closed before the unit could be committed.
        """
        return await self.submit(unit)

    @abstractmethod
    def health(self) -> DatabaseHealth:
        """Say whether commits succeed at present. Cheap; may be called from any thread."""

    @abstractmethod
    def free_bytes(self) -> int | None:
        """Return the room left where the data lies, or None where that cannot be known."""
