"""Making the deliveries of a redelivery, a slice at a time.

Theory of operation. What is made is new: an id of its own, the next generation of the same message,
target and decoder, and another 72 hours. Only the newest generation is sent again, and only when it is
settled in a state that is wished for; so whoever asks twice doubles nothing that waits already.

`after_id` moves in the transaction that makes a slice, and only from where it was when the slice was
looked for: two processes that both take themselves to keep house, or one that was killed and
comes back, make nothing twice. Deliveries are looked through in order of their ids. Those that are made
here come behind `until_id` and are never looked at for the same wish.

Dead letters have an index of their own. For other states every delivery of that time is passed over,
whichever target it is for.
"""

from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any, Final

from sqlalchemy import BindParameter, Select, bindparam, case, exists, null, select, update
from sqlalchemy.orm import aliased

from protocols.identifiers import first_uuid7, new_delivery_id
from protocols.messages import DeliveryId, TargetId
from storage.database import Database, Reader, Row, Transaction
from storage.delivery.delivery_bodies import has_body
from storage.delivery.redelivery import DEAD_LETTERS, Redelivery, build
from storage.instants import instant, microseconds
from storage.ledger_changes import LedgerChanges
from storage.result_rows import DELIVERY_LIFETIME, INSERT_DELIVERIES
from storage.tables.entities import data_target
from storage.tables.pipeline import delivery, is_dead_letter, is_waiting
from storage.tables.targets import redelivery

LOOK_ROWS: Final = 250
"""Rows looked at in one go, where not all that is looked at is wanted."""
# So often, as long as nothing is found: then a slice costs no transaction for each look.
_LOOKS: Final = 20

# An id tells when it was made by the clock of its process, and its row's instant comes before that by as
# long as the commit had to wait.
_ID_SLACK: Final = timedelta(days=1)

_ids: BindParameter[Any] = bindparam("ids", expanding=True)
_newer = aliased(delivery, name="newer")
_is_newest = ~exists().where(
    _newer.c.message_id == delivery.c.message_id,
    _newer.c.target_id == delivery.c.target_id,
    _newer.c.decoder_id == delivery.c.decoder_id,
    _newer.c.generation > delivery.c.generation,
)
_target: BindParameter[Any] = bindparam("of_target")
_is_of_target = delivery.c.target_id + 0 == _target


def _look(*conditions: Any) -> Select[Any]:
    return (
        select(
            delivery,
            case((_is_of_target, _is_newest), else_=null()).label("is_newest"),
            case((_is_of_target, has_body), else_=null()).label("has_body"),
        )
        .where(
            delivery.c.delivery_id > bindparam("after_id"),
            delivery.c.delivery_id <= bindparam("until_id"),
            *conditions,
        )
        .order_by(delivery.c.delivery_id)
        .limit(bindparam("limit"))
    )


_LOOK_AT_DEAD = _look(delivery.c.target_id == _target, is_dead_letter)
_LOOK_AT_ALL = _look()
_LOOK_AT_IDS = _look(delivery.c.delivery_id.in_(_ids))
_OPEN = (
    select(redelivery)
    .where(redelivery.c.finished_at.is_(None))
    .order_by(redelivery.c.redelivery_id)
)
_IS_THERE = select(data_target.c.id).where(data_target.c.id == _target)
_MOVE = (
    update(redelivery)
    .where(
        redelivery.c.redelivery_id == bindparam("of_redelivery"),
        redelivery.c.after_id == bindparam("from_id"),
        redelivery.c.finished_at.is_(None),
    )
    .values(
        after_id=bindparam("to_id"),
        made=redelivery.c.made + bindparam("more_made"),
        skipped=redelivery.c.skipped + bindparam("more_skipped"),
        finished_at=bindparam("at"),
    )
)
_STILL_WAITING = select(delivery.c.delivery_id).where(delivery.c.delivery_id.in_(_ids), is_waiting)


@dataclass(frozen=True, slots=True, kw_only=True)
class Slice:
    """What was found to be sent again next."""

    rows: Sequence[Row]
    skipped: int
    """Wanted, but what they would say is not kept any more; or named, and there is nothing to be sent."""
    after_id: str
    """Everything up to this delivery is dealt with once the rows are made."""
    is_last: bool


@dataclass(frozen=True, slots=True)
class _Look:
    """Some rows in order; `after_id` is where to go on behind them."""

    rows: Sequence[Row]
    after_id: str
    is_end: bool


