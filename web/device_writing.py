"""Making and changing one device: the same for a single one and for each of a batch."""

import uuid
from collections.abc import Callable, Mapping
from typing import Any

from protocols.errors import NotFound
from protocols.messages import DeviceType
from storage.database import Reader, Transaction
from storage.repositories import Author, applications, devices
from storage.repositories.devices import Device, DeviceFields, NewDevice
from web.call import Action, Call, Change, Changed
from web.error_codes import ErrorCode
from web.errors import Refusal
from web.hub_port import Entity
from web.views import View, device_views

_AVAILABLE = frozenset({DeviceType.GENERIC_HTTP})


def creation(call: Call, body: Mapping[str, Any]) -> Callable[[Transaction, Author], Changed[View]]:
    """Return the unit that makes the device that `body` describes.

    Raises: Refusal when devices of this type cannot be made yet.
    """
    _demand_available(body)
    new = NewDevice(
        application_id=body["application_id"],
        type=body["type"],
        # Here and not in the unit, which may be run twice.
        api_key=str(uuid.uuid4()),
        fields=fields_of(body),
    )

    def unit(transaction: Transaction, author: Author) -> Changed[View]:
        _demand_application(transaction, call, new.application_id)
        device_id = devices.create(transaction, new, author)
        return changed(call, transaction, Action.CREATE, device_id)

    return unit


def updating(
    call: Call, device_id: int, body: Mapping[str, Any]
) -> Callable[[Transaction, Author], Changed[View]]:
    """Return the unit that changes a device; its type and application stay."""
    _demand_available(body)
    fields = fields_of(body)

    def unit(transaction: Transaction, author: Author) -> Changed[View]:
        found = devices.get(transaction, call.scope, device_id)
        if found.type != body["type"]:
            raise Refusal(400, "A device keeps its type; make a new one of the other type.")
        if found.application_id != body["application_id"]:
            raise Refusal(
                400,
                ErrorCode.NOT_SAME_APPLICATION,
                "A device is moved by PUT iot-device/changeApplication/{id}.",
            )
        devices.update_fields(transaction, device_id, fields, author)
        return changed(call, transaction, Action.UPDATE, device_id)

    return unit


def changed(call: Call, transaction: Transaction, action: Action, device_id: int) -> Changed[View]:
    """Read a device back after a change, with what the change was."""
    found = devices.get(transaction, call.scope, device_id)
    return Changed(device_views(transaction, [found])[0], change_of(action, found))


def change_of(action: Action, found: Device) -> Change:
    return Change(
        action=action,
        entity=Entity.IOT_DEVICE,
        entity_id=found.id,
        name=found.fields.name,
        organization_ids=(found.organization_id,),
    )


def fields_of(body: Mapping[str, Any]) -> DeviceFields:
    """A position with one half missing is none."""
    longitude, latitude = body["longitude"], body["latitude"]
    has_position = longitude is not None and latitude is not None
    return DeviceFields(
        name=body["name"],
        longitude=longitude if has_position else None,
        latitude=latitude if has_position else None,
        comment_on_location=body["comment_on_location"],
        comment=body["comment"],
        metadata=body["metadata"],
    )


def _demand_available(body: Mapping[str, Any]) -> None:
    if body["type"] not in _AVAILABLE:
        raise Refusal(
            400,
            f"Devices of type {body['type']} are not available yet; "
            f"available: {', '.join(sorted(_AVAILABLE))}.",
        )
    if body["device_model_id"] is not None:
        raise Refusal(400, ErrorCode.DEVICE_MODEL_DOES_NOT_EXIST, "There is no such device model.")


def _demand_application(reader: Reader, call: Call, application_id: int) -> None:
    try:
        applications.get(reader, call.scope, application_id)
    except NotFound as exc:
        raise Refusal(
            400, ErrorCode.APPLICATION_DOES_NOT_EXIST, "There is no such application."
        ) from exc
