"""Leases: which process may act for a thing that must exist once, and for how long.

A lease is a row: its holder, an *epoch* that rises with every change of holder, and an instant until
which nobody else may have it. Theory of operation:

* All instants in the row are the database's own clock. A holder never compares them with a clock of
  its own: it knows how long a lease is granted for, and counts that from just before the granting
  statement was sent. Its view therefore ends before the row's, however long the answer took.
* A lease that has run out and that nobody took is still its holder's: renewing it keeps the epoch.
* What is written in the name of a lease names its epoch, and `check_lease` compares that with the
  row, and holds the row, in the transaction that writes. A holder that was overtaken without
  noticing writes nothing.
* Several processes may claim at once. Each takes rows that no other is just taking, and a row that
  was taken meanwhile is seen as such, at READ COMMITTED already.

The database's clock must not be set forward by hand: all leases run out together then, and for a
moment a thing may be acted for twice. Nothing is recorded twice even so.
"""

import time
from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass
from typing import Any, Final

from sqlalchemy import BindParameter, ColumnElement, bindparam, delete, or_, select, update

from protocols.errors import LeaseLost
from storage.database import BulkInsert, BulkUpdate, Database, Reader, Row, Transaction
from storage.database_clock import database_now
from storage.processes import LOST_AFTER_S, ProcessRole
from storage.tables.fleet import lease, process

_US_PER_S: Final = 1_000_000
# Two clocks do not run equally fast, and SQLite's tells milliseconds only.
_CLOCK_MARGIN_S: Final = 0.1
_WORKER_LOST_AFTER_US: Final = int(LOST_AFTER_S * _US_PER_S)

_names: BindParameter[Any] = bindparam("names", expanding=True)
_me: BindParameter[Any] = bindparam("me")

_INSERT = BulkInsert(lease, ("name",), {})
_KNOWN = select(lease.c.name).where(lease.c.name.in_(_names))
_RELEASE = BulkUpdate(lease, ("name", "epoch"), ("holder", "expires_at"))
_FORGET = delete(lease).where(lease.c.name.in_(_names), lease.c.holder == _me)
_CHECK = (
    select(lease.c.epoch)
    .where(
        lease.c.name == bindparam("of_name"),
        lease.c.holder == _me,
        lease.c.epoch == bindparam("under"),
    )
    .with_for_update()
)


@dataclass(frozen=True, slots=True, kw_only=True)
class LeaseSettings:
    """The times of leases; all processes of a hub must agree on them."""

    ttl_s: float = 13.0
    """With one round of renewing on top, the leases of a dead process move within 15 s."""
    renew_every_s: float = 1.5
    """The longest between two renewals, so that normally more than 11 s are left."""
    act_limit_s: float = 10.0
    """The longest that one act under a lease, such as an attempt at a delivery, may take."""


@dataclass(frozen=True, slots=True)
class Lease:
    """One tenure of one holder: it never comes back once another process had the thing."""

    name: str
    holder: str
    epoch: int


@dataclass(frozen=True, slots=True)
class Granted:
    """These leases are this process's until `until_s` by its own monotonic clock, at the least."""

    leases: tuple[Lease, ...]
    until_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class LeaseRow:
    """A lease as anyone sees it; `remaining_s` is not positive for one that has run out."""

    name: str
    holder: str | None
    epoch: int
    remaining_s: float

    @property
    def is_free(self) -> bool:
        return self.holder is None or self.remaining_s <= 0


@dataclass(frozen=True, slots=True)
class LeaseSurvey:
    """All leases by name, and the workers that live, from one snapshot."""

    rows: dict[str, LeaseRow]
    workers: frozenset[str]


