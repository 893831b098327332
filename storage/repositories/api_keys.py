"""API keys: how machines call the API. A key itself is never here, only its hash."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime

from sqlalchemy import delete, select, update

from protocols.errors import NotFound
from storage.database import Reader, Row, Transaction
from storage.instants import microseconds
from storage.repositories.paging import Page, PageOf, fetch_page
from storage.repositories.scope import Scope
from storage.repositories.stamps import Author, Stamps
from storage.tables.entities import api_key, organization

_SELECT = select(
    api_key.c.id,
    api_key.c.organization_id,
    organization.c.name.label("organization_name"),
    api_key.c.name,
    api_key.c.key_hash,
    api_key.c.levels,
    api_key.c.expires_at,
    api_key.c.last_used_at,
    api_key.c.created_at,
    api_key.c.updated_at,
    api_key.c.created_by,
    api_key.c.updated_by,
).join(organization, organization.c.id == api_key.c.organization_id)
_SORTABLE = {
    "name": api_key.c.name,
    "expiresOn": api_key.c.expires_at,
    "createdAt": api_key.c.created_at,
    "updatedAt": api_key.c.updated_at,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class ApiKeyFields:
    """`levels` are permission types; `expires_at` is in microseconds UTC."""

    name: str
    levels: Sequence[str]
    expires_at: int | None

    def columns(self) -> dict[str, object]:
        return {
            "name": self.name,
            "levels": " ".join(self.levels),
            "expires_at": self.expires_at,
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class ApiKey:
    id: int
    organization_id: int
    organization_name: str
    key_hash: str = field(repr=False)
    fields: ApiKeyFields
    last_used_at: int | None
    stamps: Stamps


def create(
    transaction: Transaction,
    organization_id: int,
    key_hash: str,
    fields: ApiKeyFields,
    author: Author,
) -> int:
    return transaction.insert(
        api_key,
        {
            "organization_id": organization_id,
            "key_hash": key_hash,
            **fields.columns(),
            "last_used_at": None,
            **author.creating(),
        },
    )


def get(reader: Reader, scope: Scope, api_key_id: int) -> ApiKey:
    return _one(
        reader.fetch_one(
            _SELECT.where(api_key.c.id == api_key_id, scope.condition(api_key.c.organization_id))
        )
    )


def get_by_hash(reader: Reader, key_hash: str) -> ApiKey:
    return _one(reader.fetch_one(_SELECT.where(api_key.c.key_hash == key_hash)))


def list_page(
    reader: Reader, scope: Scope, page: Page, *, organization_id: int | None = None
) -> PageOf[ApiKey]:
    statement = _SELECT.where(scope.condition(api_key.c.organization_id))
    if organization_id is not None:
        statement = statement.where(api_key.c.organization_id == organization_id)
    return fetch_page(
        reader, statement, page, sortable=_SORTABLE, row_id=api_key.c.id, build=_build
    )


def update_fields(
    transaction: Transaction, api_key_id: int, fields: ApiKeyFields, author: Author
) -> None:
    transaction.execute(
        update(api_key)
        .where(api_key.c.id == api_key_id)
        .values(**fields.columns(), **author.updating())
    )


def note_use(transaction: Transaction, api_key_id: int, at: datetime) -> None:
    transaction.execute(
        update(api_key).where(api_key.c.id == api_key_id).values(last_used_at=microseconds(at))
    )


def remove(transaction: Transaction, api_key_id: int) -> int:
    """Returns how many went: 1 or 0."""
    return transaction.execute(delete(api_key).where(api_key.c.id == api_key_id))


def _one(row: Row | None) -> ApiKey:
    if row is None:
        raise NotFound("There is no such API key.")
    return _build(row)


def _build(row: Row) -> ApiKey:
    fields = ApiKeyFields(
        name=row.name, levels=tuple(row.levels.split()), expires_at=row.expires_at
    )
    return ApiKey(
        id=row.id,
        organization_id=row.organization_id,
        organization_name=row.organization_name,
        key_hash=row.key_hash,
        fields=fields,
        last_used_at=row.last_used_at,
        stamps=Stamps.of(row),
    )
