"""The write units of the outbox beside attempts: cancelling, expiring, and freezing of batches."""

from collections import Counter
from collections.abc import Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import BigInteger, BindParameter, Text, bindparam, delete, select, update

from protocols.messages import DeliveryId
from storage.database import Reader, Transaction
from storage.delivery.deliveries import DeliveryState
from storage.instants import microseconds
from storage.leases import Lease, check_lease
from storage.ledger_changes import LedgerChanges
from storage.tables.pipeline import delivery, delivery_lane, is_waiting

SLICE = 200
# Looking at all that waits takes long for a million: it is done for so many at once.
_FOUND = 10_000
# Nearly all of what waits was made in the order in which it is read.
_OLDEST = 1_000

_ids: BindParameter[Any] = bindparam("ids", expanding=True)
_target: BindParameter[Any] = bindparam("target_id")
_before: BindParameter[Any] = bindparam("before", type_=BigInteger)

_SELECT_SLICE = (
    select(delivery.c.delivery_id).where(delivery.c.target_id == _target, is_waiting).limit(SLICE)
)
_SELECT_EXPIRED = (
    select(delivery.c.delivery_id)
    .where(delivery.c.target_id == _target, is_waiting, delivery.c.expires_at < _before)
    .limit(_FOUND)
)
_oldest = (
    select(delivery.c.delivery_id, delivery.c.expires_at)
    .where(delivery.c.target_id == _target, is_waiting)
    .order_by(delivery.c.position, delivery.c.decoder_id)
    .limit(_OLDEST)
    .subquery()
)
_SELECT_OLDEST_EXPIRED = select(_oldest.c.delivery_id).where(_oldest.c.expires_at < _before)
# Others may be ending the same ones: what is locked here is ended here, once.
_LOCK = (
    select(delivery.c.delivery_id, delivery.c.organization_id)
    .where(delivery.c.delivery_id.in_(_ids), is_waiting)
    .order_by(delivery.c.delivery_id)
    .with_for_update()
)
_END = (
    update(delivery)
    .where(delivery.c.delivery_id.in_(_ids))
    .values(
        state=bindparam("end", type_=Text),
        next_at=None,
        settled_at=bindparam("at", type_=BigInteger),
    )
)
_DELETE_TARGET_LANES = delete(delivery_lane).where(delivery_lane.c.target_id == _target)
_DELETE_LANES_OF = delete(delivery_lane).where(
    delivery_lane.c.target_id == _target, delivery_lane.c.delivery_id.in_(_ids)
)
_FREEZE = (
    update(delivery)
    .where(delivery.c.delivery_id.in_(_ids), is_waiting)
    .values(batch_id=bindparam("batch"))
)


def cancel_slice(transaction: Transaction, target_id: int, now: datetime) -> int:
    rows = transaction.fetch_all(_SELECT_SLICE, {"target_id": target_id})
    if not rows:
        transaction.execute(_DELETE_TARGET_LANES, {"target_id": target_id})
        return 0
    _end(transaction, [row.delivery_id for row in rows], DeliveryState.CANCELLED, now)
    return len(rows)


def find_expired(
    reader: Reader, target_id: int, before: datetime, *, is_thorough: bool
) -> list[DeliveryId]:
    """Find some of what has expired before then; nothing that waits for a commit waits for that."""
    statement = _SELECT_EXPIRED if is_thorough else _SELECT_OLDEST_EXPIRED
    parameters = {"target_id": target_id, "before": microseconds(before)}
    return [DeliveryId(row.delivery_id) for row in reader.fetch_all(statement, parameters)]


def expire_slice(
    transaction: Transaction, target_id: int, delivery_ids: Sequence[DeliveryId], now: datetime
) -> int:
    ids = _end(transaction, delivery_ids, DeliveryState.EXPIRED, now)
    transaction.execute(_DELETE_LANES_OF, {"target_id": target_id, "ids": ids})
    return len(ids)


def freeze(
    transaction: Transaction, batch_id: str, delivery_ids: Sequence[str], lease: Lease | None
) -> None:
    if lease is not None:
        check_lease(transaction, lease)
    transaction.execute(_FREEZE, {"batch": batch_id, "ids": list(delivery_ids)})


def _end(
    transaction: Transaction,
    delivery_ids: Sequence[DeliveryId],
    state: DeliveryState,
    now: datetime,
) -> list[str]:
    """End those of these that have not come to another end; return which."""
    ended = transaction.fetch_all(_LOCK, {"ids": list(delivery_ids)})
    ids = [row.delivery_id for row in ended]
    transaction.execute(_END, {"ids": ids, "end": state.value, "at": microseconds(now)})
    changes = LedgerChanges()
    for organization_id, count in Counter(row.organization_id for row in ended).items():
        changes.add(organization_id, state.value, count)
    changes.store(transaction)
    return ids
