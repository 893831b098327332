"""What devices have sent lately, as the management API shows it beside them."""

from dataclasses import dataclass

from sqlalchemy import select

from storage.database import Reader, Row
from storage.tables.pipeline import message

_SELECT = select(
    message.c.message_id, message.c.device_id, message.c.received_at, message.c.payload
).order_by(message.c.received_at.desc(), message.c.message_id.desc())
_TIMES = select(message.c.message_id, message.c.device_id, message.c.received_at).order_by(
    message.c.received_at.desc(), message.c.message_id.desc()
)


@dataclass(frozen=True, slots=True)
class Reception:
    """One message of a device; `payload` only where it was asked for."""

    id: str
    device_id: int
    received_at: int
    payload: bytes | None = None


def latest(reader: Reader, device_id: int) -> Reception | None:
    """The device's latest message with its payload, or None when none is kept."""
    row = reader.fetch_one(_SELECT.where(message.c.device_id == device_id).limit(1))
    if row is None:
        return None
    return Reception(row.message_id, row.device_id, row.received_at, bytes(row.payload))


def recent(reader: Reader, device_id: int, limit: int) -> list[Reception]:
    """The device's latest messages without their payloads, newest first."""
    rows = reader.fetch_all(_TIMES.where(message.c.device_id == device_id).limit(limit))
    return [_build(row) for row in rows]


def _build(row: Row) -> Reception:
    return Reception(row.message_id, row.device_id, row.received_at)
