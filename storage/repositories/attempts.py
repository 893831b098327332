"""Attempts at deliveries, as the log of a data target shows them."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

from sqlalchemy import func, select

from storage.database import Reader, Row
from storage.tables.entities import iot_device, payload_decoder
from storage.tables.pipeline import delivery, delivery_attempt

_SELECT = (
    select(
        *delivery_attempt.c,
        delivery.c.message_id,
        iot_device.c.id.label("device_id"),
        iot_device.c.name.label("device_name"),
        payload_decoder.c.id.label("decoder_id"),
        payload_decoder.c.name.label("decoder_name"),
    )
    # Outer joins: an attempt outlives the delivery, the device and the decoder.
    .join(delivery, delivery.c.delivery_id == delivery_attempt.c.delivery_id, isouter=True)
    .join(iot_device, iot_device.c.id == delivery.c.device_id, isouter=True)
    .join(payload_decoder, payload_decoder.c.id == delivery.c.decoder_id, isouter=True)
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Attempt:
    """One attempt. `error` is None when it succeeded; message, device and decoder when they are gone."""

    id: int
    delivery_id: str
    message_id: str | None
    number: int
    """1 for the delivery's first."""
    state: str
    """What the delivery was after it."""
    attempted_at: int
    next_at: int | None
    status_code: int | None
    error_code: str | None
    error: str | None
    duration_us: int
    response_excerpt: str | None
    details: str | None
    """A JSON text, see `Exchange.to_json`."""
    device: tuple[int, str] | None
    decoder: tuple[int, str] | None


def latest_of_target(reader: Reader, target_id: int, limit: int) -> list[Attempt]:
    """The target's latest attempts, newest first. First attempts that succeed leave none."""
    return list_of_target(reader, target_id, before_id=None, limit=limit)


def list_of_target(
    reader: Reader,
    target_id: int,
    *,
    before_id: int | None,
    limit: int,
    delivery_id: str | None = None,
) -> list[Attempt]:
    """The target's attempts that were written before `before_id`, or one delivery's, newest first."""
    statement = _SELECT.where(delivery_attempt.c.target_id == target_id)
    if before_id is not None:
        statement = statement.where(delivery_attempt.c.attempt_id < before_id)
    if delivery_id is not None:
        statement = statement.where(delivery_attempt.c.delivery_id == delivery_id)
    rows = reader.fetch_all(statement.order_by(delivery_attempt.c.attempt_id.desc()).limit(limit))
    return [_build(row) for row in rows]


def latest_of_deliveries(reader: Reader, delivery_ids: Collection[str]) -> Mapping[str, Attempt]:
    """The last attempt at each of these deliveries that has any."""
    last = (
        select(func.max(delivery_attempt.c.attempt_id))
        .where(delivery_attempt.c.delivery_id.in_(sorted(delivery_ids)))
        .group_by(delivery_attempt.c.delivery_id)
    )
    rows = reader.fetch_all(_SELECT.where(delivery_attempt.c.attempt_id.in_(last)))
    return {row.delivery_id: _build(row) for row in rows}


def targets_with_errors(reader: Reader, target_ids: Sequence[int], since: int) -> set[int]:
    """Those of `target_ids` with a failed attempt since then, in microseconds UTC."""
    rows = reader.fetch_all(
        select(delivery_attempt.c.target_id)
        .where(
            delivery_attempt.c.target_id.in_(target_ids),
            delivery_attempt.c.attempted_at >= since,
            delivery_attempt.c.error_code.is_not(None),
        )
        .distinct()
    )
    return {row.target_id for row in rows}


def _build(row: Row) -> Attempt:
    return Attempt(
        id=row.attempt_id,
        delivery_id=row.delivery_id,
        message_id=row.message_id,
        number=row.attempt,
        state=row.state,
        attempted_at=row.attempted_at,
        next_at=row.next_at,
        status_code=row.status_code,
        error_code=row.error_code,
        error=None if row.error_code is None else row.error or row.error_code,
        duration_us=row.duration_us,
        response_excerpt=row.response_excerpt,
        details=row.details,
        device=None if row.device_id is None else (row.device_id, row.device_name),
        decoder=None if row.decoder_id is None else (row.decoder_id, row.decoder_name),
    )
