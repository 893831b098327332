"""Fitting the lanes of a data target to its order, which its owner may have changed meanwhile.

A head in back-off blocks the lane that it had when it failed. In another order its lane is another:
without this, what stands behind it would pass it once, and what does not would wait for it.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import bindparam, delete, false, select

from protocols.messages import TargetId
from protocols.targets.policy import Ordering
from storage.database import BulkInsert, Reader, Transaction
from storage.delivery.deliveries import STRICT_LANE
from storage.leases import Lease, check_lease
from storage.tables.pipeline import delivery, delivery_lane

_FAILED = (
    select(delivery.c.delivery_id, delivery.c.device_id, delivery.c.next_at)
    .where(
        delivery.c.target_id == bindparam("target_id"),
        delivery.c.next_at.is_not(None),
        delivery.c.generation == 0,
        delivery.c.is_aside == false(),
    )
    .order_by(delivery.c.position, delivery.c.decoder_id)
)
_LANES = select(
    delivery_lane.c.device_id, delivery_lane.c.delivery_id, delivery_lane.c.held_us
).where(delivery_lane.c.target_id == bindparam("target_id"))
_DELETE = delete(delivery_lane).where(
    delivery_lane.c.target_id == bindparam("target_id"),
    delivery_lane.c.device_id.in_(bindparam("lanes", expanding=True)),
)
_INSERT = BulkInsert(
    delivery_lane, ("target_id", "device_id", "delivery_id", "due_at", "held_us"), {}
)


@dataclass(frozen=True, slots=True)
class _Misfits:
    lanes: Sequence[int]
    """Blocked, and none in this order."""
    missing: Sequence[tuple[int, int, str, int, int]]
    """Not blocked, although their head has failed."""


def do_lanes_fit(reader: Reader, target_id: TargetId, ordering: Ordering) -> bool:
    found = _find(reader, target_id, ordering)
    return not found.lanes and not found.missing


def fit_lanes(
    transaction: Transaction, target_id: TargetId, ordering: Ordering, lease: Lease | None
) -> None:
    """Block the lanes that this order has for what has failed, and no others."""
    if lease is not None:
        check_lease(transaction, lease)
    found = _find(transaction, target_id, ordering)
    transaction.execute(_DELETE, {"target_id": target_id, "lanes": list(found.lanes)})
    if found.missing:
        transaction.insert_many(_INSERT, found.missing)


def _find(reader: Reader, target_id: TargetId, ordering: Ordering) -> _Misfits:
    lanes = reader.fetch_all(_LANES, {"target_id": target_id})
    if ordering is Ordering.NONE:
        return _Misfits([lane.device_id for lane in lanes], ())
    heads: dict[int, tuple[str, int]] = {}
    strangers: set[str] = set()
    for row in reader.fetch_all(_FAILED, {"target_id": target_id}):
        lane = STRICT_LANE if ordering is Ordering.STRICT else row.device_id
        if lane != STRICT_LANE:
            strangers.add(row.delivery_id)
        # All that has failed of a lane has to be due before what stands behind it may go.
        head, due_at = heads.get(lane, (row.delivery_id, row.next_at))
        heads[lane] = head, max(due_at, row.next_at)
    held_us = {lane.delivery_id: lane.held_us for lane in lanes}
    unfit = [
        lane.device_id
        for lane in lanes
        if (lane.device_id != STRICT_LANE and ordering is Ordering.STRICT)
        or (lane.device_id == STRICT_LANE and lane.delivery_id in strangers)
    ]
    blocked = {lane.device_id for lane in lanes}.difference(unfit)
    missing = [
        (target_id, lane, head, due_at, held_us.get(head, 0))
        for lane, (head, due_at) in heads.items()
        if lane not in blocked
    ]
    return _Misfits(unfit, missing)
