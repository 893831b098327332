"""The values that are published: what the decoders gave for the latest message of each device.

Nothing is decoded here: the results of the jobs are kept, and one of them is a value. Whose they are
is decided by the connections of the data target alone, so that a decoder that is used in several
applications brings nothing of one into the data of another; and what a device has sent while it
belonged to another application is not published by this one.

A share may have ten thousand devices with messages of a megabyte. So their sizes are read first, and
no more of them than `LIMIT_BYTES` in all.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum
from itertools import groupby
from typing import Any

from sqlalchemy import BindParameter, bindparam, func, literal_column, select

from storage.database import Reader, Row
from storage.message_result import JobState
from storage.repositories.open_data import Share
from storage.tables.entities import connection, connection_device, iot_device
from storage.tables.pipeline import is_deferred, message, message_job

LIMIT_BYTES = 32 * 1024 * 1024
# How many of a device's messages are looked through for one that its decoder is done with: those
# before it may still wait for it, or may have been sent before the device was connected.
DEPTH = 50
_CHUNK_DEVICES = 500
# What one statement brings at most stays small enough for the loop, on which some engines read.
_CHUNK_BYTES = 1024 * 1024

_ids: BindParameter[Any] = bindparam("ids", expanding=True)
_PAIRS = (
    select(
        func.coalesce(connection.c.payload_decoder_id, literal_column("0")).label("decoder_id"),
        connection_device.c.device_id,
    )
    .join(connection, connection.c.id == connection_device.c.connection_id)
    .join(iot_device, iot_device.c.id == connection_device.c.device_id)
    .where(
        connection.c.data_target_id == bindparam("target_id"),
        iot_device.c.application_id == bindparam("application_id"),
    )
    .distinct()
    .order_by(literal_column("1"), literal_column("2"))
)
_NEWEST = select(
    iot_device.c.id,
    select(message.c.message_id)
    .where(message.c.device_id == iot_device.c.id)
    .order_by(message.c.received_at.desc())
    .limit(1)
    .correlate(iot_device)
    .scalar_subquery()
    .label("message_id"),
).where(iot_device.c.id.in_(_ids))
_earlier = message.alias("earlier")
_OLDEST_LOOKED_AT = (
    select(_earlier.c.received_at)
    .where(_earlier.c.device_id == iot_device.c.id)
    .order_by(_earlier.c.received_at.desc())
    .limit(1)
    .offset(DEPTH - 1)
    # Left to itself, it would look through the messages of all devices.
    .correlate(iot_device)
    .scalar_subquery()
)
_LATEST_DONE = (
    select(message_job.c.message_id)
    .select_from(message)
    .join(message_job, message_job.c.message_id == message.c.message_id)
    .where(
        message.c.device_id == iot_device.c.id,
        message.c.received_at >= func.coalesce(_OLDEST_LOOKED_AT, literal_column("0")),
        message_job.c.decoder_id == bindparam("decoder_id"),
        ~is_deferred,
    )
    .order_by(message.c.received_at.desc())
    .limit(1)
    .correlate(iot_device)
    .scalar_subquery()
)
_NEWEST_DONE = select(iot_device.c.id, _LATEST_DONE.label("message_id")).where(
    iot_device.c.id.in_(_ids)
)
_SIZES = (
    select(
        message_job.c.message_id,
        message_job.c.device_id,
        message_job.c.state,
        # In this order: an engine tells the length of a column without reading what it holds.
        func.coalesce(func.length(message_job.c.body), func.length(message.c.payload)).label(
            "size_bytes"
        ),
    )
    .join(message, message.c.message_id == message_job.c.message_id)
    .where(
        message_job.c.message_id.in_(_ids),
        message_job.c.decoder_id == bindparam("decoder_id"),
        ~is_deferred,
        message.c.application_id == bindparam("application_id"),
    )
)
_BODIES = (
    select(
        message_job.c.message_id,
        func.coalesce(message_job.c.body, message.c.payload).label("body"),
    )
    .join(message, message.c.message_id == message_job.c.message_id)
    .where(message_job.c.message_id.in_(_ids), message_job.c.decoder_id == bindparam("decoder_id"))
)


class ValueState(StrEnum):
    GIVEN = "given"
    FAILED = "failed"
    """The decoder failed at the device's latest message."""
    LEFT_OUT = "left_out"
    """The values before this one are as many bytes as can be given."""


