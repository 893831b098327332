"""The books: what became of every job and every delivery, and whether they balance.

Accepted jobs = pending + deferred + decoded + failed + no decoder + set aside + deleted, and
deliveries created = pending + retrying + delivered + unconfirmed + pulled + dead + expired +
cancelled + deleted. (A delivery in flight is pending or retrying on disk, and counted there.)

What has come to its end is counted in the table `ledger` by the transaction that ends it; what is
on its way is counted from its rows, in the same snapshot. So an imbalance of 0 says that no
transaction lost or doubled anything; `audit` then compares the counters with the rows one by one.
"""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from sqlalchemy import BigInteger, Select, cast, func, select

from storage.database import Database, Reader
from storage.tables.entities import organization
from storage.tables.pipeline import (
    delivery,
    is_deferred,
    is_waiting,
    journal,
    ledger,
    message_job,
    set_aside,
)

_ORGANIZATIONS = select(organization.c.id)
_COUNTERS = select(
    ledger.c.organization_id,
    *(
        cast(func.sum(column), BigInteger).label(column.name)
        for column in ledger.c
        if column.name not in {"organization_id", "shard"}
    ),
).group_by(ledger.c.organization_id)
_PENDING = select(journal.c.organization_id, func.count().label("rows")).group_by(
    journal.c.organization_id
)
_DEFERRED = (
    select(message_job.c.organization_id, func.count().label("rows"))
    .where(is_deferred)
    .group_by(message_job.c.organization_id)
)
_WAITING = (
    select(delivery.c.organization_id, delivery.c.state, func.count().label("rows"))
    .where(is_waiting)
    .group_by(delivery.c.organization_id, delivery.c.state)
)
_JOBS_BY_STATE = select(
    message_job.c.organization_id, message_job.c.state, func.count().label("rows")
).group_by(message_job.c.organization_id, message_job.c.state)
_SET_ASIDE = select(set_aside.c.organization_id, func.count().label("rows")).group_by(
    set_aside.c.organization_id
)
_DELIVERIES_BY_STATE = select(
    delivery.c.organization_id, delivery.c.state, func.count().label("rows")
).group_by(delivery.c.organization_id, delivery.c.state)


