"""Payload decoders. A script is kept as it is: nothing here runs it but the sandbox, on request."""

from collections.abc import Mapping
from typing import Any

from aiohttp.web import Response

from protocols.errors import NotFound
from storage.database import Reader, Transaction
from storage.instants import instant_or_none
from storage.repositories import Author, decode_failures, decoders, organizations
from storage.repositories.decoders import Decoder, DecoderFields
from web.access import Needs
from web.call import Action, Call, Change, Changed
from web.error_codes import ErrorCode
from web.errors import Refusal
from web.hub_port import Entity
from web.routing import RouteFamily
from web.schemas.fields import AffectedSchema
from web.schemas.listing import OrganizationQuery
from web.schemas.payload_decoder import (
    DecoderBody,
    DecoderDetailSchema,
    DecoderPage,
    DecoderSchema,
    MinimalDecoderPage,
    QueuedSchema,
    ReplayBody,
    TestDecoderBody,
)
from web.views import View, decoder_views


async def _create(call: Call) -> View:
    fields = _fields(call)

    def unit(transaction: Transaction, author: Author) -> Changed[View]:
        _demand_organization(transaction, call, fields)
        decoder_id = decoders.create(transaction, fields, author)
        return _changed(call, transaction, Action.CREATE, decoder_id)

    return await call.change(unit)


async def _get(call: Call) -> View:
    def read(reader: Reader) -> View:
        found = decoders.get(reader, call.scope, call.id)
        failures = decode_failures.of_decoder(reader, call.id)
        return {
            **decoder_views(reader, [found])[0],
            "failed_messages": failures.count,
            "last_error": failures.last_error,
            "last_error_at": failures.last_error_at,
        }

    return await call.read(read)


async def _list(call: Call) -> Mapping[str, Any]:
    def read(reader: Reader) -> Mapping[str, Any]:
        page = decoders.list_page(
            reader, call.scope, call.page, organization_id=call.query["organization_id"]
        )
        return {"data": decoder_views(reader, page.rows), "count": page.total}

    return await call.read(read)


async def _update(call: Call) -> View:
    fields = _fields(call)

    def unit(transaction: Transaction, author: Author) -> Changed[View]:
        found = decoders.get(transaction, call.scope, call.id)
        _demand_organization(transaction, call, fields)
        decoders.update_fields(transaction, call.id, fields, author)
        changed = _changed(call, transaction, Action.UPDATE, call.id)
        touched = (fields.organization_id, found.organization_id)
        return Changed(changed.result, _change(Action.UPDATE, found, touched))

    return await call.change(unit)


async def _delete(call: Call) -> Mapping[str, int]:
    def unit(transaction: Transaction, author: Author) -> Changed[int]:
        found = decoders.get(transaction, call.scope, call.id)
        if decoders.is_in_use(transaction, call.id):
            raise Refusal(
                400,
                ErrorCode.DELETE_NOT_ALLOWED_IN_USE,
                "A connection uses this payload decoder; delete the connection first.",
            )
        change = _change(Action.DELETE, found, (found.organization_id,))
        return Changed(decoders.remove(transaction, call.id), change)

    return {"affected": await call.change(unit)}


async def _replay(call: Call) -> Mapping[str, int]:
    since, until = call.body["since"], call.body["until"]

    def unit(transaction: Transaction, author: Author) -> Changed[None]:
        found = decoders.get(transaction, call.scope, call.id)
        return Changed(None, _change(Action.REPLAY, found, (found.organization_id,)))

    await call.change(unit)
    queued = await call.services.hub.replay(call.id, instant_or_none(since), instant_or_none(until))
    return {"queued": queued}


async def _test(call: Call) -> Response:
    outcome = await call.services.hub.test_decoder(
        call.body["code"],
        call.body["raw_payload_json_string"].encode(),
        call.body["iot_device_json_string"].encode(),
    )
    if outcome.body is None:
        raise Refusal(400, f"Got error: {outcome.error}")
    return Response(status=201, body=outcome.body, content_type="application/json")


def _fields(call: Call) -> DecoderFields:
    return DecoderFields(
        organization_id=call.body["organization_id"],
        name=call.body["name"],
        decoding_function=call.body["decoding_function"],
    )


def _demand_organization(reader: Reader, call: Call, fields: DecoderFields) -> None:
    try:
        organizations.get(reader, call.scope, fields.organization_id or 0)
    except NotFound as exc:
        raise Refusal(
            400, ErrorCode.ORGANIZATION_DOES_NOT_EXIST, "There is no such organization."
        ) from exc


def _changed(
    call: Call, transaction: Transaction, action: Action, decoder_id: int
) -> Changed[View]:
    found = decoders.get(transaction, call.scope, decoder_id)
    change = _change(action, found, (found.organization_id,))
    return Changed(decoder_views(transaction, [found])[0], change)


def _change(action: Action, found: Decoder, touched: tuple[int | None, ...]) -> Change:
    return Change(
        action=action,
        entity=Entity.PAYLOAD_DECODER,
        entity_id=found.id,
        name=found.name,
        organization_ids=touched,
    )


_decoder = RouteFamily("payload-decoder")
_trial = RouteFamily("test-payload-decoder")

ROUTES = [
    _decoder.route(
        "POST",
        "",
        _create,
        needs=Needs.APPLICATION_ADMIN,
        summary="Make a payload decoder; decodingFunction is a JSON string of its source",
        body=DecoderBody,
        reply=DecoderSchema,
        status=201,
    ),
    _decoder.route(
        "GET",
        "",
        _list,
        needs=Needs.READ,
        summary="List payload decoders",
        query=OrganizationQuery,
        reply=DecoderPage,
    ),
    _decoder.route(
        "GET",
        "/minimal",
        _list,
        needs=Needs.READ,
        summary="List payload decoders, ids and names only",
        query=OrganizationQuery,
        reply=MinimalDecoderPage,
    ),
    _decoder.route(
        "GET",
        "/{id}",
        _get,
        needs=Needs.READ,
        summary="Get a payload decoder with what it fails on",
        reply=DecoderDetailSchema,
    ),
    _decoder.route(
        "PUT",
        "/{id}",
        _update,
        needs=Needs.APPLICATION_ADMIN,
        summary="Change a payload decoder",
        body=DecoderBody,
        reply=DecoderSchema,
    ),
    _decoder.route(
        "DELETE",
        "/{id}",
        _delete,
        needs=Needs.APPLICATION_ADMIN,
        summary="Delete a payload decoder that no connection uses",
        reply=AffectedSchema,
    ),
    _decoder.route(
        "POST",
        "/{id}/replay",
        _replay,
        needs=Needs.APPLICATION_ADMIN,
        summary="Decode again what this decoder failed on",
        body=ReplayBody,
        is_body_required=False,
        reply=QueuedSchema,
        status=202,
    ),
    _trial.route(
        "POST",
        "",
        _test,
        needs=Needs.READ,
        summary="Run a decoder once, without keeping anything; the answer is what it returns",
        body=TestDecoderBody,
        status=201,
    ),
]
