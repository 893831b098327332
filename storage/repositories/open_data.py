"""Data sets of open data: what an organization says of the values that it publishes.

A data target of any kind may have one. Its id names the share in public addresses, so it stays the
same for as long as the data target has a data set at all.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

import orjson
from sqlalchemy import Select, bindparam, delete, select, update

from protocols.errors import NotFound
from storage.database import Reader, Row, Transaction
from storage.repositories.stamps import Author, Stamps
from storage.tables.entities import application, data_target, open_data_dk_dataset, organization

_SELECT: Select[tuple[object, ...]] = select(
    open_data_dk_dataset.c.id,
    open_data_dk_dataset.c.data_target_id,
    open_data_dk_dataset.c.name,
    open_data_dk_dataset.c.description,
    open_data_dk_dataset.c.keywords,
    open_data_dk_dataset.c.license,
    open_data_dk_dataset.c.author_name,
    open_data_dk_dataset.c.author_email,
    open_data_dk_dataset.c.resource_title,
    open_data_dk_dataset.c.created_at,
    open_data_dk_dataset.c.updated_at,
    open_data_dk_dataset.c.created_by,
    open_data_dk_dataset.c.updated_by,
)
_OF_TARGETS = _SELECT.where(
    open_data_dk_dataset.c.data_target_id.in_(bindparam("target_ids", expanding=True))
)
_OF_ORGANIZATION = (
    _SELECT.join(data_target, data_target.c.id == open_data_dk_dataset.c.data_target_id)
    .join(application, application.c.id == data_target.c.application_id)
    .where(application.c.organization_id == bindparam("organization_id"))
    .order_by(open_data_dk_dataset.c.id)
)
_NAME_OF = select(organization.c.name).where(organization.c.id == bindparam("organization_id"))
_SHARE = (
    select(
        open_data_dk_dataset.c.id,
        open_data_dk_dataset.c.data_target_id,
        data_target.c.application_id,
    )
    .join(data_target, data_target.c.id == open_data_dk_dataset.c.data_target_id)
    .join(application, application.c.id == data_target.c.application_id)
    .where(
        open_data_dk_dataset.c.id == bindparam("share_id"),
        application.c.organization_id == bindparam("organization_id"),
    )
)


@dataclass(frozen=True, slots=True, kw_only=True)
class DatasetFields:
    """What a user fills in."""

    name: str
    description: str
    keywords: tuple[str, ...]
    license: str
    author_name: str
    author_email: str
    resource_title: str

    def columns(self) -> dict[str, object]:
        return {
            "name": self.name,
            "description": self.description,
            "keywords": orjson.dumps(self.keywords).decode(),
            "license": self.license,
            "author_name": self.author_name,
            "author_email": self.author_email,
            "resource_title": self.resource_title,
        }


@dataclass(frozen=True, slots=True)
class Dataset:
    id: int
    data_target_id: int
    fields: DatasetFields
    stamps: Stamps


@dataclass(frozen=True, slots=True)
class Catalog:
    """Everything that an organization publishes, in order of id."""

    organization_id: int
    organization_name: str
    datasets: Sequence[Dataset]


@dataclass(frozen=True, slots=True)
class Share:
    """A data set as the place where its values are found: `id` is the data set's."""

    id: int
    data_target_id: int
    application_id: int


def put(
    transaction: Transaction, target_id: int, fields: DatasetFields | None, author: Author
) -> None:
    """Give the data target this data set in place of what it has; None takes it away.

    One that stays as it is keeps its stamps too: to harvesters it has not changed.
    """
    is_of_target = open_data_dk_dataset.c.data_target_id == target_id
    if fields is None:
        transaction.execute(delete(open_data_dk_dataset).where(is_of_target))
        return
    before = of_targets(transaction, [target_id]).get(target_id)
    if before is None:
        transaction.insert(
            open_data_dk_dataset,
            {"data_target_id": target_id, **fields.columns(), **author.creating()},
        )
    elif before.fields != fields:
        transaction.execute(
            update(open_data_dk_dataset)
            .where(is_of_target)
            .values(**fields.columns(), **author.updating())
        )


def of_targets(reader: Reader, target_ids: Collection[int]) -> Mapping[int, Dataset]:
    """The data sets of those of `target_ids` that have one, by the data target's id."""
    rows = reader.fetch_all(_OF_TARGETS, {"target_ids": sorted(target_ids)})
    return {row.data_target_id: _build(row) for row in rows}


def catalog(reader: Reader, organization_id: int) -> Catalog:
    """What that organization publishes. Raises NotFound when there is no such organization."""
    parameters = {"organization_id": organization_id}
    owner = reader.fetch_one(_NAME_OF, parameters)
    if owner is None:
        raise NotFound("There is no such organization.")
    rows = reader.fetch_all(_OF_ORGANIZATION, parameters)
    return Catalog(organization_id, owner.name, [_build(row) for row in rows])


def share(reader: Reader, organization_id: int, share_id: int) -> Share:
    """Where the values of a data set are. Raises NotFound, also for another organization's."""
    row = reader.fetch_one(_SHARE, {"organization_id": organization_id, "share_id": share_id})
    if row is None:
        raise NotFound("This organization publishes no such data.")
    return Share(row.id, row.data_target_id, row.application_id)


def _build(row: Row) -> Dataset:
    fields = DatasetFields(
        name=row.name,
        description=row.description,
        keywords=tuple(orjson.loads(row.keywords)),
        license=row.license,
        author_name=row.author_name,
        author_email=row.author_email,
        resource_title=row.resource_title,
    )
    return Dataset(row.id, row.data_target_id, fields, Stamps.of(row))