class RedeliverySlices:
    """One caller at a time, beside whatever else works on the database."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def open_wishes(self) -> list[Redelivery]:
        """Return those that have not come to their end, in the order in which they were taken."""
        rows = await self._database.read(lambda reader: reader.fetch_all(_OPEN))
        return [build(row) for row in rows]

    async def next_slice(self, wish: Redelivery, limit: int) -> Slice:
        """Find up to `limit` deliveries to send again, or look at some thousands in vain."""
        return await self._database.read(lambda reader: _next_slice(reader, wish, limit))

    async def make(self, wish: Redelivery, found: Slice, now: datetime) -> list[DeliveryId] | None:
        """Make new deliveries of a slice and move the wish on, in one transaction.

        Returns their ids; None when the wish has moved meanwhile, or was stopped: nothing was made.

        Raises:
            Conflict: another wish has just had one of them sent again; look anew.
        """
        ids = [new_delivery_id() for _ in found.rows]

        def unit(transaction: Transaction) -> list[DeliveryId] | None:
            return ids if _make(transaction, wish, found, ids, now) else None

        return await self._database.write(unit)

    async def still_waiting(self, delivery_ids: Collection[DeliveryId]) -> set[DeliveryId]:
        """Return those of these deliveries that have not come to their end."""
        if not delivery_ids:
            return set()
        parameters = {"ids": list(delivery_ids)}
        rows = await self._database.read(
            lambda reader: reader.fetch_all(_STILL_WAITING, parameters)
        )
        return {DeliveryId(row.delivery_id) for row in rows}


def _next_slice(reader: Reader, wish: Redelivery, limit: int) -> Slice:
    if reader.fetch_one(_IS_THERE, {"of_target": wish.target_id}) is None:
        return Slice(rows=(), skipped=0, after_id=wish.until_id, is_last=True)
    skipped, place = 0, wish
    # No more than will be taken, as long as all that is looked at is wanted.
    rows = min(limit, LOOK_ROWS)
    for _ in range(_LOOKS):
        look = _look_on(reader, place, rows)
        found = _choose(place, look, limit)
        skipped += found.skipped
        if found.rows or found.is_last:
            break
        place, rows = replace(place, after_id=found.after_id), LOOK_ROWS
    return replace(found, skipped=skipped)


def _choose(wish: Redelivery, look: _Look, limit: int) -> Slice:
    chosen: list[Row] = []
    missing, after_id = 0, wish.after_id
    for row in look.rows:
        if _is_wanted(wish, row):
            if len(chosen) == limit:
                break
            if row.has_body:
                chosen.append(row)
            else:
                missing += 1
        after_id = row.delivery_id
    else:
        after_id = look.after_id
    is_last = look.is_end and after_id == look.after_id
    if wish.wish.delivery_ids is not None:
        named = [one for one in wish.wish.delivery_ids if wish.after_id < one <= after_id]
        missing = len(named) - len(chosen)
    return Slice(rows=chosen, skipped=missing, after_id=after_id, is_last=is_last)


def _look_on(reader: Reader, wish: Redelivery, limit: int) -> _Look:
    wanted = wish.wish
    parameters: dict[str, object] = {
        "of_target": wish.target_id,
        "after_id": wish.after_id,
        "until_id": wish.until_id,
        "limit": limit,
    }
    if wanted.delivery_ids is not None:
        left = [one for one in wanted.delivery_ids if one > wish.after_id]
        ids = left[:limit]
        rows = reader.fetch_all(_LOOK_AT_IDS, {**parameters, "ids": ids})
        return _Look(rows, ids[-1] if ids else wish.until_id, len(left) <= limit)
    if wanted.states <= DEAD_LETTERS:
        rows = reader.fetch_all(_LOOK_AT_DEAD, parameters)
    else:
        if wanted.from_at is not None:
            first = first_uuid7(instant(wanted.from_at) - _ID_SLACK)
            parameters["after_id"] = max(wish.after_id, first)
        rows = reader.fetch_all(_LOOK_AT_ALL, parameters)
    if len(rows) < limit:
        return _Look(rows, wish.until_id, is_end=True)
    return _Look(rows, rows[-1].delivery_id, is_end=False)


def _is_wanted(wish: Redelivery, row: Row) -> bool:
    wanted = wish.wish
    return bool(
        row.target_id == wish.target_id
        and row.settled_at is not None
        and row.is_newest
        and row.state in wanted.states
        and (wanted.from_at is None or row.created_at >= wanted.from_at)
        and (wanted.to_at is None or row.created_at < wanted.to_at)
        and (wanted.settled_from is None or row.settled_at >= wanted.settled_from)
        and (wanted.device_id is None or row.device_id == wanted.device_id)
    )


def _make(
    transaction: Transaction,
    wish: Redelivery,
    found: Slice,
    ids: Sequence[DeliveryId],
    now: datetime,
) -> bool:
    created_at, expires_at = microseconds(now), microseconds(now + DELIVERY_LIFETIME)
    moved = transaction.execute(
        _MOVE,
        {
            "of_redelivery": wish.id,
            "from_id": wish.after_id,
            "to_id": found.after_id,
            "more_made": len(ids),
            "more_skipped": found.skipped,
            "at": created_at if found.is_last else None,
        },
    )
    if not moved:
        return False
    if ids:
        tail = ("pending", 0, created_at, expires_at)
        rows = zip(ids, found.rows, strict=True)
        transaction.insert_many(
            INSERT_DELIVERIES, [(*_again(one, row), *tail) for one, row in rows]
        )
        changes = LedgerChanges()
        for organization_id, count in Counter(row.organization_id for row in found.rows).items():
            changes.add(organization_id, "deliveries_created", count)
        changes.store(transaction)
    return True


def _again(delivery_id: DeliveryId, row: Row) -> tuple[object, ...]:
    return (
        delivery_id,
        row.message_id,
        TargetId(row.target_id),
        row.decoder_id,
        row.device_id,
        row.organization_id,
        row.position,
        row.generation + 1,
    )
