"""Organizations: who owns applications, decoders and keys."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass

from sqlalchemy import delete, select, update

from protocols.errors import NotFound
from storage.database import Reader, Row, Transaction
from storage.repositories import connections
from storage.repositories.paging import Page, PageOf, fetch_page
from storage.repositories.scope import Scope
from storage.repositories.stamps import Author, Stamps
from storage.tables.entities import application, data_target, organization

_SELECT = select(
    organization.c.id,
    organization.c.name,
    organization.c.open_data_dk_registered,
    organization.c.created_at,
    organization.c.updated_at,
    organization.c.created_by,
    organization.c.updated_by,
)
_SORTABLE = {
    "name": organization.c.name,
    "createdAt": organization.c.created_at,
    "updatedAt": organization.c.updated_at,
}


@dataclass(frozen=True, slots=True)
class Organization:
    id: int
    name: str
    open_data_dk_registered: bool
    stamps: Stamps


def create(transaction: Transaction, name: str, author: Author) -> int:
    """Add one and return its id. The caller has seen to it that the name is free."""
    return transaction.insert(
        organization, {"name": name, "open_data_dk_registered": False, **author.creating()}
    )


def get(reader: Reader, scope: Scope, organization_id: int) -> Organization:
    row = reader.fetch_one(
        _SELECT.where(organization.c.id == organization_id, scope.condition(organization.c.id))
    )
    if row is None:
        raise NotFound("There is no such organization.")
    return _build(row)


def list_page(reader: Reader, scope: Scope, page: Page) -> PageOf[Organization]:
    return fetch_page(
        reader,
        _SELECT.where(scope.condition(organization.c.id)),
        page,
        sortable=_SORTABLE,
        row_id=organization.c.id,
        build=_build,
    )


def names(reader: Reader, organization_ids: Collection[int]) -> Mapping[int, str]:
    """The names of those of `organization_ids` that there are."""
    rows = reader.fetch_all(
        select(organization.c.id, organization.c.name).where(
            organization.c.id.in_(sorted(organization_ids))
        )
    )
    return {row.id: row.name for row in rows}


def is_name_taken(reader: Reader, name: str, *, except_id: int | None = None) -> bool:
    found = reader.fetch_one(select(organization.c.id).where(organization.c.name == name))
    return found is not None and found[0] != except_id


def update_name(transaction: Transaction, organization_id: int, name: str, author: Author) -> None:
    transaction.execute(
        update(organization)
        .where(organization.c.id == organization_id)
        .values(name=name, **author.updating())
    )


def mark_registered(transaction: Transaction, organization_id: int, author: Author) -> None:
    """Note that Open Data DK has been told of it."""
    transaction.execute(
        update(organization)
        .where(organization.c.id == organization_id)
        .values(open_data_dk_registered=True, **author.updating())
    )


def remove(transaction: Transaction, organization_id: int) -> int:
    """Delete it and everything that belongs to it. Returns how many organizations went: 1 or 0."""
    # Decoders refuse to go while a connection uses them, so the connections go first.
    of_organization = (
        select(data_target.c.id)
        .join(application, application.c.id == data_target.c.application_id)
        .where(application.c.organization_id == organization_id)
    )
    connections.remove_of_targets(transaction, of_organization)
    return transaction.execute(delete(organization).where(organization.c.id == organization_id))


def _build(row: Row) -> Organization:
    return Organization(row.id, row.name, bool(row.open_data_dk_registered), Stamps.of(row))
