"""How a data target fares, as its row says: the breaker, since when it fails, whether it is disabled.

Written with the outcomes that changed it, in their transaction and under their lease. People disable
and enable a target too; so whoever sends writes those two columns only when it disables itself.
"""

from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import bindparam, select

from protocols.messages import TargetId
from storage.database import BulkInsert, Merge, Reader, Transaction
from storage.instants import instant_or_none, microseconds_or_none
from storage.tables.targets import target_health

_FARING = (
    "breaker",
    "openings",
    "open_until",
    "failures",
    "failing_since",
    "last_failure_at",
    "last_error",
)
_DISABLED = ("disabled_at", "disabled_reason")
_KEEP = BulkInsert(target_health, ("target_id", *_FARING), dict.fromkeys(_FARING, Merge.NEW))
_KEEP_DISABLED = BulkInsert(
    target_health,
    ("target_id", *_FARING, *_DISABLED),
    dict.fromkeys((*_FARING, *_DISABLED), Merge.NEW),
)
_SELECT = select(target_health).where(target_health.c.target_id == bindparam("target_id"))


@dataclass(frozen=True, slots=True, kw_only=True)
class TargetHealth:
    """`breaker` is closed, open or half_open; `failures` are those since the last success."""

    breaker: str = "closed"
    openings: int = 0
    open_until: datetime | None = None
    failures: int = 0
    failing_since: datetime | None = None
    last_failure_at: datetime | None = None
    last_error: str | None = None
    disabled_at: datetime | None = None
    disabled_reason: str | None = None


def read_health(reader: Reader, target_id: TargetId) -> TargetHealth:
    """Return it as stored, or that of a target that nothing is known of."""
    row = reader.fetch_one(_SELECT, {"target_id": target_id})
    if row is None:
        return TargetHealth()
    return TargetHealth(
        breaker=row.breaker,
        openings=row.openings,
        open_until=instant_or_none(row.open_until),
        failures=row.failures,
        failing_since=instant_or_none(row.failing_since),
        last_failure_at=instant_or_none(row.last_failure_at),
        last_error=row.last_error,
        disabled_at=instant_or_none(row.disabled_at),
        disabled_reason=row.disabled_reason,
    )


def write_health(transaction: Transaction, target_id: TargetId, health: TargetHealth) -> None:
    """Keep `health`; that a target is not disabled is never written, only that it is."""
    row: list[object] = [
        target_id,
        health.breaker,
        health.openings,
        microseconds_or_none(health.open_until),
        health.failures,
        microseconds_or_none(health.failing_since),
        microseconds_or_none(health.last_failure_at),
        health.last_error,
    ]
    if health.disabled_at is None:
        transaction.insert_many(_KEEP, [row])
    else:
        row += [microseconds_or_none(health.disabled_at), health.disabled_reason]
        transaction.insert_many(_KEEP_DISABLED, [row])
