"""Wishes to have deliveries sent again: how they are made, shown and stopped.

A wish is a row, and so outlives the process that took it. What it asks for is made, little by little, by
`storage/delivery/redelivery_slices.py`.
"""

import json
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any, Final

from sqlalchemy import bindparam, func, or_, select, true, update

from protocols.errors import NotFound
from protocols.identifiers import new_delivery_id
from protocols.messages import DeviceId, TargetId
from storage.database import Reader, Row, Transaction
from storage.delivery.deliveries import DeliveryState
from storage.instants import microseconds
from storage.tables.pipeline import delivery, is_dead_letter
from storage.tables.targets import redelivery, target_health

DEFAULT_RATE_PER_S: Final = 500
LARGEST_RATE_PER_S: Final = 10_000

DEAD_LETTERS: Final = frozenset((DeliveryState.DEAD, DeliveryState.EXPIRED))
"""What is sent again when nobody says otherwise."""

SETTLED: Final = DEAD_LETTERS | {
    DeliveryState.DELIVERED,
    DeliveryState.UNCONFIRMED,
    DeliveryState.PULLED,
    DeliveryState.CANCELLED,
}
"""What can be sent again at all: all else is on its way."""

# Of dead letters, so many are looked at; counting a million would take seconds.
_ESTIMATED_FROM: Final = 100_000
_FIRST_ID: Final = "00000000-0000-0000-0000-000000000000"

_device: Any = bindparam("device_id")
_candidates = (
    select(
        delivery.c.state,
        delivery.c.created_at,
        delivery.c.settled_at,
        delivery.c.device_id,
    )
    .where(delivery.c.target_id == bindparam("target_id"), is_dead_letter)
    .limit(_ESTIMATED_FROM)
    .subquery()
)
_ESTIMATE = (
    select(func.count().label("rows"))
    .select_from(_candidates)
    .where(
        _candidates.c.state.in_(bindparam("states", expanding=True)),
        _candidates.c.created_at >= bindparam("from_at"),
        _candidates.c.created_at < bindparam("to_at"),
        _candidates.c.settled_at >= bindparam("settled_from"),
        or_(_device == 0, _candidates.c.device_id == _device),
    )
)
_FAILING_SINCE = select(target_health.c.failing_since).where(
    target_health.c.target_id == bindparam("target_id")
)
_OF_TARGET = (
    select(redelivery)
    .where(redelivery.c.target_id == bindparam("target_id"))
    .order_by(redelivery.c.redelivery_id.desc())
    .limit(bindparam("limit"))
)
_ONE = select(redelivery).where(
    redelivery.c.redelivery_id == bindparam("of_redelivery"),
    redelivery.c.target_id == bindparam("target_id"),
)
_STOP = (
    update(redelivery)
    .where(
        redelivery.c.redelivery_id == bindparam("of_redelivery"),
        redelivery.c.finished_at.is_(None),
    )
    .values(finished_at=bindparam("at"), is_stopped=true())
)
_EVER: Final = 2**63 - 1


class RedeliveryState(StrEnum):
    """How a wish is doing."""

    RUNNING = "running"
    FINISHED = "finished"
    STOPPED = "stopped"


@dataclass(frozen=True, slots=True, kw_only=True)
class Wish:
    """Which deliveries of a target to send again, and how many of them in a second at the most.

    Either `delivery_ids`, or those in `states` that were made from `from_at` until before `to_at`,
    all in microseconds UTC.
    """

    states: frozenset[DeliveryState] = DEAD_LETTERS
    delivery_ids: tuple[str, ...] | None = None
    from_at: int | None = None
    to_at: int | None = None
    settled_from: int | None = None
    """Given up, or otherwise settled, from then on."""
    device_id: DeviceId | None = None
    rate_per_s: int = DEFAULT_RATE_PER_S


