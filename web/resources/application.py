"""Applications, and the devices in them."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from protocols.errors import NotFound
from storage.database import Reader, Transaction
from storage.repositories import Author, applications, devices, organizations
from storage.repositories.application_status import StatusCheck
from storage.repositories.applications import Application, ApplicationFields, ApplicationFilter
from web.access import Needs
from web.call import Action, Call, Change, Changed
from web.error_codes import ErrorCode
from web.errors import Refusal
from web.hub_port import Entity
from web.routing import RouteFamily
from web.schemas.application import (
    ApplicationBody,
    ApplicationPage,
    ApplicationQuery,
    ApplicationSchema,
    ApplicationUpdateBody,
    DashboardSchema,
    FilterInformationSchema,
    MoveApplicationBody,
)
from web.schemas.fields import AffectedSchema
from web.views import View, application_views


async def _create(call: Call) -> View:
    fields = _fields(call)
    organization_id = call.body["organization_id"]
    now = call.services.clock()

    def unit(transaction: Transaction, author: Author) -> Changed[View]:
        _demand_organization(transaction, call, organization_id)
        _demand_free(transaction, fields.name)
        application_id = applications.create(transaction, organization_id, fields, author)
        return _changed(call, transaction, Action.CREATE, application_id, now)

    return await call.change(unit)


async def _get(call: Call) -> View:
    now = call.services.clock()

    def read(reader: Reader) -> View:
        found = applications.get(reader, call.scope, call.id)
        return application_views(reader, [found], now)[0]

    return await call.read(read)


async def _list(call: Call) -> Mapping[str, Any]:
    now = call.services.clock()
    check = call.query["status_check"]
    wanted = ApplicationFilter(
        organization_id=call.query["organization_id"],
        status=call.query["status"],
        owner=call.query["owner"],
        status_check=check and StatusCheck(check),
        at=now,
    )

    def read(reader: Reader) -> Mapping[str, Any]:
        page = applications.list_page(reader, call.scope, wanted, call.page)
        return {"data": application_views(reader, page.rows, now), "count": page.total}

    return await call.read(read)


async def _update(call: Call) -> View:
    fields = _fields(call)
    now = call.services.clock()

    def unit(transaction: Transaction, author: Author) -> Changed[View]:
        applications.get(transaction, call.scope, call.id)
        _demand_free(transaction, fields.name, except_id=call.id)
        applications.update_fields(transaction, call.id, fields, author)
        return _changed(call, transaction, Action.UPDATE, call.id, now)

    return await call.change(unit)


async def _move(call: Call) -> View:
    organization_id = call.body["organization_id"]
    now = call.services.clock()

    def unit(transaction: Transaction, author: Author) -> Changed[View]:
        found = applications.get(transaction, call.scope, call.id)
        _demand_organization(transaction, call, organization_id)
        applications.move(transaction, call.id, organization_id, author)
        moved = applications.get(transaction, call.scope, call.id)
        change = _change(Action.UPDATE, moved, from_organization_id=found.organization_id)
        return Changed(application_views(transaction, [moved], now)[0], change)

    return await call.change(unit)


async def _delete(call: Call) -> Mapping[str, int]:
    def unit(transaction: Transaction, author: Author) -> Changed[int]:
        found = applications.get(transaction, call.scope, call.id)
        return Changed(applications.remove(transaction, call.id), _change(Action.DELETE, found))

    return {"affected": await call.change(unit)}


async def _filter_information(call: Call) -> Mapping[str, Any]:
    def read(reader: Reader) -> list[str]:
        organizations.get(reader, call.scope, call.id)
        return applications.list_owners(reader, call.id)

    return {"owners": await call.read(read)}


async def _dashboard(call: Call) -> Mapping[str, int]:
    now = call.services.clock()

    def read(reader: Reader) -> Mapping[str, int]:
        organizations.get(reader, call.scope, call.id)
        alerting = ApplicationFilter(
            organization_id=call.id, status_check=StatusCheck.ALERT, at=now
        )
        everything = ApplicationFilter(organization_id=call.id)
        return {
            "total": applications.count_of(reader, call.scope, everything),
            "with_error": applications.count_of(reader, call.scope, alerting),
            "total_devices": devices.count_of_organization(reader, call.id),
        }

    return await call.read(read)


def _fields(call: Call) -> ApplicationFields:
    body = {name: value for name, value in call.body.items() if name != "organization_id"}
    for name in ("controlled_properties", "device_types"):
        body[name] = tuple(body[name] or ())
    return ApplicationFields(**body)


def _demand_organization(reader: Reader, call: Call, organization_id: int) -> None:
    try:
        organizations.get(reader, call.scope, organization_id)
    except NotFound as exc:
        raise Refusal(
            400, ErrorCode.ORGANIZATION_DOES_NOT_EXIST, "There is no such organization."
        ) from exc


def _demand_free(reader: Reader, name: str, *, except_id: int | None = None) -> None:
    if applications.is_name_taken(reader, name, except_id=except_id):
        raise Refusal(
            400,
            ErrorCode.NAME_IN_USE,
            "An application has this name already; names are unique over all organizations.",
        )


def _changed(
    call: Call, transaction: Transaction, action: Action, application_id: int, now: datetime
) -> Changed[View]:
    found = applications.get(transaction, call.scope, application_id)
    return Changed(application_views(transaction, [found], now)[0], _change(action, found))


def _change(
    action: Action, found: Application, *, from_organization_id: int | None = None
) -> Change:
    touched = (found.organization_id, from_organization_id or found.organization_id)
    return Change(
        action=action,
        entity=Entity.APPLICATION,
        entity_id=found.id,
        name=found.fields.name,
        organization_ids=touched,
    )


_application = RouteFamily("application")

ROUTES = [
    _application.route(
        "POST",
        "",
        _create,
        needs=Needs.APPLICATION_ADMIN,
        summary="Make an application",
        body=ApplicationBody,
        reply=ApplicationSchema,
        status=201,
    ),
    _application.route(
        "GET",
        "",
        _list,
        needs=Needs.READ,
        summary="List applications with their devices and data targets",
        query=ApplicationQuery,
        reply=ApplicationPage,
    ),
    _application.route(
        "GET",
        "/{id}",
        _get,
        needs=Needs.READ,
        summary="Get an application",
        reply=ApplicationSchema,
    ),
    _application.route(
        "PUT",
        "/{id}",
        _update,
        needs=Needs.APPLICATION_ADMIN,
        summary="Change an application",
        body=ApplicationUpdateBody,
        reply=ApplicationSchema,
    ),
    _application.route(
        "PUT",
        "/updateApplicationOrganization/{id}",
        _move,
        needs=Needs.APPLICATION_ADMIN,
        summary="Give an application to another organization; needs permission in both",
        body=MoveApplicationBody,
        reply=ApplicationSchema,
    ),
    _application.route(
        "DELETE",
        "/{id}",
        _delete,
        needs=Needs.APPLICATION_ADMIN,
        summary="Delete an application with its devices and data targets",
        reply=AffectedSchema,
    ),
    _application.route(
        "GET",
        "/{id}/filter-information",
        _filter_information,
        needs=Needs.READ,
        summary="The distinct owners among an organization's applications",
        reply=FilterInformationSchema,
    ),
    _application.route(
        "GET",
        "/{id}/application-dashboard-data",
        _dashboard,
        needs=Needs.READ,
        summary="How many applications and devices an organization has",
        reply=DashboardSchema,
    ),
]
