"""Moving a device to another application, with new connections in place of the old."""

from collections.abc import Mapping, Sequence
from typing import Any

from protocols.errors import NotFound
from storage.database import Reader, Transaction
from storage.repositories import Author, applications, connections, data_targets, decoders, devices
from storage.repositories.connections import ConnectionFields
from storage.repositories.devices import Device
from web.access import Needs
from web.call import Action, Call, Change, Changed
from web.device_writing import changed
from web.error_codes import ErrorCode
from web.errors import Refusal
from web.hub_port import Entity
from web.routing import RouteFamily
from web.schemas.iot_device import DeviceSchema, MoveDeviceBody
from web.views import View


async def _move(call: Call) -> View:
    body = call.body

    def unit(transaction: Transaction, author: Author) -> Changed[View]:
        found = devices.get(transaction, call.scope, call.id)
        organization_id = _demand_application(transaction, call, body)
        devices.move(transaction, call.id, body["application_id"], author)
        for fields in _connections(transaction, call, organization_id):
            connections.create(transaction, fields, author)
        view = changed(call, transaction, Action.UPDATE, call.id).result
        return Changed(view, _change(found, organization_id))

    return await call.change(unit)


def _demand_application(reader: Reader, call: Call, body: Mapping[str, Any]) -> int:
    """Return the organization that the device goes to."""
    try:
        application = applications.get(reader, call.scope, body["application_id"])
    except NotFound as exc:
        raise Refusal(400, ErrorCode.APPLICATION_DOES_NOT_EXIST, str(exc)) from exc
    if body["organization_id"] not in (None, application.organization_id):
        raise Refusal(
            400,
            ErrorCode.ORGANIZATION_DOES_NOT_EXIST,
            "The application belongs to another organization than the one named.",
        )
    return application.organization_id


def _connections(reader: Reader, call: Call, organization_id: int) -> Sequence[ConnectionFields]:
    wanted: list[ConnectionFields] = []
    for pair in call.body["data_target_to_payload_decoder_ids"]:
        try:
            target = data_targets.get(reader, call.scope, pair["data_target_id"])
            decoder_id = pair["payload_decoder_id"]
            owner = decoder_id and decoders.get(reader, call.scope, decoder_id).organization_id
        except NotFound as exc:
            raise Refusal(400, ErrorCode.ID_DOES_NOT_EXIST, str(exc)) from exc
        if target.application_id != call.body["application_id"]:
            raise Refusal(
                400,
                ErrorCode.NOT_SAME_APPLICATION,
                "The data target must be of the application that the device goes to.",
            )
        if owner not in (None, organization_id):
            raise Refusal(
                400,
                ErrorCode.ID_DOES_NOT_EXIST,
                "The payload decoder belongs to another organization.",
            )
        wanted.append(
            ConnectionFields(
                payload_decoder_id=decoder_id, data_target_id=target.id, device_ids=(call.id,)
            )
        )
    return wanted


def _change(before: Device, organization_id: int) -> Change:
    return Change(
        action=Action.UPDATE,
        entity=Entity.IOT_DEVICE,
        entity_id=before.id,
        name=before.fields.name,
        organization_ids=(organization_id, before.organization_id),
    )


_device = RouteFamily("iot-device")

ROUTES = [
    _device.route(
        "PUT",
        "/changeApplication/{id}",
        _move,
        needs=Needs.APPLICATION_ADMIN,
        summary="Move a device to another application; needs permission in both organizations",
        body=MoveDeviceBody,
        reply=DeviceSchema,
    ),
]
