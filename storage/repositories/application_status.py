"""Whether applications are in order, as lists and dashboards show it."""

from datetime import datetime, timedelta
from enum import StrEnum

from sqlalchemy import ColumnElement, and_, exists, not_, select

from storage.database import Reader
from storage.instants import microseconds
from storage.tables.entities import application, data_target, iot_device
from storage.tables.pipeline import device_state

SILENT_AFTER = timedelta(hours=24)


class StatusCheck(StrEnum):
    """`alert`: no data target, or no message from any device for a day."""

    STABLE = "stable"
    ALERT = "alert"


def has_status(status: StatusCheck, now: datetime) -> ColumnElement[bool]:
    """The condition for a WHERE clause over applications."""
    is_stable = and_(
        exists(select(data_target.c.id).where(data_target.c.application_id == application.c.id)),
        exists(
            select(device_state.c.device_id)
            .join(iot_device, iot_device.c.id == device_state.c.device_id)
            .where(
                iot_device.c.application_id == application.c.id,
                device_state.c.last_message_at >= microseconds(now - SILENT_AFTER),
            )
        ),
    )
    return is_stable if status is StatusCheck.STABLE else not_(is_stable)


def stable_among(reader: Reader, application_ids: list[int], now: datetime) -> set[int]:
    """Those of `application_ids` that are in order."""
    rows = reader.fetch_all(
        select(application.c.id).where(
            application.c.id.in_(application_ids), has_status(StatusCheck.STABLE, now)
        )
    )
    return {row.id for row in rows}
