"""How data targets fare: read for those who ask, and reset by people.

The rows are written by who sends (`storage/delivery/target_health.py`); here a person only switches a target
off and on again.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from sqlalchemy import select

from storage.database import BulkInsert, Merge, Reader, Row, Transaction
from storage.tables.targets import target_health

CLOSED: Final = "closed"

_COLUMNS = (
    target_health.c.target_id,
    target_health.c.breaker,
    target_health.c.open_until,
    target_health.c.failures,
    target_health.c.failing_since,
    target_health.c.last_error,
    target_health.c.disabled_at,
    target_health.c.disabled_reason,
)
_ENABLED = (
    "target_id",
    "breaker",
    "openings",
    "open_until",
    "failures",
    "failing_since",
    "last_failure_at",
    "disabled_at",
    "disabled_reason",
)
_ENABLE = BulkInsert(target_health, _ENABLED, dict.fromkeys(_ENABLED[1:], Merge.NEW))
_DISABLED = ("disabled_at", "disabled_reason")
_DISABLE = BulkInsert(
    target_health, ("target_id", "breaker", *_DISABLED), dict.fromkeys(_DISABLED, Merge.NEW)
)


@dataclass(frozen=True, slots=True, kw_only=True)
class ShownHealth:
    """Times in microseconds UTC; counts since the last success. The default is a target that is well."""

    breaker: str = CLOSED
    open_until: int | None = None
    failures: int = 0
    failing_since: int | None = None
    last_error: str | None = None
    disabled_at: int | None = None
    disabled_reason: str | None = None


WELL: Final = ShownHealth()


def of_targets(reader: Reader, target_ids: Sequence[int]) -> Mapping[int, ShownHealth]:
    """Return what is known of those of `target_ids` that ever failed or were disabled."""
    rows = reader.fetch_all(select(*_COLUMNS).where(target_health.c.target_id.in_(target_ids)))
    return {row.target_id: _build(row) for row in rows}


def enable(transaction: Transaction, target_id: int) -> None:
    """Let the target be sent to again, as if it had never failed; its last error stays readable."""
    row = (target_id, CLOSED, 0, None, 0, None, None, None, None)
    transaction.insert_many(_ENABLE, [row])


def disable(transaction: Transaction, target_id: int, *, at: int, reason: str) -> None:
    """Have nothing sent to the target until somebody enables it; what is meant for it waits."""
    transaction.insert_many(_DISABLE, [(target_id, CLOSED, at, reason)])


def _build(row: Row) -> ShownHealth:
    return ShownHealth(
        breaker=row.breaker,
        open_until=row.open_until,
        failures=row.failures,
        failing_since=row.failing_since,
        last_error=row.last_error,
        disabled_at=row.disabled_at,
        disabled_reason=row.disabled_reason,
    )