class LeaseStore:
    """The leases as one process, `holder`, deals with them.

    `holder` must be made up anew at each start: a process that starts again is somebody else.
    """

    def __init__(
        self,
        database: Database,
        holder: str,
        *,
        settings: LeaseSettings | None = None,
        monotonic: Callable[[], float] = time.monotonic,
        now: ColumnElement[int] | None = None,
    ) -> None:
        """`monotonic` is called on the database's threads too. `now` is the database's clock as
        an expression, for tests that turn it by hand."""
        self.holder = holder
        self.settings = settings or LeaseSettings()
        self._database = database
        self._monotonic = monotonic
        self._sql = _Statements(database_now() if now is None else now)

    async def claim(self, names: Collection[str], *, limit: int) -> Granted:
        """Take up to `limit` of these that are free or have run out, each under a new epoch.

        One that another process claims at this moment is left out, and may be free afterwards.
        """
        wanted = sorted(set(names))

        def unit(transaction: Transaction) -> Granted:
            sent_s = self._monotonic()
            _make_missing(transaction, wanted)
            free = transaction.fetch_all(self._sql.free, {"names": wanted, "limit": limit})
            taken = [Lease(row.name, self.holder, row.epoch + 1) for row in free]
            if taken:
                parameters = {"names": [one.name for one in taken], **self._grant}
                transaction.execute(self._sql.take, parameters)
            return self._granted(taken, sent_s)

        return await self._database.write(unit)

    async def renew(self) -> Granted:
        """Prolong all that this process holds and return it, with what it did not know that it holds.

        What it believed to hold and is not returned has been lost to another process.
        """

        def unit(transaction: Transaction) -> Granted:
            sent_s = self._monotonic()
            rows = transaction.fetch_all(self._sql.renew, self._grant)
            return self._granted([Lease(row.name, self.holder, row.epoch) for row in rows], sent_s)

        return await self._database.write(unit)

    async def release(self, leases: Iterable[Lease]) -> None:
        """Let others have these at once; one that was lost meanwhile is left alone.

        Call it when nothing acts in their name any more.
        """
        rows = [(one.name, one.epoch, None, 0) for one in leases]
        if rows:
            await self._database.write(lambda transaction: transaction.update_many(_RELEASE, rows))

    async def forget(self, names: Collection[str]) -> None:
        """Remove the rows of things that are no more, of those that this process holds."""
        parameters = {"names": sorted(names), "me": self.holder}
        if names:
            await self._database.write(lambda transaction: transaction.execute(_FORGET, parameters))

    async def list(self) -> "list[LeaseRow]":
        """Return all leases, held or free, by name."""
        return list((await self.survey()).rows.values())

    async def survey(self) -> LeaseSurvey:
        """Return who holds what, and who is there to hold something; this process always is."""

        def unit(reader: Reader) -> LeaseSurvey:
            rows = map(_build, reader.fetch_all(self._sql.all))
            workers = reader.fetch_all(self._sql.workers, {"that_holds": str(ProcessRole.WORKER)})
            return LeaseSurvey(
                {row.name: row for row in rows},
                frozenset((self.holder, *(row.process_id for row in workers))),
            )

        return await self._database.read(unit)

    @property
    def _grant(self) -> dict[str, object]:
        return {"me": self.holder, "ttl_us": int(self.settings.ttl_s * _US_PER_S)}

    def _granted(self, leases: Iterable[Lease], sent_s: float) -> Granted:
        return Granted(tuple(leases), sent_s + self.settings.ttl_s - _CLOCK_MARGIN_S)


def check_lease(transaction: Transaction, held: Lease) -> None:
    """Keep `held` from changing its holder until this transaction ends.

    Raises:
        LeaseLost: it has changed already. Write nothing in its name.
    """
    parameters = {"of_name": held.name, "me": held.holder, "under": held.epoch}
    if transaction.fetch_one(_CHECK, parameters) is None:
        raise LeaseLost(f"Another process has taken over {held.name} (epoch {held.epoch}).")


class _Statements:
    """The statements in which the time stands."""

    def __init__(self, now: ColumnElement[int]) -> None:
        until = now + bindparam("ttl_us", type_=lease.c.expires_at.type)
        self.free = (
            select(lease.c.name, lease.c.epoch)
            .where(
                lease.c.name.in_(_names),
                or_(lease.c.holder.is_(None), lease.c.expires_at <= now),
            )
            .order_by(lease.c.name)
            .limit(bindparam("limit"))
            .with_for_update(skip_locked=True)
        )
        self.take = (
            update(lease)
            .where(lease.c.name.in_(_names))
            .values(holder=_me, epoch=lease.c.epoch + 1, expires_at=until)
        )
        self.renew = (
            update(lease)
            .where(lease.c.holder == _me)
            .values(expires_at=until)
            .returning(lease.c.name, lease.c.epoch)
        )
        self.all = select(
            lease.c.name,
            lease.c.holder,
            lease.c.epoch,
            (lease.c.expires_at - now).label("remaining_us"),
        ).order_by(lease.c.name)
        self.workers = select(process.c.process_id).where(
            process.c.role == bindparam("that_holds"),
            process.c.seen_at >= now - _WORKER_LOST_AFTER_US,
        )


def _make_missing(transaction: Transaction, names: list[str]) -> None:
    """Make the rows that are not there yet; in order, so that two processes never wait in a circle."""
    known = {row.name for row in transaction.fetch_all(_KNOWN, {"names": names})}
    if missing := [(name,) for name in names if name not in known]:
        transaction.insert_many(_INSERT, missing)


def _build(row: Row) -> LeaseRow:
    return LeaseRow(
        name=row.name,
        holder=row.holder,
        epoch=row.epoch,
        remaining_s=row.remaining_us / _US_PER_S,
    )
