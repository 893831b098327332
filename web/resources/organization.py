"""Organizations: made and deleted by administrators, seen by those who belong to them."""

from collections.abc import Mapping
from typing import Any

from storage.database import Reader, Transaction
from storage.repositories import Author, Page, applications, organizations
from storage.repositories.applications import ApplicationFilter
from storage.repositories.organizations import Organization
from web.access import MACHINES, Needs, member_scope
from web.call import Action, Call, Change, Changed
from web.error_codes import ErrorCode
from web.errors import Refusal
from web.hub_port import Entity
from web.listings import listing
from web.routing import RouteFamily
from web.schemas.fields import AffectedSchema
from web.schemas.listing import ListQuery
from web.schemas.organization import (
    MinimalOrganizationPage,
    OrganizationBody,
    OrganizationDetailSchema,
    OrganizationPage,
    OrganizationSchema,
)

_APPLICATIONS_SHOWN = 1000


async def _create(call: Call) -> Organization:
    name = call.body["name"]

    def unit(transaction: Transaction, author: Author) -> Changed[Organization]:
        _demand_free(transaction, name)
        organization_id = organizations.create(transaction, name, author)
        return _changed(call, transaction, Action.CREATE, organization_id)

    return await call.change(unit)


async def _get(call: Call) -> Mapping[str, Any]:
    def read(reader: Reader) -> Mapping[str, Any]:
        found = organizations.get(reader, call.scope, call.id)
        wanted = ApplicationFilter(organization_id=found.id)
        shown = applications.list_page(reader, call.scope, wanted, Page(limit=_APPLICATIONS_SHOWN))
        return {
            "id": found.id,
            "name": found.name,
            "open_data_dk_registered": found.open_data_dk_registered,
            "stamps": found.stamps,
            "applications": [{"id": row.id, "name": row.fields.name} for row in shown.rows],
        }

    return await call.read(read)


async def _list(call: Call) -> Mapping[str, Any]:
    return listing(
        await call.read(lambda reader: organizations.list_page(reader, call.scope, call.page))
    )


async def _update(call: Call) -> Organization:
    name = call.body["name"]

    def unit(transaction: Transaction, author: Author) -> Changed[Organization]:
        organizations.get(transaction, call.scope, call.id)
        _demand_free(transaction, name, except_id=call.id)
        organizations.update_name(transaction, call.id, name, author)
        return _changed(call, transaction, Action.UPDATE, call.id)

    return await call.change(unit)


async def _delete(call: Call) -> Mapping[str, int]:
    def unit(transaction: Transaction, author: Author) -> Changed[int]:
        found = organizations.get(transaction, call.scope, call.id)
        affected = organizations.remove(transaction, call.id)
        return Changed(affected, _change(Action.DELETE, found))

    return {"affected": await call.change(unit)}


async def _of_key(call: Call) -> Organization:
    (organization_id,) = call.caller.levels
    return await call.read(
        lambda reader: organizations.get(reader, member_scope(call.caller), organization_id)
    )


def _demand_free(reader: Reader, name: str, *, except_id: int | None = None) -> None:
    if organizations.is_name_taken(reader, name, except_id=except_id):
        raise Refusal(
            400, ErrorCode.ORGANIZATION_ALREADY_EXISTS, "An organization has this name already."
        )


def _changed(
    call: Call, transaction: Transaction, action: Action, organization_id: int
) -> Changed[Organization]:
    found = organizations.get(transaction, call.scope, organization_id)
    return Changed(found, _change(action, found))


def _change(action: Action, found: Organization) -> Change:
    return Change(
        action=action,
        entity=Entity.ORGANIZATION,
        entity_id=found.id,
        name=found.name,
        organization_ids=(found.id,),
    )


_organization = RouteFamily("organization")
_key_info = RouteFamily("api-key-info")

ROUTES = [
    _organization.route(
        "POST",
        "",
        _create,
        needs=Needs.GLOBAL_ADMIN,
        summary="Make an organization",
        body=OrganizationBody,
        reply=OrganizationSchema,
        status=201,
    ),
    _organization.route(
        "GET",
        "",
        _list,
        needs=Needs.READ,
        summary="List organizations",
        query=ListQuery,
        reply=OrganizationPage,
    ),
    _organization.route(
        "GET",
        "/minimal",
        _list,
        needs=Needs.READ,
        summary="List organizations, ids and names only",
        query=ListQuery,
        reply=MinimalOrganizationPage,
    ),
    _organization.route(
        "GET",
        "/{id}",
        _get,
        needs=Needs.READ,
        summary="Get an organization with its applications",
        reply=OrganizationDetailSchema,
    ),
    _organization.route(
        "PUT",
        "/{id}",
        _update,
        needs=Needs.GLOBAL_ADMIN,
        summary="Rename an organization",
        body=OrganizationBody,
        reply=OrganizationSchema,
    ),
    _organization.route(
        "DELETE",
        "/{id}",
        _delete,
        needs=Needs.GLOBAL_ADMIN,
        summary="Delete an organization and everything in it",
        reply=AffectedSchema,
    ),
    _key_info.route(
        "GET",
        "/organization",
        _of_key,
        needs=Needs.SIGNED_IN,
        summary="The organization of the API key that asks",
        reply=OrganizationSchema,
        kinds=MACHINES,
    ),
]
