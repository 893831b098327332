"""Data targets: where an application's messages go."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import orjson
from sqlalchemy import delete, select, update

from protocols.errors import NotFound
from storage.database import Reader, Row, Transaction
from storage.repositories.paging import Page, PageOf, fetch_page
from storage.repositories.scope import Scope
from storage.repositories.stamps import Author, Stamps
from storage.sealing import names_of
from storage.tables.entities import application, data_target

_NO_SECRETS = "{}"
_SELECT = select(
    data_target.c.id,
    data_target.c.application_id,
    application.c.organization_id,
    data_target.c.type,
    data_target.c.name,
    data_target.c.settings,
    data_target.c.secrets,
    data_target.c.last_message_at,
    data_target.c.created_at,
    data_target.c.updated_at,
    data_target.c.created_by,
    data_target.c.updated_by,
).join(application, application.c.id == data_target.c.application_id)
_SORTABLE = {
    "name": data_target.c.name,
    "type": data_target.c.type,
    "createdAt": data_target.c.created_at,
    "updatedAt": data_target.c.updated_at,
    "lastMessageDate": data_target.c.last_message_at,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class DataTargetFields:
    """What a user fills in beside the secrets, see `target_secrets`; `settings` in the API's names."""

    name: str
    type: str
    settings: Mapping[str, Any]

    def columns(self) -> dict[str, object]:
        return {
            "name": self.name,
            "type": self.type,
            "settings": orjson.dumps(self.settings).decode(),
        }


@dataclass(frozen=True, slots=True)
class DataTarget:
    id: int
    application_id: int
    organization_id: int
    fields: DataTargetFields
    secret_names: frozenset[str]
    """Which secrets it has."""
    last_message_at: int | None
    """When it last took something, in microseconds UTC."""
    stamps: Stamps


def create(
    transaction: Transaction, application_id: int, fields: DataTargetFields, author: Author
) -> int:
    """Add one without secrets and return its id. The caller has seen to it that the application exists."""
    row = {"application_id": application_id, "secrets": _NO_SECRETS, **fields.columns()}
    return transaction.insert(data_target, {**row, **author.creating()})


def get(reader: Reader, scope: Scope, target_id: int) -> DataTarget:
    row = reader.fetch_one(
        _SELECT.where(data_target.c.id == target_id, scope.condition(application.c.organization_id))
    )
    if row is None:
        raise NotFound("There is no such data target.")
    return _build(row)


def list_page(
    reader: Reader, scope: Scope, page: Page, *, application_id: int | None = None
) -> PageOf[DataTarget]:
    statement = _SELECT.where(scope.condition(application.c.organization_id))
    if application_id is not None:
        statement = statement.where(data_target.c.application_id == application_id)
    return fetch_page(
        reader, statement, page, sortable=_SORTABLE, row_id=data_target.c.id, build=_build
    )


def list_of_applications(reader: Reader, application_ids: Sequence[int]) -> list[DataTarget]:
    """Every data target of those applications, in order of id."""
    rows = reader.fetch_all(
        _SELECT.where(data_target.c.application_id.in_(application_ids)).order_by(data_target.c.id)
    )
    return [_build(row) for row in rows]


def headers(reader: Reader, target_ids: Collection[int]) -> Mapping[int, Mapping[str, object]]:
    """Id, name and type of those of `target_ids` that there are."""
    rows = reader.fetch_all(
        select(data_target.c.id, data_target.c.name, data_target.c.type).where(
            data_target.c.id.in_(sorted(target_ids))
        )
    )
    return {row.id: row._asdict() for row in rows}


def update_fields(
    transaction: Transaction, target_id: int, fields: DataTargetFields, author: Author
) -> None:
    transaction.execute(
        update(data_target)
        .where(data_target.c.id == target_id)
        .values(**fields.columns(), **author.updating())
    )


def remove(transaction: Transaction, target_id: int) -> int:
    """Delete it with its connections. Returns how many went: 1 or 0."""
    return transaction.execute(delete(data_target).where(data_target.c.id == target_id))


def _build(row: Row) -> DataTarget:
    fields = DataTargetFields(
        type=row.type,
        name=row.name,
        settings=orjson.loads(row.settings),
    )
    return DataTarget(
        row.id,
        row.application_id,
        row.organization_id,
        fields,
        names_of(row.secrets),
        row.last_message_at,
        Stamps.of(row),
    )
