"""What happens to the messages of a device: which decoders run and which targets receive.

A plan is derived from devices, decoders, data targets and the connections between them, and is
read in bulk: the router asks for all the devices of a batch at once. A connection joins a device, a
decoder and a target, so that a decoder shared by two applications never takes a message of one to
the target of the other.

A target that is only published has no part in a route: its decoder runs all the same, so that there
are values to publish, but no deliveries are made.
"""

import itertools
import json
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from typing import Any

from sqlalchemy import BindParameter, bindparam, select

from protocols.decoders import DecoderSource
from protocols.messages import ApplicationId, DecoderId, DeviceId, OrganizationId, TargetId
from protocols.targets.open_data_dk import OPEN_DATA_DK
from storage.database import Database, Reader
from storage.tables.entities import (
    application,
    connection,
    connection_device,
    data_target,
    iot_device,
    payload_decoder,
)

# Below the number of parameters that every engine takes in one statement.
_CHUNK = 500

# Made once: to compile one takes about half a millisecond, and the router reads batch after batch.
_ids: BindParameter[list[int]] = bindparam("ids", expanding=True)
_DEVICES = (
    select(
        iot_device.c.id,
        iot_device.c.type,
        iot_device.c.name,
        iot_device.c.longitude,
        iot_device.c.latitude,
        iot_device.c.comment,
        iot_device.c.comment_on_location,
        iot_device.c.metadata,
        iot_device.c.application_id,
        application.c.name.label("application_name"),
        application.c.organization_id,
    )
    .join(application, application.c.id == iot_device.c.application_id)
    .where(iot_device.c.id.in_(_ids))
)
_ROUTES = (
    select(
        connection_device.c.device_id,
        connection.c.payload_decoder_id,
        connection.c.data_target_id,
        data_target.c.type,
    )
    .join(connection, connection.c.id == connection_device.c.connection_id)
    .join(data_target, data_target.c.id == connection.c.data_target_id)
    .where(connection_device.c.device_id.in_(_ids))
    .distinct()
    .order_by(
        connection_device.c.device_id,
        connection.c.payload_decoder_id,
        connection.c.data_target_id,
    )
)
_SOURCES = select(payload_decoder.c.id, payload_decoder.c.decoding_function).where(
    payload_decoder.c.id.in_(_ids)
)


@dataclass(frozen=True, slots=True)
class Route:
    """One job of a message: a decoder, or None to pass the payload on as it is, and its targets.

    There may be none: then the result is kept, and goes nowhere.
    """

    decoder: DecoderSource | None
    target_ids: tuple[TargetId, ...]


NOWHERE = Route(None, ())
"""The one route of a device without connections: its messages are kept, and go nowhere."""


@dataclass(frozen=True, slots=True)
class DevicePlan:
    """Each distinct decoder stands once; a device without connections has one empty route."""

    device_id: DeviceId
    organization_id: OrganizationId
    application_id: ApplicationId
    metadata: bytes
    """The JSON text that `decode(payload, metadata)` gets; it never holds secrets."""
    routes: tuple[Route, ...]


class PlanStore:
    """Reads plans; for the device that is gone it gives a plan that leads nowhere."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def load(self, device_ids: Collection[DeviceId]) -> dict[DeviceId, DevicePlan]:
        """Return a plan for each of these devices, all from one snapshot."""
        ids = list(device_ids)

        def read(reader: Reader) -> dict[DeviceId, DevicePlan]:
            sources: dict[int, DecoderSource] = {}
            plans: dict[DeviceId, DevicePlan] = {}
            for start in range(0, len(ids), _CHUNK):
                chunk = ids[start : start + _CHUNK]
                routes = _read_routes(reader, chunk, sources)
                plans.update(_read_plans(reader, chunk, routes))
            return plans

        plans = await self._database.read(read)
        return {device_id: plans.get(device_id) or _gone(device_id) for device_id in ids}


def _read_plans(
    reader: Reader, device_ids: list[DeviceId], routes: dict[int, tuple[Route, ...]]
) -> Iterator[tuple[DeviceId, DevicePlan]]:
    for row in reader.fetch_all(_DEVICES, {"ids": device_ids}):
        device_id = DeviceId(row.id)
        yield (
            device_id,
            DevicePlan(
                device_id=device_id,
                organization_id=OrganizationId(row.organization_id),
                application_id=ApplicationId(row.application_id),
                metadata=_metadata(row),
                routes=routes.get(row.id, (NOWHERE,)),
            ),
        )


def _read_routes(
    reader: Reader, device_ids: list[DeviceId], sources: dict[int, DecoderSource]
) -> dict[int, tuple[Route, ...]]:
    rows = reader.fetch_all(_ROUTES, {"ids": device_ids})
    _read_sources(reader, {row.payload_decoder_id for row in rows}, sources)
    return {
        device_id: tuple(
            Route(
                None if decoder_id is None else sources[decoder_id],
                tuple(TargetId(r.data_target_id) for r in of_decoder if r.type != OPEN_DATA_DK),
            )
            for decoder_id, of_decoder in itertools.groupby(
                of_device, key=lambda row: row.payload_decoder_id
            )
        )
        for device_id, of_device in itertools.groupby(rows, key=lambda row: row.device_id)
    }


def _read_sources(
    reader: Reader, decoder_ids: set[int | None], sources: dict[int, DecoderSource]
) -> None:
    """Read each decoder's script once, however many devices share it."""
    missing = [d for d in decoder_ids if d is not None and d not in sources]
    for row in reader.fetch_all(_SOURCES, {"ids": missing}) if missing else ():
        sources[row.id] = DecoderSource(decoder_id=DecoderId(row.id), code=row.decoding_function)


def _metadata(row: Any) -> bytes:
    location = None
    if row.longitude is not None and row.latitude is not None:
        location = {"type": "Point", "coordinates": [row.longitude, row.latitude]}
    described = {
        "id": row.id,
        "type": row.type,
        "name": row.name,
        "location": location,
        "comment": row.comment,
        "commentOnLocation": row.comment_on_location,
        "metadata": json.loads(row.metadata) if row.metadata else None,
        "application": {"id": row.application_id, "name": row.application_name},
    }
    return json.dumps(described, ensure_ascii=False, separators=(",", ":")).encode()


def _gone(device_id: DeviceId) -> DevicePlan:
    return DevicePlan(
        device_id=device_id,
        organization_id=OrganizationId(0),
        application_id=ApplicationId(0),
        metadata=b"{}",
        routes=(NOWHERE,),
    )
