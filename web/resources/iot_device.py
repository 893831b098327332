"""IoT devices."""

import uuid
from collections.abc import Mapping
from typing import Any

from storage.database import Reader, Transaction
from storage.repositories import Author, applications, decoders, devices, organizations, receptions
from web.access import Needs
from web.call import Action, Call, Changed
from web.device_writing import change_of, changed, creation, updating
from web.errors import Refusal
from web.routing import RouteFamily
from web.schemas.fields import AffectedSchema
from web.schemas.iot_device import (
    ApiKeyOfDeviceSchema,
    DeviceBody,
    DeviceDetailSchema,
    DevicePage,
    DeviceSchema,
    MapDeviceSchema,
    MinimalDevicePage,
    location_of,
)
from web.schemas.listing import ListQuery
from web.views import View, device_views, reception_view

_RECENT_MESSAGES = 20


async def _create(call: Call) -> View:
    return await call.change(creation(call, call.body))


async def _get(call: Call) -> View:
    def read(reader: Reader) -> View:
        found = devices.get(reader, call.scope, call.id)
        latest = receptions.latest(reader, call.id)
        return {
            **device_views(reader, [found])[0],
            **({"latest_received_message": reception_view(latest)} if latest else {}),
            "received_messages_metadata": receptions.recent(reader, call.id, _RECENT_MESSAGES),
        }

    return await call.read(read)


async def _list_of_application(call: Call) -> Mapping[str, Any]:
    def read(reader: Reader) -> Mapping[str, Any]:
        applications.get(reader, call.scope, call.id)
        page = devices.list_of_application(reader, call.id, call.page)
        return {"data": device_views(reader, page.rows), "count": page.total}

    return await call.read(read)


async def _list_of_organization(call: Call) -> Mapping[str, Any]:
    def read(reader: Reader) -> Mapping[str, Any]:
        organizations.get(reader, call.scope, call.id)
        page = devices.list_of_organization(reader, call.id, call.page)
        return {"data": device_views(reader, page.rows), "count": page.total}

    return await call.read(read)


async def _map(call: Call) -> list[View]:
    def read(reader: Reader) -> list[View]:
        applications.get(reader, call.scope, call.id)
        rows = devices.list_of_applications(reader, [call.id])
        return [
            {
                "id": row.id,
                "name": row.fields.name,
                "type": row.type,
                "latest_sent_message": row.last_message_at,
                "location": location_of(row.fields.longitude, row.fields.latitude),
            }
            for row in rows
        ]

    return await call.read(read)


async def _list_of_decoder(call: Call) -> Mapping[str, Any]:
    def read(reader: Reader) -> Mapping[str, Any]:
        decoders.get(reader, call.scope, call.id)
        page = devices.list_of_decoder(reader, call.scope, call.id, call.page)
        rows = [
            {
                "id": row.id,
                "name": row.fields.name,
                "can_read": True,
                "application_id": row.application_id,
                "organization_id": row.organization_id,
                "last_active_time": row.last_message_at,
            }
            for row in page.rows
        ]
        return {"data": rows, "count": page.total}

    return await call.read(read)


async def _update(call: Call) -> View:
    return await call.change(updating(call, call.id, call.body))


async def _reset_api_key(call: Call) -> Mapping[str, str]:
    api_key = str(uuid.uuid4())

    def unit(transaction: Transaction, author: Author) -> Changed[View]:
        if devices.get(transaction, call.scope, call.id).api_key is None:
            raise Refusal(400, "Only generic HTTP devices have an API key.")
        devices.update_api_key(transaction, call.id, api_key, author)
        return changed(call, transaction, Action.UPDATE, call.id)

    await call.change(unit)
    return {"api_key": api_key}


async def _delete(call: Call) -> Mapping[str, int]:
    def unit(transaction: Transaction, author: Author) -> Changed[int]:
        found = devices.get(transaction, call.scope, call.id)
        return Changed(devices.remove(transaction, call.id), change_of(Action.DELETE, found))

    return {"affected": await call.change(unit)}


_device = RouteFamily("iot-device")
_application = RouteFamily("application")

ROUTES = [
    _device.route(
        "POST",
        "",
        _create,
        needs=Needs.APPLICATION_ADMIN,
        summary="Register a device",
        body=DeviceBody,
        reply=DeviceSchema,
        status=201,
    ),
    _device.route(
        "GET",
        "/{id}",
        _get,
        needs=Needs.READ,
        summary="Get a device with its latest message",
        reply=DeviceDetailSchema,
    ),
    _application.route(
        "GET",
        "/{id}/iot-devices",
        _list_of_application,
        needs=Needs.READ,
        summary="List the devices of an application",
        query=ListQuery,
        reply=DevicePage,
    ),
    _application.route(
        "GET",
        "/{id}/iot-devices-org",
        _list_of_organization,
        needs=Needs.READ,
        summary="List the devices of an organization",
        query=ListQuery,
        reply=DevicePage,
    ),
    _application.route(
        "GET",
        "/{id}/iot-devices-map",
        _map,
        needs=Needs.READ,
        summary="Where the devices of an application are",
        reply=MapDeviceSchema,
        is_reply_list=True,
    ),
    _device.route(
        "GET",
        "/minimalByPayloadDecoder/{id}",
        _list_of_decoder,
        needs=Needs.READ,
        summary="List the devices that a payload decoder decodes for",
        query=ListQuery,
        reply=MinimalDevicePage,
    ),
    _device.route(
        "PUT",
        "/{id}",
        _update,
        needs=Needs.APPLICATION_ADMIN,
        summary="Change a device",
        body=DeviceBody,
        reply=DeviceSchema,
    ),
    _device.route(
        "PUT",
        "/resetHttpDeviceApiKey/{id}",
        _reset_api_key,
        needs=Needs.APPLICATION_ADMIN,
        summary="Give a device a new API key; the old one stops working at once",
        reply=ApiKeyOfDeviceSchema,
    ),
    _device.route(
        "DELETE",
        "/{id}",
        _delete,
        needs=Needs.APPLICATION_ADMIN,
        summary="Delete a device",
        reply=AffectedSchema,
    ),
]
