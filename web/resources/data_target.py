"""Data targets, and the log of what was tried on them."""

from collections.abc import Mapping
from typing import Any

from protocols.errors import NotFound
from protocols.targets import SigningAlgorithm
from protocols.targets.setting_names import SIGNING_KEYS
from storage.database import Reader, Transaction
from storage.repositories import (
    Author,
    applications,
    attempts,
    data_targets,
    open_data,
    target_secrets,
)
from storage.repositories.attempts import Attempt
from web.access import Needs
from web.call import Action, Call, Changed
from web.dataset_writing import dataset_fields
from web.error_codes import ErrorCode
from web.errors import Refusal
from web.routing import RouteFamily
from web.schemas.data_target import (
    DataTargetBody,
    DataTargetDetailSchema,
    DataTargetPage,
    DataTargetSchema,
    DeliveryLogSchema,
    SignedDataTargetSchema,
)
from web.schemas.fields import AffectedSchema
from web.schemas.listing import ApplicationIdQuery
from web.signing_keys import add_key
from web.target_settings import configuration, kind_of, with_key
from web.target_writing import (
    change_of_target,
    changed_target,
    configuration_error,
    stored_target,
)
from web.views import View, data_target_views

_LOG_ROWS = 250


async def _create(call: Call) -> View:
    wanted = configuration(_settings(call), call.services.target_resources)
    dataset = dataset_fields(call.body["open_data_dk_dataset"])
    application_id = call.body["application_id"]
    now = call.services.clock()
    signing_secret = None
    if SIGNING_KEYS in kind_of(wanted.fields.type).secret_names:
        new = add_key(SigningAlgorithm.HMAC_SHA256, [], now=now)
        wanted, signing_secret = with_key(wanted, new), new.secret

    def unit(transaction: Transaction, author: Author) -> Changed[View]:
        _demand_application(transaction, call, application_id)
        target_id = data_targets.create(transaction, application_id, wanted.fields, author)
        target_secrets.put(transaction, call.services.box, target_id, wanted.secrets)
        open_data.put(transaction, target_id, dataset, author)
        return changed_target(call, transaction, Action.CREATE, target_id, now)

    made = await call.change(unit)
    return {**made, "signing_secret": signing_secret}


async def _get(call: Call) -> View:
    now = call.services.clock()

    def read(reader: Reader) -> View:
        found = data_targets.get(reader, call.scope, call.id)
        return {
            **data_target_views(reader, [found], now)[0],
            "configuration_error": configuration_error(call, reader, found),
        }

    return await call.read(read)


async def _list(call: Call) -> Mapping[str, Any]:
    now = call.services.clock()

    def read(reader: Reader) -> Mapping[str, Any]:
        page = data_targets.list_page(
            reader, call.scope, call.page, application_id=call.query["application_id"]
        )
        return {"data": data_target_views(reader, page.rows, now), "count": page.total}

    return await call.read(read)


async def _update(call: Call) -> View:
    dataset = dataset_fields(call.body["open_data_dk_dataset"])
    application_id = call.body["application_id"]
    now = call.services.clock()

    def unit(transaction: Transaction, author: Author) -> Changed[View]:
        found = data_targets.get(transaction, call.scope, call.id)
        if application_id != found.application_id:
            raise Refusal(
                400,
                ErrorCode.NOT_SAME_APPLICATION,
                "A data target stays in its application: its connections belong there.",
            )
        if call.body["type"] != found.fields.type:
            raise Refusal(400, "A data target keeps its type; make a new one of the other type.")
        stored = None if call.body["forget_secrets"] else stored_target(call, transaction, found)
        wanted = configuration(_settings(call), call.services.target_resources, stored)
        data_targets.update_fields(transaction, call.id, wanted.fields, author)
        target_secrets.put(transaction, call.services.box, call.id, wanted.secrets)
        open_data.put(transaction, call.id, dataset, author)
        return changed_target(call, transaction, Action.UPDATE, call.id, now)

    return await call.change(unit)


async def _delete(call: Call) -> Mapping[str, int]:
    def unit(transaction: Transaction, author: Author) -> Changed[int]:
        found = data_targets.get(transaction, call.scope, call.id)
        change = change_of_target(Action.DELETE, found)
        return Changed(data_targets.remove(transaction, call.id), change)

    return {"affected": await call.change(unit)}


async def _log(call: Call) -> list[View]:
    def read(reader: Reader) -> list[View]:
        data_targets.get(reader, call.scope, call.id)
        return [_log_row(row) for row in attempts.latest_of_target(reader, call.id, _LOG_ROWS)]

    return await call.read(read)


def _log_row(row: Attempt) -> View:
    return {
        "id": row.id,
        "created_at": row.attempted_at,
        "type": "OK" if row.error is None else "ERROR",
        "status_code": row.status_code,
        "message": row.error,
        "iot_device": _named(row.device),
        "payload_decoder": _named(row.decoder),
    }


def _named(pair: tuple[int, str] | None) -> View | None:
    return None if pair is None else {"id": pair[0], "name": pair[1]}


def _settings(call: Call) -> dict[str, Any]:
    """The body in the names that data targets read their settings by, which are the API's."""
    return {_camel(name): value for name, value in call.body.items()}


def _camel(name: str) -> str:
    head, *tail = name.split("_")
    return head + "".join(part.capitalize() for part in tail)


def _demand_application(reader: Reader, call: Call, application_id: int) -> None:
    try:
        applications.get(reader, call.scope, application_id)
    except NotFound as exc:
        raise Refusal(
            400, ErrorCode.APPLICATION_DOES_NOT_EXIST, "There is no such application."
        ) from exc


_target = RouteFamily("data-target")
_target_log = RouteFamily("datatarget-log")

ROUTES = [
    _target.route(
        "POST",
        "",
        _create,
        needs=Needs.APPLICATION_ADMIN,
        summary="Make a data target; signingSecret is shown this once",
        body=DataTargetBody,
        reply=SignedDataTargetSchema,
        status=201,
    ),
    _target.route(
        "GET",
        "",
        _list,
        needs=Needs.READ,
        summary="List data targets",
        query=ApplicationIdQuery,
        reply=DataTargetPage,
    ),
    _target.route(
        "GET",
        "/{id}",
        _get,
        needs=Needs.READ,
        summary="Get a data target, and whether it can be sent to as it is configured",
        reply=DataTargetDetailSchema,
    ),
    _target.route(
        "PUT",
        "/{id}",
        _update,
        needs=Needs.APPLICATION_ADMIN,
        summary="Change a data target; secrets that are null or left out stay",
        body=DataTargetBody,
        reply=DataTargetSchema,
    ),
    _target.route(
        "DELETE",
        "/{id}",
        _delete,
        needs=Needs.APPLICATION_ADMIN,
        summary="Delete a data target with its connections",
        reply=AffectedSchema,
    ),
    _target_log.route(
        "GET",
        "/{id}",
        _log,
        needs=Needs.READ,
        summary="The latest attempts at a data target",
        reply=DeliveryLogSchema,
        is_reply_list=True,
    ),
]
