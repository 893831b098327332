"""Deliveries that were given up: refused, exhausted or expired. Newest first."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

from sqlalchemy import bindparam, func, or_, select

from protocols.errors import NotFound
from storage.database import Reader, Row
from storage.delivery.outbox_queries import body_of_delivery
from storage.repositories import attempts
from storage.repositories.attempts import Attempt
from storage.tables.entities import iot_device
from storage.tables.pipeline import delivery, is_dead_letter, message
from storage.tables.targets import target_event

STATES: Final = ("dead", "expired")

_LAST: Final = "ffffffff-ffff-ffff-ffff-ffffffffffff"
_EVER: Final = 2**63 - 1

_columns = (
    delivery,
    func.coalesce(message.c.received_at, target_event.c.at).label("received_at"),
    iot_device.c.name.label("device_name"),
)
_device: Any = bindparam("device_id")
_PAGE = (
    select(*_columns)
    .join(message, message.c.message_id == delivery.c.message_id, isouter=True)
    .join(target_event, target_event.c.event_id == delivery.c.message_id, isouter=True)
    .join(iot_device, iot_device.c.id == delivery.c.device_id, isouter=True)
    .where(
        delivery.c.target_id == bindparam("target_id"),
        is_dead_letter,
        delivery.c.delivery_id < bindparam("before_id"),
        delivery.c.state.in_(bindparam("states", expanding=True)),
        delivery.c.created_at >= bindparam("from_at"),
        delivery.c.created_at < bindparam("to_at"),
        or_(_device == 0, delivery.c.device_id == _device),
    )
    .order_by(delivery.c.delivery_id.desc())
    .limit(bindparam("limit"))
)
_ONE = (
    select(*_columns, body_of_delivery)
    .join(message, message.c.message_id == delivery.c.message_id, isouter=True)
    .join(target_event, target_event.c.event_id == delivery.c.message_id, isouter=True)
    .join(iot_device, iot_device.c.id == delivery.c.device_id, isouter=True)
    .where(
        delivery.c.delivery_id == bindparam("of_delivery"),
        # As a sum, so that the delivery is found by its key.
        delivery.c.target_id + 0 == bindparam("target_id"),
        is_dead_letter,
    )
)


@dataclass(frozen=True, slots=True, kw_only=True)
class DeadLetterQuery:
    """Which are wanted: made from `from_at` until before `to_at`, in microseconds UTC."""

    limit: int
    before_id: str | None = None
    """Where to go on: behind this delivery."""
    from_at: int = 0
    to_at: int = _EVER
    device_id: int = 0
    """0 for every device's."""
    states: Sequence[str] = STATES


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """`row` is one of the table `delivery` with `received_at` and `device_name`, and with `body` where
    one was asked for. `last_attempt` is None when there was none, or it is not kept any more."""

    row: Row
    last_attempt: Attempt | None


def get(reader: Reader, target_id: int, delivery_id: str) -> DeadLetter:
    """One with its body. Raises NotFound."""
    row = reader.fetch_one(_ONE, {"of_delivery": delivery_id, "target_id": target_id})
    if row is None:
        raise NotFound("There is no such dead letter.")
    return _with_attempts(reader, [row])[0]


def list_page(reader: Reader, target_id: int, query: DeadLetterQuery) -> list[DeadLetter]:
    """Up to `query.limit`, newest first."""
    parameters = {
        "target_id": target_id,
        "before_id": query.before_id or _LAST,
        "states": list(query.states),
        "from_at": query.from_at,
        "to_at": query.to_at,
        "device_id": query.device_id,
        "limit": query.limit,
    }
    return _with_attempts(reader, reader.fetch_all(_PAGE, parameters))


def _with_attempts(reader: Reader, rows: Sequence[Row]) -> list[DeadLetter]:
    last = attempts.latest_of_deliveries(reader, [row.delivery_id for row in rows])
    return [DeadLetter(row, last.get(row.delivery_id)) for row in rows]
