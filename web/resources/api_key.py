"""API keys: how machines call this API. People make them; keys cannot make keys."""

from collections.abc import Mapping
from typing import Any

from protocols.errors import NotFound
from storage.database import Reader, Transaction
from storage.repositories import Author, api_keys, organizations
from storage.repositories.api_keys import ApiKey, ApiKeyFields
from web.access import PEOPLE, Needs, scope_for
from web.authentication import hash_api_key, new_api_key
from web.call import Action, Call, Change, Changed
from web.error_codes import ErrorCode
from web.errors import Refusal
from web.hub_port import Entity
from web.listings import listing
from web.routing import RouteFamily
from web.schemas.api_key import (
    ApiKeyBody,
    ApiKeyPage,
    ApiKeyQuery,
    ApiKeySchema,
    ApiKeyUpdateBody,
    CreatedApiKeySchema,
)
from web.schemas.fields import AffectedSchema
from web.views import View


async def _create(call: Call) -> View:
    fields = _fields(call)
    organization_id = call.body["organization_id"]
    key = new_api_key()

    def unit(transaction: Transaction, author: Author) -> Changed[View]:
        _demand_organization(transaction, call, organization_id)
        key_id = api_keys.create(transaction, organization_id, hash_api_key(key), fields, author)
        return _changed(call, transaction, Action.CREATE, key_id)

    created = await call.change(unit)
    return {**created, "key": key}


async def _get(call: Call) -> View:
    scope = scope_for(call.caller, Needs.USER_ADMIN)
    return _view(await call.read(lambda reader: api_keys.get(reader, scope, call.id)))


async def _list(call: Call) -> Mapping[str, Any]:
    scope = scope_for(call.caller, Needs.USER_ADMIN)
    page = await call.read(
        lambda reader: api_keys.list_page(
            reader, scope, call.page, organization_id=call.query["organization_id"]
        )
    )
    return listing(page, _view)


async def _update(call: Call) -> View:
    fields = _fields(call)

    def unit(transaction: Transaction, author: Author) -> Changed[View]:
        api_keys.get(transaction, call.scope, call.id)
        api_keys.update_fields(transaction, call.id, fields, author)
        return _changed(call, transaction, Action.UPDATE, call.id)

    return await call.change(unit)


async def _delete(call: Call) -> Mapping[str, int]:
    def unit(transaction: Transaction, author: Author) -> Changed[int]:
        found = api_keys.get(transaction, call.scope, call.id)
        return Changed(api_keys.remove(transaction, call.id), _change(Action.DELETE, found))

    return {"affected": await call.change(unit)}


def _fields(call: Call) -> ApiKeyFields:
    return ApiKeyFields(
        name=call.body["name"],
        levels=tuple(call.body["levels"]),
        expires_at=call.body["expires_on"],
    )


def _view(found: ApiKey) -> View:
    return {
        "id": found.id,
        "stamps": found.stamps,
        "name": found.fields.name,
        "organization": {"id": found.organization_id, "name": found.organization_name},
        "levels": list(found.fields.levels),
        "expires_on": found.fields.expires_at,
        "last_used_at": found.last_used_at,
    }


def _demand_organization(reader: Reader, call: Call, organization_id: int) -> None:
    try:
        organizations.get(reader, call.scope, organization_id)
    except NotFound as exc:
        raise Refusal(
            400, ErrorCode.ORGANIZATION_DOES_NOT_EXIST, "There is no such organization."
        ) from exc


def _changed(call: Call, transaction: Transaction, action: Action, key_id: int) -> Changed[View]:
    found = api_keys.get(transaction, call.scope, key_id)
    return Changed(_view(found), _change(action, found))


def _change(action: Action, found: ApiKey) -> Change:
    return Change(
        action=action,
        entity=Entity.API_KEY,
        entity_id=found.id,
        name=found.fields.name,
        organization_ids=(found.organization_id,),
    )


_key = RouteFamily("api-key")

ROUTES = [
    _key.route(
        "POST",
        "",
        _create,
        needs=Needs.USER_ADMIN,
        summary="Make an API key; the answer is the only place where it is ever shown",
        body=ApiKeyBody,
        reply=CreatedApiKeySchema,
        status=201,
        kinds=PEOPLE,
    ),
    _key.route(
        "GET",
        "",
        _list,
        needs=Needs.USER_ADMIN,
        summary="List API keys, without the keys",
        query=ApiKeyQuery,
        reply=ApiKeyPage,
        kinds=PEOPLE,
    ),
    _key.route(
        "GET",
        "/{id}",
        _get,
        needs=Needs.USER_ADMIN,
        summary="Get an API key, without the key",
        reply=ApiKeySchema,
        kinds=PEOPLE,
    ),
    _key.route(
        "PUT",
        "/{id}",
        _update,
        needs=Needs.USER_ADMIN,
        summary="Change what an API key may do, or how long",
        body=ApiKeyUpdateBody,
        reply=ApiKeySchema,
        kinds=PEOPLE,
    ),
    _key.route(
        "DELETE",
        "/{id}",
        _delete,
        needs=Needs.USER_ADMIN,
        summary="Delete an API key; it stops working at once",
        reply=AffectedSchema,
        kinds=PEOPLE,
    ),
]
