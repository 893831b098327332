"""Many devices at once: each is made or changed for itself, and each says what became of it."""

from collections.abc import Callable, Mapping
from typing import Any

from marshmallow import ValidationError

from protocols.errors import TingbroError
from storage.database import Transaction
from storage.repositories import Author
from web.access import Needs
from web.call import Call, Changed
from web.device_writing import creation, updating
from web.errors import FieldsInvalid, answer_of
from web.routing import RouteFamily
from web.schemas.fields import LARGEST_ID
from web.schemas.iot_device import BatchBody, BatchRowSchema, DeviceBody
from web.views import View

_SCHEMA = DeviceBody()
_Unit = Callable[[Transaction, Author], Changed[View]]


async def _create_many(call: Call) -> list[View]:
    return [await _one(call, row, creation) for row in call.body["data"]]


async def _update_many(call: Call) -> list[View]:
    def update(call: Call, body: Mapping[str, Any]) -> _Unit:
        return updating(call, body["id"], body)

    return [await _one(call, row, update) for row in call.body["data"]]


async def _one(
    call: Call, row: Mapping[str, Any], unit_of: Callable[[Call, Mapping[str, Any]], _Unit]
) -> View:
    identity = {
        "name": row.get("name") if isinstance(row.get("name"), str) else None,
        "application_id": _number(row.get("applicationId")),
    }
    try:
        body = {**_load(row), "id": _number(row.get("id")) or 0}
        return {"data": await call.change(unit_of(call, body)), "id_metadata": identity}
    except TingbroError as error:
        answer = answer_of(error)
        if answer is None:
            raise
        return {"error": {"message": answer.message}, "id_metadata": identity}


def _load(row: Mapping[str, Any]) -> Mapping[str, Any]:
    try:
        loaded: Mapping[str, Any] = _SCHEMA.load(dict(row))
    except ValidationError as exc:
        raise FieldsInvalid(exc) from None
    return loaded


def _number(value: object) -> int | None:
    is_id = isinstance(value, int) and not isinstance(value, bool) and 0 < value <= LARGEST_ID
    return value if is_id else None  # type: ignore[return-value]  # narrowed by the line above


_device = RouteFamily("iot-device")

ROUTES = [
    _device.route(
        "POST",
        "/createMany",
        _create_many,
        needs=Needs.APPLICATION_ADMIN,
        summary="Register up to 50 devices",
        body=BatchBody,
        reply=BatchRowSchema,
        is_reply_list=True,
        status=201,
    ),
    _device.route(
        "POST",
        "/updateMany",
        _update_many,
        needs=Needs.APPLICATION_ADMIN,
        summary="Change up to 50 devices, each named by its id",
        body=BatchBody,
        reply=BatchRowSchema,
        is_reply_list=True,
        status=201,
    ),
]