@dataclass(frozen=True, slots=True)
class LatestValue:
    """`body` is JSON as the decoder gave it, or as the device sent it where nothing decodes it; it is
    None unless `state` is GIVEN."""

    device_id: int
    state: ValueState
    body: bytes | None = None


@dataclass(slots=True)
class _Found:
    message_id: str
    device_id: int
    state: ValueState
    size_bytes: int


def latest_values(
    reader: Reader, share: Share, *, limit_bytes: int = LIMIT_BYTES
) -> list[LatestValue]:
    """The latest value of each device and decoder that is connected to the share's data target.

    In an order that stays the same. A device that nothing is known of is not there.
    """
    pairs = reader.fetch_all(
        _PAIRS,
        {"target_id": share.data_target_id, "application_id": share.application_id},
    )
    values: list[LatestValue] = []
    left_bytes = limit_bytes
    for decoder_id, of_decoder in groupby(pairs, key=lambda row: row.decoder_id):
        device_ids = [row.device_id for row in of_decoder]
        for start in range(0, len(device_ids), _CHUNK_DEVICES):
            chunk = device_ids[start : start + _CHUNK_DEVICES]
            found = _find(reader, decoder_id, chunk, share.application_id)
            left_bytes = _leave_out(found, left_bytes)
            bodies = _read(reader, decoder_id, found)
            values += [LatestValue(o.device_id, o.state, bodies.get(o.message_id)) for o in found]
    return values


def _find(
    reader: Reader, decoder_id: int, device_ids: Sequence[int], application_id: int
) -> list[_Found]:
    """Find the newest messages; where one is not done, the newest that is, which takes longer."""
    of_decoder = {"decoder_id": decoder_id, "application_id": application_id}
    found: dict[int, _Found] = {}
    wanted = device_ids
    for newest in (_NEWEST, _NEWEST_DONE):
        rows = reader.fetch_all(newest, {"ids": wanted, **of_decoder})
        ids = {row.message_id: row.id for row in rows if row.message_id is not None}
        sizes = reader.fetch_all(_SIZES, {"ids": list(ids), **of_decoder})
        found |= {row.device_id: _found(row) for row in sizes}
        wanted = [device_id for device_id in ids.values() if device_id not in found]
        if not wanted:
            break
    return [found[device_id] for device_id in device_ids if device_id in found]


def _found(row: Row) -> _Found:
    is_failed = row.state == JobState.FAILED
    state = ValueState.FAILED if is_failed else ValueState.GIVEN
    return _Found(row.message_id, row.device_id, state, row.size_bytes)


def _leave_out(found: Sequence[_Found], left_bytes: int) -> int:
    """Mark what does not fit any more; return how much is left."""
    for one in found:
        if one.state is ValueState.GIVEN:
            left_bytes -= one.size_bytes
            if left_bytes < 0:
                one.state = ValueState.LEFT_OUT
    return left_bytes


def _read(reader: Reader, decoder_id: int, found: Sequence[_Found]) -> dict[str, bytes]:
    bodies: dict[str, bytes] = {}
    for ids in _in_chunks([one for one in found if one.state is ValueState.GIVEN]):
        rows = reader.fetch_all(_BODIES, {"ids": ids, "decoder_id": decoder_id})
        bodies |= {row.message_id: bytes(row.body) for row in rows}
    return bodies


def _in_chunks(found: Sequence[_Found]) -> Iterator[list[str]]:
    chunk: list[str] = []
    size_bytes = 0
    for one in found:
        if chunk and size_bytes + one.size_bytes > _CHUNK_BYTES:
            yield chunk
            chunk, size_bytes = [], 0
        chunk.append(one.message_id)
        size_bytes += one.size_bytes
    if chunk:
        yield chunk
