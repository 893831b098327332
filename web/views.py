"""What several resources show of each other: devices, data targets and applications, put together.

Each function reads what it needs for many rows at once: a list costs a handful of queries, however
long it is.
"""

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

import orjson

from storage.database import Reader
from storage.instants import microseconds
from storage.repositories import applications, attempts, data_targets, devices, receptions
from storage.repositories.applications import Application
from storage.repositories.data_targets import DataTarget
from storage.repositories.devices import Device
from storage.repositories.receptions import Reception, StatusCheck
from web.schemas.data_target import SECRETS, SETTINGS
from web.schemas.iot_device import location_of

View = Mapping[str, Any]


def device_views(reader: Reader, rows: Sequence[Device]) -> list[View]:
    """Devices with their applications and when they were last heard of."""
    latest = receptions.latest(reader, [row.id for row in rows])
    owners = application_headers(reader, {row.application_id for row in rows})
    return [
        {
            **_device_columns(row),
            "application": owners[row.application_id],
            "latest_received_message": reception_view(latest.get(row.id)),
        }
        for row in rows
    ]


def application_headers(reader: Reader, application_ids: set[int]) -> Mapping[int, View]:
    """Applications as their devices and data targets show them."""
    return {
        row.id: {
            "id": row.id,
            "name": row.fields.name,
            "stamps": row.stamps,
            "belongs_to": {"id": row.organization_id, "name": row.organization_name},
        }
        for row in applications.get_many(reader, sorted(application_ids))
    }


def reception_view(reception: Reception | None) -> View | None:
    """The latest message. Its payload is left out where it was not asked for."""
    if reception is None:
        return None
    view: dict[str, Any] = {
        "id": reception.id,
        "received_at": reception.received_at,
        "rssi": None,
        "snr": None,
    }
    if reception.raw_data is not None:
        view["raw_data"] = orjson.loads(reception.raw_data)
    return view


def data_target_views(reader: Reader, rows: Sequence[DataTarget], now: datetime) -> list[View]:
    """Data targets without their secrets, and how they have fared in the last day."""
    owners = application_headers(reader, {row.application_id for row in rows})
    since = microseconds(now - timedelta(days=1))
    failing = attempts.targets_with_errors(reader, [row.id for row in rows], since)
    delivered = attempts.latest_delivery_at(reader, [row.id for row in rows])
    return [
        {
            **_data_target_columns(row),
            "application": owners[row.application_id],
            "has_recent_errors": row.id in failing,
            "last_message_date": delivered.get(row.id),
        }
        for row in rows
    ]


def application_views(reader: Reader, rows: Sequence[Application], now: datetime) -> list[View]:
    """Applications with their devices, data targets and traits, and whether they are in order."""
    ids = [row.id for row in rows]
    traits = applications.traits(reader, ids)
    found_devices = devices.list_of_applications(reader, ids)
    latest = receptions.latest(reader, [row.id for row in found_devices])
    targets = data_target_views(reader, data_targets.list_of_applications(reader, ids), now)
    status = applications.status_of(reader, ids, now)
    return [
        {
            "id": row.id,
            "stamps": row.stamps,
            **row.fields.columns(),
            "belongs_to": {"id": row.organization_id, "name": row.organization_name},
            "permission_ids": [],
            "controlled_properties": [
                {"type": trait} for trait in traits[row.id].controlled_properties
            ],
            "device_types": [{"type": trait} for trait in traits[row.id].device_types],
            "iot_devices": [
                {
                    "id": device.id,
                    "name": device.fields.name,
                    "type": device.type,
                    "latest_received_message": reception_view(latest.get(device.id)),
                }
                for device in found_devices
                if device.application_id == row.id
            ],
            "data_targets": [target for target in targets if target["application"]["id"] == row.id],
            "status_check": status.get(row.id, StatusCheck.ALERT),
        }
        for row in rows
    ]


def _device_columns(row: Device) -> View:
    return {
        "id": row.id,
        "stamps": row.stamps,
        "name": row.fields.name,
        "type": row.type,
        "location": location_of(row.fields.longitude, row.fields.latitude),
        "comment_on_location": row.fields.comment_on_location,
        "comment": row.fields.comment,
        "metadata": row.fields.metadata,
        "api_key": row.api_key,
        "device_model": None,
    }


def _data_target_columns(row: DataTarget) -> View:
    settings = {_snake(name): row.fields.settings.get(name) for name in SETTINGS}
    is_set = {f"{_snake(name)}_is_set": bool(row.fields.secrets.get(name)) for name in SECRETS}
    return {
        "id": row.id,
        "stamps": row.stamps,
        "name": row.fields.name,
        "type": row.fields.type,
        **settings,
        **is_set,
    }


def _snake(name: str) -> str:
    return "".join(f"_{letter.lower()}" if letter.isupper() else letter for letter in name)
