"""Connections: which devices' messages go through which decoder to which data target."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from protocols.errors import NotFound
from storage.database import Reader, Transaction
from storage.repositories import (
    EVERYWHERE,
    Author,
    PageOf,
    connections,
    data_targets,
    decoders,
    devices,
)
from storage.repositories.connections import Connection, ConnectionFields, ConnectionFilter
from web.access import Needs
from web.call import Action, Call, Change, Changed
from web.error_codes import ErrorCode
from web.errors import Refusal
from web.hub_port import Entity
from web.routing import RouteFamily
from web.schemas.connection import (
    AppendDeviceBody,
    ConnectionBody,
    ConnectionPage,
    ConnectionSchema,
)
from web.schemas.fields import AffectedSchema
from web.schemas.listing import ListQuery
from web.views import View, connection_views


async def _create(call: Call) -> View:
    fields = _fields(call)

    def unit(transaction: Transaction, author: Author) -> Changed[View]:
        _demand_fitting(transaction, call, fields)
        connection_id = connections.create(transaction, fields, author)
        return _changed(call, transaction, Action.CREATE, connection_id)

    return await call.change(unit)


async def _get(call: Call) -> View:
    def read(reader: Reader) -> View:
        return connection_views(reader, [connections.get(reader, call.scope, call.id)])[0]

    return await call.read(read)


def _listing(
    filter_of: Callable[[Call], ConnectionFilter],
) -> Callable[[Call], Any]:
    async def handler(call: Call) -> Mapping[str, Any]:
        def read(reader: Reader) -> Mapping[str, Any]:
            page: PageOf[Connection] = connections.list_page(
                reader, call.scope, filter_of(call), call.page
            )
            return {"data": connection_views(reader, page.rows), "count": page.total}

        return await call.read(read)

    return handler


async def _update(call: Call) -> View:
    fields = _fields(call)

    def unit(transaction: Transaction, author: Author) -> Changed[View]:
        found = connections.get(transaction, call.scope, call.id)
        _demand_fitting(transaction, call, fields)
        connections.update_fields(transaction, call.id, fields, author)
        return _changed(call, transaction, Action.UPDATE, call.id, before=found)

    return await call.change(unit)


async def _append_device(call: Call) -> View:
    device_id = call.body["device_id"]

    def unit(transaction: Transaction, author: Author) -> Changed[View]:
        found = connections.get(transaction, call.scope, call.id)
        if device_id not in found.fields.device_ids:
            _demand_devices(transaction, call, found.fields.data_target_id, [device_id])
            connections.add_devices(transaction, call.id, [device_id])
        return _changed(call, transaction, Action.UPDATE, call.id)

    return await call.change(unit)


async def _delete(call: Call) -> Mapping[str, int]:
    def unit(transaction: Transaction, author: Author) -> Changed[int]:
        found = connections.get(transaction, call.scope, call.id)
        return Changed(
            connections.remove(transaction, call.id), _change(Action.DELETE, found, found)
        )

    return {"affected": await call.change(unit)}


def _fields(call: Call) -> ConnectionFields:
    return ConnectionFields(
        payload_decoder_id=call.body["payload_decoder_id"],
        data_target_id=call.body["data_target_id"],
        device_ids=tuple(call.body["iot_device_ids"]),
    )


def _demand_fitting(reader: Reader, call: Call, fields: ConnectionFields) -> None:
    """All three ends must exist for the caller, and belong together."""
    organization_id = _demand_devices(reader, call, fields.data_target_id, fields.device_ids)
    if fields.payload_decoder_id is None:
        return
    try:
        decoder = decoders.get(reader, call.scope, fields.payload_decoder_id)
    except NotFound as exc:
        raise Refusal(400, ErrorCode.ID_DOES_NOT_EXIST, str(exc)) from exc
    if decoder.organization_id not in (None, organization_id):
        raise Refusal(
            400,
            ErrorCode.ID_DOES_NOT_EXIST,
            "The payload decoder belongs to another organization than the data target.",
        )


def _demand_devices(reader: Reader, call: Call, target_id: int, device_ids: Sequence[int]) -> int:
    """Devices and data target must be of one application. Returns its organization."""
    try:
        target = data_targets.get(reader, call.scope, target_id)
    except NotFound as exc:
        raise Refusal(400, ErrorCode.ID_DOES_NOT_EXIST, str(exc)) from exc
    found = devices.get_many(reader, call.scope, device_ids)
    if len(found) != len(device_ids):
        raise Refusal(400, ErrorCode.DEVICE_DOES_NOT_EXIST, "There is no such device.")
    if any(device.application_id != target.application_id for device in found):
        raise Refusal(
            400,
            ErrorCode.NOT_SAME_APPLICATION,
            "The devices and the data target must be of the same application.",
        )
    return target.organization_id


def _changed(
    call: Call,
    transaction: Transaction,
    action: Action,
    connection_id: int,
    *,
    before: Connection | None = None,
) -> Changed[View]:
    # Not the caller's scope: in a foreign organization it is the change that is refused.
    found = connections.get(transaction, EVERYWHERE, connection_id)
    change = _change(action, found, before or found)
    return Changed(connection_views(transaction, [found])[0], change)


def _change(action: Action, found: Connection, before: Connection) -> Change:
    return Change(
        action=action,
        entity=Entity.CONNECTION,
        entity_id=found.id,
        name=None,
        organization_ids=(found.organization_id, before.organization_id),
    )


_connection = RouteFamily("iot-device-payload-decoder-data-target-connection")

ROUTES = [
    _connection.route(
        "POST",
        "",
        _create,
        needs=Needs.APPLICATION_ADMIN,
        summary="Connect devices through a decoder, or as they are, to a data target",
        body=ConnectionBody,
        reply=ConnectionSchema,
        status=201,
    ),
    _connection.route(
        "GET",
        "",
        _listing(lambda call: ConnectionFilter()),
        needs=Needs.READ,
        summary="List connections",
        query=ListQuery,
        reply=ConnectionPage,
    ),
    _connection.route(
        "GET",
        "/{id}",
        _get,
        needs=Needs.READ,
        summary="Get a connection",
        reply=ConnectionSchema,
    ),
    _connection.route(
        "GET",
        "/byIoTDevice/{id}",
        _listing(lambda call: ConnectionFilter(device_id=call.id)),
        needs=Needs.READ,
        summary="List the connections of a device",
        query=ListQuery,
        reply=ConnectionPage,
    ),
    _connection.route(
        "GET",
        "/byPayloadDecoder/{id}",
        _listing(lambda call: ConnectionFilter(payload_decoder_id=call.id)),
        needs=Needs.READ,
        summary="List the connections through a payload decoder",
        query=ListQuery,
        reply=ConnectionPage,
    ),
    _connection.route(
        "GET",
        "/byDataTarget/{id}",
        _listing(lambda call: ConnectionFilter(data_target_id=call.id)),
        needs=Needs.READ,
        summary="List the connections to a data target",
        query=ListQuery,
        reply=ConnectionPage,
    ),
    _connection.route(
        "PUT",
        "/{id}",
        _update,
        needs=Needs.APPLICATION_ADMIN,
        summary="Change a connection",
        body=ConnectionBody,
        reply=ConnectionSchema,
    ),
    _connection.route(
        "PUT",
        "/appendCopiedDevice/{id}",
        _append_device,
        needs=Needs.APPLICATION_ADMIN,
        summary="Let a further device use a connection",
        body=AppendDeviceBody,
        reply=ConnectionSchema,
    ),
    _connection.route(
        "DELETE",
        "/{id}",
        _delete,
        needs=Needs.APPLICATION_ADMIN,
        summary="Delete a connection",
        reply=AffectedSchema,
    ),
]
