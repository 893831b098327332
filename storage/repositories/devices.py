"""IoT devices: registered ones, whether they have ever spoken or not."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Select, delete, select, update

from protocols.errors import NotFound
from storage.database import Reader, Row, Transaction
from storage.repositories.paging import Page, PageOf, count, fetch_page
from storage.repositories.scope import Scope
from storage.repositories.stamps import Author, Stamps
from storage.tables.entities import application, connection, connection_device, iot_device
from storage.tables.pipeline import device_state

_FIELDS = ("name", "longitude", "latitude", "comment_on_location", "comment", "metadata")
_COLUMNS = select(
    iot_device.c.id,
    iot_device.c.application_id,
    application.c.organization_id,
    iot_device.c.type,
    iot_device.c.api_key,
    *(iot_device.c[name] for name in _FIELDS),
    device_state.c.last_message_at,
    iot_device.c.created_at,
    iot_device.c.updated_at,
    iot_device.c.created_by,
    iot_device.c.updated_by,
)
# Outer joins: a device that has never sent anything has no state, and an application, which it
# always has, is not looked up where nothing asks for it, such as when devices are counted.
_SELECT = _COLUMNS.join(
    application, application.c.id == iot_device.c.application_id, isouter=True
).join(device_state, device_state.c.device_id == iot_device.c.id, isouter=True)
_SORTABLE = {
    "name": iot_device.c.name,
    "type": iot_device.c.type,
    "commentOnLocation": iot_device.c.comment_on_location,
    "comment": iot_device.c.comment,
    "lastActiveTime": device_state.c.last_message_at,
    "createdAt": iot_device.c.created_at,
    "updatedAt": iot_device.c.updated_at,
}

# Far below the longest list that an engine takes in one statement.
_CHUNK = 4_096


@dataclass(frozen=True, slots=True, kw_only=True)
class DeviceFields:
    """What a user fills in. The position is complete or absent; `metadata` is JSON text."""

    name: str
    longitude: float | None = None
    latitude: float | None = None
    comment_on_location: str | None = None
    comment: str | None = None
    metadata: str | None = None

    def columns(self) -> dict[str, object]:
        return {name: getattr(self, name) for name in _FIELDS}


@dataclass(frozen=True, slots=True)
class Device:
    """One device. `api_key` is what a generic HTTP device names itself by; others have none."""

    id: int
    application_id: int
    organization_id: int
    type: str
    api_key: str | None
    fields: DeviceFields
    last_message_at: int | None
    stamps: Stamps


@dataclass(frozen=True, slots=True, kw_only=True)
class NewDevice:
    application_id: int
    type: str
    api_key: str | None
    fields: DeviceFields


def create(transaction: Transaction, new: NewDevice, author: Author) -> int:
    """Add one and return its id. The caller has seen to it that the application exists."""
    return transaction.insert(
        iot_device,
        {
            "application_id": new.application_id,
            "type": new.type,
            "api_key": new.api_key,
            **new.fields.columns(),
            **author.creating(),
        },
    )


def get(reader: Reader, scope: Scope, device_id: int) -> Device:
    row = reader.fetch_one(
        _SELECT.where(iot_device.c.id == device_id, scope.condition(application.c.organization_id))
    )
    if row is None:
        raise NotFound("There is no such device.")
    return _build(row)


def get_many(reader: Reader, scope: Scope, device_ids: Sequence[int]) -> list[Device]:
    """Those of `device_ids` that there are, in order of id; any number may be asked for."""
    wanted = sorted(set(device_ids))
    found: list[Device] = []
    for start in range(0, len(wanted), _CHUNK):
        statement = _SELECT.where(
            iot_device.c.id.in_(wanted[start : start + _CHUNK]),
            scope.condition(application.c.organization_id),
        )
        found += map(_build, reader.fetch_all(statement.order_by(iot_device.c.id)))
    return found


def list_of_application(reader: Reader, application_id: int, page: Page) -> PageOf[Device]:
    is_in_application = iot_device.c.application_id == application_id
    return fetch_page(
        reader,
        _SELECT.where(is_in_application),
        page,
        sortable=_SORTABLE,
        row_id=iot_device.c.id,
        build=_build,
        counted=select(iot_device.c.id).where(is_in_application),
    )


def list_of_organization(reader: Reader, organization_id: int, page: Page) -> PageOf[Device]:
    return _list(reader, _SELECT.where(application.c.organization_id == organization_id), page)


def list_of_applications(reader: Reader, application_ids: Sequence[int]) -> list[Device]:
    """Every device of those applications, in order of id."""
    rows = reader.fetch_all(
        _SELECT.where(iot_device.c.application_id.in_(application_ids)).order_by(iot_device.c.id)
    )
    return [_build(row) for row in rows]


def count_of_organization(reader: Reader, organization_id: int) -> int:
    return count(
        reader,
        select(iot_device.c.id)
        .join(application, application.c.id == iot_device.c.application_id)
        .where(application.c.organization_id == organization_id),
    )


def list_of_decoder(reader: Reader, scope: Scope, decoder_id: int, page: Page) -> PageOf[Device]:
    """The devices whose messages that decoder decodes."""
    decoded = (
        select(connection_device.c.device_id)
        .join(connection, connection.c.id == connection_device.c.connection_id)
        .where(connection.c.payload_decoder_id == decoder_id)
    )
    statement = _SELECT.where(
        iot_device.c.id.in_(decoded), scope.condition(application.c.organization_id)
    )
    return _list(reader, statement, page)


def update_fields(
    transaction: Transaction, device_id: int, fields: DeviceFields, author: Author
) -> None:
    _update(transaction, device_id, author, **fields.columns())


def update_api_key(transaction: Transaction, device_id: int, api_key: str, author: Author) -> None:
    """The old key stops working with the commit."""
    _update(transaction, device_id, author, api_key=api_key)


def move(transaction: Transaction, device_id: int, application_id: int, author: Author) -> None:
    """Put it into another application and out of the connections it had."""
    _update(transaction, device_id, author, application_id=application_id)
    transaction.execute(delete(connection_device).where(connection_device.c.device_id == device_id))


def remove(transaction: Transaction, device_id: int) -> int:
    """Returns how many went: 1 or 0."""
    return transaction.execute(delete(iot_device).where(iot_device.c.id == device_id))


def _list(reader: Reader, statement: Select[Any], page: Page) -> PageOf[Device]:
    return fetch_page(
        reader, statement, page, sortable=_SORTABLE, row_id=iot_device.c.id, build=_build
    )


def _update(transaction: Transaction, device_id: int, author: Author, **values: object) -> None:
    transaction.execute(
        update(iot_device).where(iot_device.c.id == device_id).values(**values, **author.updating())
    )


def _build(row: Row) -> Device:
    return Device(
        row.id,
        row.application_id,
        row.organization_id,
        row.type,
        row.api_key,
        DeviceFields(**{name: getattr(row, name) for name in _FIELDS}),
        row.last_message_at,
        Stamps.of(row),
    )
