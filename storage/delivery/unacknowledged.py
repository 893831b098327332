"""What a data target has not taken yet, for whoever comes and fetches it.

Theory of operation. A delivery is unacknowledged while it waits: it has not been delivered, pulled or
given up, and its 72 hours are not over. The state of the row alone says so, never a place in
some order, because deliveries do not become visible in any order of theirs: several processes commit
at once, a message that was deferred is decoded long after its successors, and what is sent again has
the place of what it repeats. So a cursor is no more than a place in one reading. Whoever reads from the
beginning to the end finds everything once that was there when the reading began; what comes meanwhile
may stand behind the cursor, and is found by whoever begins again without one.

A reading with a *lease* marks what it hands out: until the lease ends no other reading with a lease is
handed the same. The marks of one reading have one `lease_id`, which the cursor carries on, so that
"everything up to this cursor" is exactly what was handed out, whatever has come in between since.
Pushing goes on regardless of leases.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from secrets import randbits
from typing import Any, Final

from sqlalchemy import (
    BindParameter,
    ColumnElement,
    Select,
    bindparam,
    case,
    func,
    literal_column,
    or_,
    select,
    tuple_,
    update,
)

from protocols.messages import TargetId
from storage.database import Database, Reader, Row, Transaction
from storage.delivery.deliveries import EVENT_DECODER
from storage.delivery.delivery_bodies import size_of_body
from storage.delivery.outbox_queries import body_of_delivery
from storage.delivery.pull_cursor import PullCursor
from storage.instants import microseconds
from storage.tables.entities import iot_device
from storage.tables.pipeline import delivery, delivery_attempt, is_waiting, message
from storage.tables.targets import target_event

COUNTED_TO: Final = 1_000
"""What waits is counted up to here: it is counted for each page, and takes a look at each row."""

# Of bodies, which may be a mebibyte each.
PAGE_BYTES: Final = 8 * 1024 * 1024
# Each row takes some 10 microseconds of the one writer.
_LEASE_SLICE: Final = 200
_LEASE_TRIES: Final = 3
# Bodies are read so many at a time, so that no more than these are read in vain.
_READ_CHUNK: Final = 200
_EVER: Final = 2**63 - 1

_ids: BindParameter[Any] = bindparam("ids", expanding=True)
_now: BindParameter[Any] = bindparam("now")
_target: BindParameter[Any] = bindparam("target_id")
_NOT_SHOWN = frozenset(("target_id", "organization_id", "is_aside", "batch_id", "lease_id"))
_PLACE = (delivery.c.position, delivery.c.decoder_id, delivery.c.delivery_id)
_is_event = delivery.c.decoder_id == literal_column(str(EVENT_DECODER))
_is_free = or_(delivery.c.leased_until.is_(None), delivery.c.leased_until <= bindparam("free_at"))


def _select_places(*further: ColumnElement[Any]) -> Select[Any]:
    return (
        select(*_PLACE, *further)
        .where(
            delivery.c.target_id == _target,
            is_waiting,
            tuple_(*_PLACE)
            > tuple_(bindparam("position"), bindparam("decoder_id"), bindparam("delivery_id")),
            delivery.c.expires_at > _now,
            delivery.c.created_at >= bindparam("from_at"),
            delivery.c.created_at < bindparam("to_at"),
            _is_free,
        )
        .order_by(*_PLACE)
        .limit(bindparam("limit"))
    )


_SELECT_PLACES = _select_places()
# Whoever leases has to know before reading any body how many of them fit into a page.
_SELECT_SIZES = _select_places(size_of_body.label("size"))
_last_error = (
    select(func.coalesce(delivery_attempt.c.error, delivery_attempt.c.error_code))
    .where(delivery_attempt.c.delivery_id == delivery.c.delivery_id)
    .order_by(delivery_attempt.c.attempt_id.desc())
    .limit(1)
    .correlate(delivery)
    .scalar_subquery()
)
_event_at = (
    select(target_event.c.at)
    .where(target_event.c.event_id == delivery.c.message_id)
    .correlate(delivery)
    .scalar_subquery()
)
# What only few rows have is looked up for those alone: a page of a thousand is to take 30 ms.
_SELECT_ITEMS = (
    select(
        *(column for column in delivery.c if column.name not in _NOT_SHOWN),
        body_of_delivery,
        case((_is_event, _event_at), else_=message.c.received_at).label("received_at"),
        iot_device.c.name.label("device_name"),
        case((delivery.c.attempts > 0, _last_error)).label("last_error"),
    )
    .join(message, message.c.message_id == delivery.c.message_id, isouter=True)
    .join(iot_device, iot_device.c.id == delivery.c.device_id, isouter=True)
    .where(delivery.c.delivery_id.in_(_ids))
)
_counted = (
    select(delivery.c.created_at)
    .where(delivery.c.target_id == _target, is_waiting, delivery.c.expires_at > _now)
    .order_by(delivery.c.position, delivery.c.decoder_id)
    .limit(COUNTED_TO + 1)
    .subquery()
)
_SELECT_BACKLOG = select(
    func.count().label("rows"), func.min(_counted.c.created_at).label("oldest")
).select_from(_counted)
_LEASE = (
    update(delivery)
    .where(delivery.c.delivery_id.in_(_ids), is_waiting, _is_free)
    .values(leased_until=bindparam("until"), lease_id=bindparam("lease"))
    .returning(delivery.c.delivery_id)
)


@dataclass(frozen=True, slots=True, kw_only=True)
class PullQuery:
    """Which part is wanted: made from `from_at` until before `to_at`, in microseconds UTC."""

    cursor: PullCursor
    limit: int
    from_at: int = 0
    to_at: int = _EVER


@dataclass(frozen=True, slots=True)
class Backlog:
    """How much is unacknowledged, counted up to `COUNTED_TO + 1`, and since when."""

    count: int
    oldest_created_at: int | None


@dataclass(frozen=True, slots=True)
class PullPage:
    """`items` are rows of the table `delivery` with `body`, `received_at`, `device_name` and
    `last_error`, in order. `cursor` is where to go on."""

    items: list[Row]
    cursor: PullCursor
    has_more: bool


@dataclass(frozen=True, slots=True)
class _Places:
    rows: list[Row]
    has_more: bool


class Unacknowledged:
    """Reads what waits, page by page."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def read(self, target_id: int, query: PullQuery, now: datetime) -> PullPage:
        """Return a page, also of what others have leased. It holds `PAGE_BYTES` of bodies at the most."""

        def unit(reader: Reader) -> PullPage:
            parameters = _parameters(target_id, query, microseconds(now), free_at=_EVER)
            found = reader.fetch_all(_SELECT_PLACES, parameters)
            rows = _fitting_items(reader, [row.delivery_id for row in found[: query.limit]])
            places = _Places(found[: len(rows)], has_more=len(found) > len(rows))
            return _page(rows, places, query, 0)

        return await self._database.read(unit)

    async def lease(
        self, target_id: int, query: PullQuery, now: datetime, lease: timedelta
    ) -> PullPage:
        """Return a page of what nobody has leased, and lease it until `now + lease`."""
        now_us = microseconds(now)
        lease_id = query.cursor.lease_id or randbits(62) + 1
        for _ in range(_LEASE_TRIES):
            places = await self._database.read(
                lambda reader: _fitting_places(reader, target_id, query, now_us)
            )
            ids = [row.delivery_id for row in places.rows]
            leased = await self._claim(ids, lease_id, now_us, microseconds(now + lease))
            # Nothing was left of it: other readings were quicker, and there may be more.
            if leased or not ids:
                break
        rows = await self._database.read(lambda reader: _items(reader, leased))
        return _page(rows, places, query, lease_id)

    async def backlog(self, target_id: int, now: datetime) -> Backlog:
        """Return how much there is. The oldest is that of what was counted."""
        parameters = {"target_id": target_id, "now": microseconds(now)}
        row = await self._database.read(
            lambda reader: reader.fetch_one(_SELECT_BACKLOG, parameters)
        )
        assert row is not None
        return Backlog(row.rows, row.oldest)

    async def _claim(
        self, ids: Sequence[str], lease_id: int, now_us: int, until_us: int
    ) -> list[str]:
        leased: list[str] = []
        for start in range(0, len(ids), _LEASE_SLICE):
            parameters = {
                "ids": list(ids[start : start + _LEASE_SLICE]),
                "free_at": now_us,
                "until": until_us,
                "lease": lease_id,
            }

            def unit(
                transaction: Transaction, parameters: dict[str, Any] = parameters
            ) -> list[str]:
                rows = transaction.fetch_all(_LEASE, parameters)
                return [row.delivery_id for row in rows]

            leased += await self._database.write(unit)
        return leased