@dataclass(frozen=True, slots=True, kw_only=True)
class JobBalance:
    """Jobs (a message and one of its decoders) by what became of them."""

    accepted: int
    pending: int
    deferred: int
    decoded: int
    failed: int
    no_decoder: int
    set_aside: int
    deleted: int

    @property
    def imbalance(self) -> int:
        """0, or how many jobs were accepted and are nowhere (negative: came from nowhere)."""
        return self.accepted - (
            self.pending
            + self.deferred
            + self.decoded
            + self.failed
            + self.no_decoder
            + self.set_aside
            + self.deleted
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class DeliveryBalance:
    """Deliveries by what became of them."""

    created: int
    pending: int
    retrying: int
    delivered: int
    unconfirmed: int
    pulled: int
    dead: int
    expired: int
    cancelled: int
    deleted: int

    @property
    def imbalance(self) -> int:
        """0, or how many deliveries were created and are nowhere (negative: came from nowhere)."""
        return self.created - (
            self.pending
            + self.retrying
            + self.delivered
            + self.unconfirmed
            + self.pulled
            + self.dead
            + self.expired
            + self.cancelled
            + self.deleted
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class LedgerBalance:
    """The books of one organization, in one moment."""

    organization_id: int
    jobs: JobBalance
    deliveries: DeliveryBalance

    @property
    def imbalance(self) -> int:
        """0 when everything is accounted for."""
        return abs(self.jobs.imbalance) + abs(self.deliveries.imbalance)

    def to_json(self) -> dict[str, Any]:
        """Return plain values, in the names of the API."""
        return {
            "organizationId": self.organization_id,
            "jobs": _camel(asdict(self.jobs)) | {"imbalance": self.jobs.imbalance},
            "deliveries": _camel(asdict(self.deliveries))
            | {"imbalance": self.deliveries.imbalance},
            "imbalance": self.imbalance,
        }


class Ledger:
    """Reads the books; the transactions of journal, results, outbox and retention keep them."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def balance(self, organization_ids: Sequence[int] | None = None) -> list[LedgerBalance]:
        """Return the balance of these organizations, or of all there are or have been."""
        balances = await self._database.read(_balances)
        return [
            balance
            for balance in balances
            if organization_ids is None or balance.organization_id in organization_ids
        ]

    async def audit(self) -> list[str]:
        """Compare the counters with the rows, which reads every row; return what differs, as sentences."""
        return await self._database.read(_audit)


def _balances(reader: Reader) -> list[LedgerBalance]:
    counters = {row.organization_id: row for row in reader.fetch_all(_COUNTERS)}
    pending = _by_organization(reader, _PENDING)
    deferred = _by_organization(reader, _DEFERRED)
    waiting = _by_state(reader, _WAITING)
    existing = {row.id for row in reader.fetch_all(_ORGANIZATIONS)}
    # An organization without messages has books too; one that was deleted keeps its own.
    ids = sorted(existing | counters.keys() | pending.keys() | deferred.keys() | waiting.keys())

    def count(organization_id: int, name: str) -> int:
        row = counters.get(organization_id)
        return 0 if row is None else int(getattr(row, name))

    return [
        LedgerBalance(
            organization_id=i,
            jobs=JobBalance(
                accepted=count(i, "accepted"),
                pending=pending.get(i, 0),
                deferred=deferred.get(i, 0),
                decoded=count(i, "decoded"),
                failed=count(i, "failed"),
                no_decoder=count(i, "no_decoder"),
                set_aside=count(i, "set_aside"),
                deleted=count(i, "jobs_deleted"),
            ),
            deliveries=DeliveryBalance(
                created=count(i, "deliveries_created"),
                pending=waiting[i].get("pending", 0),
                retrying=waiting[i].get("retrying", 0),
                delivered=count(i, "delivered"),
                unconfirmed=count(i, "unconfirmed"),
                pulled=count(i, "pulled"),
                dead=count(i, "dead"),
                expired=count(i, "expired"),
                cancelled=count(i, "cancelled"),
                deleted=count(i, "deliveries_deleted"),
            ),
        )
        for i in ids
    ]


def _audit(reader: Reader) -> list[str]:
    jobs = _by_state(reader, _JOBS_BY_STATE)
    for organization_id, rows in _by_organization(reader, _SET_ASIDE).items():
        of_organization = jobs[organization_id]
        of_organization["set_aside"] = of_organization.get("set_aside", 0) + rows
    deliveries = _by_state(reader, _DELIVERIES_BY_STATE)
    books = {row.organization_id: row._asdict() for row in reader.fetch_all(_COUNTERS)}
    differences = []
    for organization_id in sorted(books.keys() | jobs.keys() | deliveries.keys()):
        for states, counted in ((_JOB_ENDS, jobs), (_DELIVERY_ENDS, deliveries)):
            for state in states:
                rows = counted[organization_id].get(state, 0)
                kept = books.get(organization_id, {}).get(state, 0)
                if rows != kept:
                    differences.append(
                        f"Organization {organization_id}: {kept} {state} in the books, "
                        f"{rows} in the rows."
                    )
    return differences


_JOB_ENDS = ("decoded", "failed", "no_decoder", "set_aside")
_DELIVERY_ENDS = ("delivered", "unconfirmed", "pulled", "dead", "expired", "cancelled")


def _by_organization(reader: Reader, statement: Select[Any]) -> dict[int, int]:
    return {row.organization_id: row.rows for row in reader.fetch_all(statement)}


def _by_state(reader: Reader, statement: Select[Any]) -> defaultdict[int, dict[str, int]]:
    counted: defaultdict[int, dict[str, int]] = defaultdict(dict)
    for row in reader.fetch_all(statement):
        counted[row.organization_id][row.state] = row.rows
    return counted


def _camel(fields: dict[str, int]) -> dict[str, int]:
    return {
        first + "".join(word.title() for word in rest): value
        for name, value in fields.items()
        for first, *rest in [name.split("_")]
    }
