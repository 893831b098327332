"""An uplink as a row: the same columns stand in the journal, in messages and in what is set aside."""

from typing import Any

from sqlalchemy import Select, Table, select
from sqlalchemy.sql.expression import ColumnElement

from protocols.messages import (
    ApplicationId,
    DeviceId,
    DeviceType,
    MessageId,
    OrganizationId,
    Uplink,
)
from storage.database import Row
from storage.instants import instant, microseconds
from storage.tables.entities import iot_device

UPLINK_COLUMNS = (
    "message_id",
    "position",
    "device_id",
    "organization_id",
    "application_id",
    "device_type",
    "received_at",
    "payload",
    "source_key",
)


def uplink_columns(table: Table) -> list[ColumnElement[object]]:
    """Return the columns to select so that `uplink_of` can read the rows."""
    return [table.c[name] for name in UPLINK_COLUMNS]


def uplink_row(uplink: Uplink, position: int) -> tuple[object, ...]:
    """Return the values of `UPLINK_COLUMNS`."""
    return (
        uplink.message_id,
        position,
        uplink.device_id,
        uplink.organization_id,
        uplink.application_id,
        # What `value` gives, which takes as long as all the rest of the row.
        uplink.device_type._value_,
        microseconds(uplink.received_at),
        uplink.payload,
        uplink.source_key,
    )


def uplink_of(row: Row) -> Uplink:
    """Read back what `uplink_row` wrote; the row may have further columns."""
    return Uplink(
        message_id=MessageId(row.message_id),
        device_id=DeviceId(row.device_id),
        organization_id=OrganizationId(row.organization_id),
        application_id=ApplicationId(row.application_id),
        device_type=DeviceType(row.device_type),
        received_at=instant(row.received_at),
        payload=bytes(row.payload),
        source_key=row.source_key,
    )


def select_shown(table: Table) -> Select[Any]:
    """Select what is shown of a message from one of the tables that it may be in.

    With the name of its device, None where that is gone: one statement less to wait for.
    """
    return select(
        table.c.message_id,
        table.c.device_id,
        iot_device.c.name.label("device_name"),
        table.c.organization_id,
        table.c.application_id,
        table.c.received_at,
        table.c.payload,
    ).join(iot_device, iot_device.c.id == table.c.device_id, isouter=True)