def _parameters(
    target_id: int, query: PullQuery, now_us: int, *, free_at: int
) -> dict[str, object]:
    return {
        "target_id": TargetId(target_id),
        "position": query.cursor.position,
        "decoder_id": query.cursor.decoder_id,
        "delivery_id": query.cursor.delivery_id,
        "now": now_us,
        "from_at": query.from_at,
        "to_at": query.to_at,
        "free_at": free_at,
        "limit": query.limit + 1,
    }


def _fitting_places(reader: Reader, target_id: int, query: PullQuery, now_us: int) -> _Places:
    """Find the next deliveries that nobody has leased, as many as a page may hold of their bodies."""
    rows = reader.fetch_all(_SELECT_SIZES, _parameters(target_id, query, now_us, free_at=now_us))
    size = 0
    for number, row in enumerate(rows):
        size += row.size or 0
        if number == query.limit or (number and size > PAGE_BYTES):
            return _Places(rows[:number], has_more=True)
    return _Places(rows, has_more=False)


def _items(reader: Reader, ids: Sequence[str]) -> list[Row]:
    rows = reader.fetch_all(_SELECT_ITEMS, {"ids": list(ids)}) if ids else []
    return sorted(rows, key=lambda row: (row.position, row.decoder_id, row.delivery_id))


def _fitting_items(reader: Reader, ids: Sequence[str]) -> list[Row]:
    """Read these in order, until their bodies are more than a page holds."""
    rows: list[Row] = []
    size = 0
    for start in range(0, len(ids), _READ_CHUNK):
        for row in _items(reader, ids[start : start + _READ_CHUNK]):
            size += len(row.body or b"")
            if rows and size > PAGE_BYTES:
                return rows
            rows.append(row)
    return rows


def _page(rows: list[Row], places: _Places, query: PullQuery, lease_id: int) -> PullPage:
    cursor = replace(query.cursor, lease_id=lease_id)
    if places.rows:
        last = places.rows[-1]
        cursor = PullCursor(
            position=last.position,
            decoder_id=last.decoder_id,
            delivery_id=last.delivery_id,
            lease_id=lease_id,
        )
    # One that a push has delivered in between is nobody's to fetch any more.
    items = [row for row in rows if row.body is not None and row.settled_at is None]
    return PullPage(items, cursor, places.has_more)