@dataclass(frozen=True, slots=True, kw_only=True)
class Redelivery:
    """A wish that was taken, and how far it has got."""

    id: int
    target_id: TargetId
    wish: Wish
    after_id: str
    """Deliveries up to this one have been looked at."""
    until_id: str
    """Deliveries behind this one were made later than the wish."""
    estimate: int | None
    made: int
    skipped: int
    created_at: int
    finished_at: int | None
    is_stopped: bool

    @property
    def state(self) -> RedeliveryState:
        if self.finished_at is None:
            return RedeliveryState.RUNNING
        return RedeliveryState.STOPPED if self.is_stopped else RedeliveryState.FINISHED


def create(
    transaction: Transaction,
    target_id: int,
    wish: Wish,
    now: datetime,
    *,
    estimated: int | None = None,
) -> int:
    """Take a wish; return its id. The caller has seen to it that the target exists."""
    ids = wish.delivery_ids
    return transaction.insert(
        redelivery,
        {
            "target_id": target_id,
            "states": json.dumps(sorted(wish.states)),
            "delivery_ids": None if ids is None else json.dumps(sorted(set(ids))),
            "from_at": wish.from_at,
            "to_at": wish.to_at,
            "settled_from": wish.settled_from,
            "device_id": wish.device_id,
            "rate_per_s": wish.rate_per_s,
            "after_id": _FIRST_ID,
            "until_id": new_delivery_id(),
            "estimate": estimated,
            "made": 0,
            "skipped": 0,
            "created_at": microseconds(now),
            "is_stopped": False,
        },
    )


def estimate(reader: Reader, target_id: int, wish: Wish) -> int | None:
    """How many deliveries a wish will make, if that can be told from dead letters alone.

    Not for a transaction that others wait for: it looks at up to a hundred thousand rows.
    """
    if wish.delivery_ids is not None:
        return len(set(wish.delivery_ids))
    if not wish.states <= DEAD_LETTERS:
        return None
    parameters: dict[str, object] = {
        "target_id": target_id,
        "states": sorted(wish.states),
        "from_at": wish.from_at or 0,
        "to_at": _EVER if wish.to_at is None else wish.to_at,
        "settled_from": wish.settled_from or 0,
        "device_id": wish.device_id or 0,
    }
    row = reader.fetch_one(_ESTIMATE, parameters)
    assert row is not None
    return int(row.rows)


def get(reader: Reader, target_id: int, redelivery_id: int) -> Redelivery:
    """One wish of a target. Raises NotFound."""
    row = reader.fetch_one(_ONE, {"of_redelivery": redelivery_id, "target_id": target_id})
    if row is None:
        raise NotFound("There is no such replay.")
    return build(row)


def list_of_target(reader: Reader, target_id: int, limit: int) -> list[Redelivery]:
    """The latest wishes, newest first."""
    parameters = {"target_id": target_id, "limit": limit}
    return [build(row) for row in reader.fetch_all(_OF_TARGET, parameters)]


def stop(transaction: Transaction, redelivery_id: int, now: datetime) -> None:
    """Make no more deliveries for it. One that has come to its end stays as it is."""
    parameters = {"of_redelivery": redelivery_id, "at": microseconds(now)}
    transaction.execute(_STOP, parameters)


def failing_since(reader: Reader, target_id: int) -> int | None:
    """Since when nothing succeeds at this target; None when the last attempt did, or there was none."""
    row = reader.fetch_one(_FAILING_SINCE, {"target_id": target_id})
    found: int | None = None if row is None else row.failing_since
    return found


def build(row: Row) -> Redelivery:
    ids = row.delivery_ids
    wish = Wish(
        states=frozenset(map(DeliveryState, json.loads(row.states))),
        delivery_ids=None if ids is None else tuple(json.loads(ids)),
        from_at=row.from_at,
        to_at=row.to_at,
        settled_from=row.settled_from,
        device_id=None if row.device_id is None else DeviceId(row.device_id),
        rate_per_s=row.rate_per_s,
    )
    return Redelivery(
        id=row.redelivery_id,
        target_id=TargetId(row.target_id),
        wish=wish,
        after_id=row.after_id,
        until_id=row.until_id,
        estimate=row.estimate,
        made=row.made,
        skipped=row.skipped,
        created_at=row.created_at,
        finished_at=row.finished_at,
        is_stopped=bool(row.is_stopped),
    )
