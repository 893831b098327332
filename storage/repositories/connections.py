"""Connections: whose messages go through which decoder to which data target."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import ColumnElement, Select, delete, select, update

from protocols.errors import NotFound
from storage.database import BulkInsert, Reader, Row, Transaction
from storage.repositories.paging import Page, PageOf, fetch_page
from storage.repositories.scope import Scope
from storage.repositories.stamps import Author, Stamps
from storage.tables.entities import application, connection, connection_device, data_target

_SELECT = (
    select(
        connection.c.id,
        application.c.organization_id,
        connection.c.payload_decoder_id,
        connection.c.data_target_id,
        connection.c.created_at,
        connection.c.updated_at,
        connection.c.created_by,
        connection.c.updated_by,
    )
    .join(data_target, data_target.c.id == connection.c.data_target_id)
    .join(application, application.c.id == data_target.c.application_id)
)
_ADD_DEVICES = BulkInsert(connection_device, ("connection_id", "device_id"))
_SORTABLE = {"createdAt": connection.c.created_at, "updatedAt": connection.c.updated_at}


@dataclass(frozen=True, slots=True, kw_only=True)
class ConnectionFields:
    """Without a decoder the raw payload is passed on. `device_ids` are distinct."""

    payload_decoder_id: int | None
    data_target_id: int
    device_ids: Sequence[int]


@dataclass(frozen=True, slots=True)
class Connection:
    id: int
    organization_id: int
    fields: ConnectionFields
    stamps: Stamps


@dataclass(frozen=True, slots=True, kw_only=True)
class ConnectionFilter:
    """Only those that meet every condition that is not None."""

    device_id: int | None = None
    payload_decoder_id: int | None = None
    data_target_id: int | None = None


def create(transaction: Transaction, fields: ConnectionFields, author: Author) -> int:
    """Add one and return its id. The caller has seen to it that all three ends exist."""
    connection_id = transaction.insert(
        connection,
        {
            "payload_decoder_id": fields.payload_decoder_id,
            "data_target_id": fields.data_target_id,
            **author.creating(),
        },
    )
    add_devices(transaction, connection_id, fields.device_ids)
    return connection_id


def get(reader: Reader, scope: Scope, connection_id: int) -> Connection:
    found = _with_devices(
        reader,
        [
            _build(row)
            for row in reader.fetch_all(
                _SELECT.where(
                    connection.c.id == connection_id,
                    scope.condition(application.c.organization_id),
                )
            )
        ],
    )
    if not found:
        raise NotFound("There is no such connection.")
    return found[0]


def list_page(
    reader: Reader, scope: Scope, wanted: ConnectionFilter, page: Page
) -> PageOf[Connection]:
    found = fetch_page(
        reader,
        _filtered(_SELECT.where(scope.condition(application.c.organization_id)), wanted),
        page,
        sortable=_SORTABLE,
        row_id=connection.c.id,
        build=_build,
    )
    return PageOf(_with_devices(reader, found.rows), found.total)


def update_fields(
    transaction: Transaction, connection_id: int, fields: ConnectionFields, author: Author
) -> None:
    transaction.execute(
        update(connection)
        .where(connection.c.id == connection_id)
        .values(
            payload_decoder_id=fields.payload_decoder_id,
            data_target_id=fields.data_target_id,
            **author.updating(),
        )
    )
    transaction.execute(
        delete(connection_device).where(connection_device.c.connection_id == connection_id)
    )
    add_devices(transaction, connection_id, fields.device_ids)


def add_devices(transaction: Transaction, connection_id: int, device_ids: Sequence[int]) -> None:
    """Let further devices use the connection. None of them may use it already."""
    if device_ids:
        transaction.insert_many(
            _ADD_DEVICES,
            [(connection_id, device_id) for device_id in device_ids],
        )


def remove(transaction: Transaction, connection_id: int) -> int:
    """Returns how many went: 1 or 0."""
    return transaction.execute(delete(connection).where(connection.c.id == connection_id))


def remove_of_targets(transaction: Transaction, target_ids: Select[tuple[int]]) -> int:
    """Delete the connections to all data targets that `target_ids` finds."""
    return transaction.execute(
        delete(connection).where(connection.c.data_target_id.in_(target_ids))
    )


def _filtered(statement: Select[Any], wanted: ConnectionFilter) -> Select[Any]:
    conditions: list[ColumnElement[bool]] = []
    if wanted.device_id is not None:
        of_device = select(connection_device.c.connection_id).where(
            connection_device.c.device_id == wanted.device_id
        )
        conditions.append(connection.c.id.in_(of_device))
    if wanted.payload_decoder_id is not None:
        conditions.append(connection.c.payload_decoder_id == wanted.payload_decoder_id)
    if wanted.data_target_id is not None:
        conditions.append(connection.c.data_target_id == wanted.data_target_id)
    return statement.where(*conditions)


def _with_devices(reader: Reader, found: Sequence[Connection]) -> list[Connection]:
    device_ids: dict[int, list[int]] = {row.id: [] for row in found}
    rows = reader.fetch_all(
        select(connection_device.c.connection_id, connection_device.c.device_id)
        .where(connection_device.c.connection_id.in_(list(device_ids)))
        .order_by(connection_device.c.device_id)
    )
    for row in rows:
        device_ids[row[0]].append(row[1])
    return [
        Connection(
            row.id,
            row.organization_id,
            ConnectionFields(
                payload_decoder_id=row.fields.payload_decoder_id,
                data_target_id=row.fields.data_target_id,
                device_ids=device_ids[row.id],
            ),
            row.stamps,
        )
        for row in found
    ]


def _build(row: Row) -> Connection:
    fields = ConnectionFields(
        payload_decoder_id=row.payload_decoder_id,
        data_target_id=row.data_target_id,
        device_ids=(),
    )
    return Connection(row.id, row.organization_id, fields, Stamps.of(row))
