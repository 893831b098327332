"""Attempts at deliveries, as the log of a data target shows them."""

from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import select

from storage.database import Reader, Row
from storage.tables.entities import iot_device, payload_decoder
from storage.tables.pipeline import delivery, delivery_attempt

_SELECT = (
    select(
        delivery_attempt.c.attempt_id,
        delivery_attempt.c.attempted_at,
        delivery_attempt.c.status_code,
        delivery_attempt.c.error_code,
        delivery_attempt.c.error,
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


@dataclass(frozen=True, slots=True)
class Attempt:
    """One attempt. `error` is None when it succeeded; device and decoder when they are gone."""

    id: int
    attempted_at: int
    status_code: int | None
    error: str | None
    device: tuple[int, str] | None
    decoder: tuple[int, str] | None


def latest_of_target(reader: Reader, target_id: int, limit: int) -> list[Attempt]:
    """The target's latest attempts, newest first. First attempts that succeed leave none."""
    rows = reader.fetch_all(
        _SELECT.where(delivery_attempt.c.target_id == target_id)
        .order_by(delivery_attempt.c.attempt_id.desc())
        .limit(limit)
    )
    return [_build(row) for row in rows]


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
        attempted_at=row.attempted_at,
        status_code=row.status_code,
        error=None if row.error_code is None else row.error or row.error_code,
        device=None if row.device_id is None else (row.device_id, row.device_name),
        decoder=None if row.decoder_id is None else (row.decoder_id, row.decoder_name),
    )
