"""Whose API key is whose: how a generic HTTP device is recognised."""

from dataclasses import dataclass

from sqlalchemy import bindparam, select

from protocols.errors import StorageUnavailable
from protocols.messages import ApplicationId, DeviceId, DeviceType, OrganizationId
from storage.database import Database
from storage.tables.entities import application, iot_device

_FIND = (
    select(
        iot_device.c.id,
        iot_device.c.type,
        iot_device.c.application_id,
        application.c.organization_id,
    )
    .join(application, application.c.id == iot_device.c.application_id)
    .where(iot_device.c.api_key == bindparam("api_key"))
)


@dataclass(frozen=True, slots=True)
class DeviceIdentity:
    """What a message is labelled with when it comes in."""

    device_id: DeviceId
    application_id: ApplicationId
    organization_id: OrganizationId
    device_type: DeviceType


class DeviceKeys:
    """Finds devices by key, one indexed read each; callers cache."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def find(self, api_key: str) -> DeviceIdentity | None:
        """Return the device with this key (a canonical UUID), or None if there is none.

        Raises:
            StorageUnavailable: at once when the database is known to be away, since devices wait.
        """
        health = self._database.health()
        if not health.is_ok:
            raise StorageUnavailable(health.reason or "The database is away.")
        row = await self._database.read(
            lambda reader: reader.fetch_one(_FIND, {"api_key": api_key})
        )
        if row is None:
            return None
        return DeviceIdentity(
            DeviceId(row.id),
            ApplicationId(row.application_id),
            OrganizationId(row.organization_id),
            DeviceType(row.type),
        )
