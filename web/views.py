"""What several resources show of each other: devices, data targets and applications, put together.

Each function reads what it needs for many rows at once: a list costs a handful of queries, however
long it is.
"""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

import orjson

from storage.database import Reader
from storage.instants import microseconds
from storage.repositories import (
    EVERYWHERE,
    application_status,
    applications,
    attempts,
    data_targets,
    decoders,
    devices,
    open_data,
    organizations,
    target_health,
)
from storage.repositories.application_status import StatusCheck
from storage.repositories.applications import Application
from storage.repositories.connections import Connection
from storage.repositories.data_targets import DataTarget
from storage.repositories.decoders import Decoder
from storage.repositories.devices import Device
from storage.repositories.receptions import Reception
from storage.repositories.target_health import WELL, ShownHealth
from web.dataset_writing import dataset_view
from web.schemas.data_target import SECRETS, SETTINGS
from web.schemas.iot_device import location_of
from web.signing_keys import valid_keys
from web.target_settings import SHOWN_KEYS

View = Mapping[str, Any]


def device_views(reader: Reader, rows: Sequence[Device]) -> list[View]:
    """Devices with their applications and when they were last heard of."""
    owners = application_headers(reader, {row.application_id for row in rows})
    return [
        {
            **_device_columns(row),
            "application": owners[row.application_id],
            "latest_received_message": last_heard_view(row),
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


def last_heard_view(device: Device) -> View | None:
    """When a device last sent something, as lists show it: without the message itself."""
    if device.last_message_at is None:
        return None
    return {"received_at": device.last_message_at, "rssi": None, "snr": None}


def reception_view(reception: Reception) -> View:
    """A message with its payload."""
    return {
        "id": reception.id,
        "received_at": reception.received_at,
        "rssi": None,
        "snr": None,
        # Verbatim: parsing it would round what a device has sent.
        "raw_data": orjson.Fragment(reception.payload or b"null"),
    }


def data_target_views(reader: Reader, rows: Sequence[DataTarget], now: datetime) -> list[View]:
    """Data targets without their secrets, and how they fare."""
    owners = application_headers(reader, {row.application_id for row in rows})
    since = microseconds(now - timedelta(days=1))
    ids = [row.id for row in rows]
    failing = attempts.targets_with_errors(reader, ids, since)
    healths = target_health.of_targets(reader, ids)
    datasets = open_data.of_targets(reader, ids)
    return [
        {
            **_data_target_columns(row),
            **_health_view(healths.get(row.id, WELL)),
            **_signing_view(row, now),
            "application": owners[row.application_id],
            "has_recent_errors": row.id in failing,
            "open_data_dk_dataset": dataset_view(datasets.get(row.id)),
            "last_message_date": row.last_message_at,
        }
        for row in rows
    ]


def decoder_views(reader: Reader, rows: Sequence[Decoder]) -> list[View]:
    """Payload decoders with their organizations; one that is everyone's has none."""
    owners = organizations.names(reader, {row.organization_id or 0 for row in rows})
    return [
        {
            "id": row.id,
            "stamps": row.stamps,
            "name": row.name,
            "decoding_function": row.decoding_function,
            "organization_id": row.organization_id,
            "organization": _named(row.organization_id, owners),
        }
        for row in rows
    ]


def connection_views(reader: Reader, rows: Sequence[Connection]) -> list[View]:
    """Connections with what they connect."""
    device_ids = {device_id for row in rows for device_id in row.fields.device_ids}
    found = {row.id: row for row in devices.get_many(reader, EVERYWHERE, sorted(device_ids))}
    targets = data_targets.headers(reader, {row.fields.data_target_id for row in rows})
    decoder_names = decoders.names(reader, {row.fields.payload_decoder_id or 0 for row in rows})
    return [
        {
            "id": row.id,
            "stamps": row.stamps,
            "iot_devices": [
                {
                    "id": device_id,
                    "name": found[device_id].fields.name,
                    "type": found[device_id].type,
                    "application_id": found[device_id].application_id,
                }
                for device_id in row.fields.device_ids
            ],
            "payload_decoder": _named(row.fields.payload_decoder_id, decoder_names),
            "data_target": targets[row.fields.data_target_id],
        }
        for row in rows
    ]


def application_views(reader: Reader, rows: Sequence[Application], now: datetime) -> list[View]:
    """Applications with their devices, data targets and traits, and whether they are in order."""
    ids = [row.id for row in rows]
    traits = applications.traits(reader, ids)
    devices_of: defaultdict[int, list[View]] = defaultdict(list)
    for device in devices.list_of_applications(reader, ids):
        devices_of[device.application_id].append(_device_header(device))
    targets_of: defaultdict[int, list[View]] = defaultdict(list)
    found_targets = data_targets.list_of_applications(reader, ids)
    for target in data_target_views(reader, found_targets, now):
        targets_of[target["application"]["id"]].append(target)
    stable = application_status.stable_among(reader, ids, now)
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
            "iot_devices": devices_of[row.id],
            "data_targets": targets_of[row.id],
            "status_check": StatusCheck.STABLE if row.id in stable else StatusCheck.ALERT,
        }
        for row in rows
    ]


def _device_header(row: Device) -> View:
    """A device as its application shows it."""
    return {
        "id": row.id,
        "name": row.fields.name,
        "type": row.type,
        "latest_received_message": last_heard_view(row),
    }


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
    is_set = {f"{_snake(name)}_is_set": name in row.secret_names for name in SECRETS}
    return {
        "id": row.id,
        "stamps": row.stamps,
        "name": row.fields.name,
        "type": row.fields.type,
        **settings,
        **is_set,
    }


def _health_view(health: ShownHealth) -> View:
    return {
        "enabled": health.disabled_at is None,
        "disabled_reason": health.disabled_reason,
        "disabled_at": health.disabled_at,
        "health": health,
    }


def _signing_view(row: DataTarget, now: datetime) -> View:
    keys = valid_keys(row.fields.settings.get(SHOWN_KEYS, ()), now)
    return {
        "signing_public_key": keys[0]["publicKey"] if keys else None,
        "signing_keys": [
            {
                "id": key["id"],
                "algorithm": key["algorithm"],
                "public_key": key["publicKey"],
                "expires_at": key["expiresAt"] and key["expiresAt"] * 1_000_000,
            }
            for key in keys
        ],
    }


def _named(row_id: int | None, names: Mapping[int, str]) -> View | None:
    return None if row_id is None else {"id": row_id, "name": names[row_id]}


def _snake(name: str) -> str:
    return "".join(f"_{letter.lower()}" if letter.isupper() else letter for letter in name)
