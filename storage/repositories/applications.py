"""Applications: what an organization groups its devices and data targets by."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Select, delete, select, update

from protocols.errors import NotFound
from storage.database import Reader, Row, Transaction
from storage.repositories.application_status import StatusCheck, has_status
from storage.repositories.paging import Page, PageOf, count, fetch_page
from storage.repositories.scope import Scope
from storage.repositories.stamps import Author, Stamps
from storage.tables.entities import (
    application,
    application_controlled_property,
    application_device_type,
    organization,
)

_FIELDS = (
    "name",
    "description",
    "status",
    "start_at",
    "end_at",
    "category",
    "owner",
    "contact_person",
    "contact_email",
    "contact_phone",
    "personal_data",
    "hardware",
)
_SELECT = select(
    application.c.id,
    application.c.organization_id,
    organization.c.name.label("organization_name"),
    *(application.c[name] for name in _FIELDS),
    application.c.created_at,
    application.c.updated_at,
    application.c.created_by,
    application.c.updated_by,
).join(organization, organization.c.id == application.c.organization_id)
_SORTABLE = {
    "name": application.c.name,
    "status": application.c.status,
    "startDate": application.c.start_at,
    "endDate": application.c.end_at,
    "category": application.c.category,
    "owner": application.c.owner,
    "contactPerson": application.c.contact_person,
    "personalData": application.c.personal_data,
    "createdAt": application.c.created_at,
    "updatedAt": application.c.updated_at,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class ApplicationFields:
    """What a user fills in. Times in microseconds UTC."""

    name: str
    description: str | None = None
    status: str | None = None
    start_at: int | None = None
    end_at: int | None = None
    category: str | None = None
    owner: str | None = None
    contact_person: str | None = None
    contact_email: str | None = None
    contact_phone: str | None = None
    personal_data: bool | None = None
    hardware: str | None = None
    controlled_properties: Sequence[str] = ()
    device_types: Sequence[str] = ()

    def columns(self) -> dict[str, object]:
        return {name: getattr(self, name) for name in _FIELDS}


@dataclass(frozen=True, slots=True)
class Application:
    """One application, without its properties and types: `traits` has those of many at once."""

    id: int
    organization_id: int
    organization_name: str
    fields: ApplicationFields
    stamps: Stamps


@dataclass(frozen=True, slots=True, kw_only=True)
class ApplicationFilter:
    """Only those that meet every condition that is not None; `at` is now, for the status."""

    organization_id: int | None = None
    status: str | None = None
    owner: str | None = None
    status_check: StatusCheck | None = None
    at: datetime | None = None


@dataclass(frozen=True, slots=True)
class Traits:
    """The controlled properties and device types of one application."""

    controlled_properties: list[str]
    device_types: list[str]


def create(
    transaction: Transaction, organization_id: int, fields: ApplicationFields, author: Author
) -> int:
    """Add one and return its id. The caller has seen to it that the name is free."""
    application_id = transaction.insert(
        application,
        {"organization_id": organization_id, **fields.columns(), **author.creating()},
    )
    _insert_traits(transaction, application_id, fields)
    return application_id


def get(reader: Reader, scope: Scope, application_id: int) -> Application:
    row = reader.fetch_one(
        _SELECT.where(
            application.c.id == application_id, scope.condition(application.c.organization_id)
        )
    )
    if row is None:
        raise NotFound("There is no such application.")
    return _build(row)


def list_page(
    reader: Reader, scope: Scope, wanted: ApplicationFilter, page: Page
) -> PageOf[Application]:
    return fetch_page(
        reader,
        _filtered(_SELECT.where(scope.condition(application.c.organization_id)), wanted),
        page,
        sortable=_SORTABLE,
        row_id=application.c.id,
        build=_build,
    )


def get_many(reader: Reader, application_ids: Sequence[int]) -> list[Application]:
    """Those of `application_ids` that there are, in order of id."""
    rows = reader.fetch_all(
        _SELECT.where(application.c.id.in_(application_ids)).order_by(application.c.id)
    )
    return [_build(row) for row in rows]


def count_of(reader: Reader, scope: Scope, wanted: ApplicationFilter) -> int:
    statement = select(application.c.id).where(scope.condition(application.c.organization_id))
    return count(reader, _filtered(statement, wanted))


def list_owners(reader: Reader, organization_id: int) -> list[str]:
    """The distinct owners in an organization, in order."""
    rows = reader.fetch_all(
        select(application.c.owner)
        .where(
            application.c.organization_id == organization_id,
            application.c.owner.is_not(None),
            application.c.owner != "",
        )
        .distinct()
        .order_by(application.c.owner)
    )
    return [row[0] for row in rows]


def traits(reader: Reader, application_ids: Sequence[int]) -> Mapping[int, Traits]:
    """The traits of each of `application_ids`; every one of them is in the answer."""
    found = {application_id: Traits([], []) for application_id in application_ids}
    for table, pick in (
        (application_controlled_property, "controlled_properties"),
        (application_device_type, "device_types"),
    ):
        rows = reader.fetch_all(
            select(table.c.application_id, table.c.type)
            .where(table.c.application_id.in_(application_ids))
            .order_by(table.c.id)
        )
        for row in rows:
            getattr(found[row[0]], pick).append(row[1])
    return found


def is_name_taken(reader: Reader, name: str, *, except_id: int | None = None) -> bool:
    """Whether any organization's application has that name."""
    found = reader.fetch_one(select(application.c.id).where(application.c.name == name))
    return found is not None and found[0] != except_id


def update_fields(
    transaction: Transaction, application_id: int, fields: ApplicationFields, author: Author
) -> None:
    transaction.execute(
        update(application)
        .where(application.c.id == application_id)
        .values(**fields.columns(), **author.updating())
    )
    for table in (application_controlled_property, application_device_type):
        transaction.execute(delete(table).where(table.c.application_id == application_id))
    _insert_traits(transaction, application_id, fields)


def move(
    transaction: Transaction, application_id: int, organization_id: int, author: Author
) -> None:
    """Give it, with everything in it, to another organization."""
    transaction.execute(
        update(application)
        .where(application.c.id == application_id)
        .values(organization_id=organization_id, **author.updating())
    )


def remove(transaction: Transaction, application_id: int) -> int:
    """Delete it with its devices and data targets. Returns how many went: 1 or 0."""
    return transaction.execute(delete(application).where(application.c.id == application_id))


def _insert_traits(
    transaction: Transaction, application_id: int, fields: ApplicationFields
) -> None:
    for trait in fields.controlled_properties:
        transaction.insert(
            application_controlled_property, {"application_id": application_id, "type": trait}
        )
    for trait in fields.device_types:
        transaction.insert(
            application_device_type, {"application_id": application_id, "type": trait}
        )


def _filtered(statement: Select[Any], wanted: ApplicationFilter) -> Select[Any]:
    if wanted.organization_id is not None:
        statement = statement.where(application.c.organization_id == wanted.organization_id)
    if wanted.status is not None:
        statement = statement.where(application.c.status == wanted.status)
    if wanted.owner is not None:
        statement = statement.where(application.c.owner == wanted.owner)
    if wanted.status_check is not None and wanted.at is not None:
        statement = statement.where(has_status(wanted.status_check, wanted.at))
    return statement


def _build(row: Row) -> Application:
    values = {name: getattr(row, name) for name in _FIELDS}
    if values["personal_data"] is not None:
        values["personal_data"] = bool(values["personal_data"])
    return Application(
        row.id,
        row.organization_id,
        row.organization_name,
        ApplicationFields(**values),
        Stamps.of(row),
    )
