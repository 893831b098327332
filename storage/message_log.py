"""Reading what devices have sent: the newest message, and the times of the last ones."""

from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import bindparam, select

from protocols.messages import DeviceId, MessageId
from storage.database import Database, Reader
from storage.instants import instant
from storage.tables.pipeline import message

# One indexed look-up for each device, also among millions of messages.
_NEWEST = (
    select(message)
    .where(message.c.device_id == bindparam("device_id"))
    .order_by(message.c.received_at.desc())
    .limit(1)
)
_TIMES = (
    select(message.c.message_id, message.c.received_at)
    .where(message.c.device_id == bindparam("device_id"))
    .order_by(message.c.received_at.desc())
    .limit(bindparam("row_limit"))
)


@dataclass(frozen=True, slots=True, kw_only=True)
class KeptMessage:
    """A message as it was received; `payload` is the JSON text, unchanged."""

    message_id: MessageId
    device_id: DeviceId
    received_at: datetime
    payload: bytes


@dataclass(frozen=True, slots=True)
class MessageTime:
    message_id: MessageId
    received_at: datetime


class MessageLog:
    """Reads messages that are settled; one that was just acknowledged appears a moment later."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def newest(self, device_ids: Collection[DeviceId]) -> dict[DeviceId, KeptMessage]:
        """Return the newest message of each device that has sent any, from one snapshot."""

        def read(reader: Reader) -> dict[DeviceId, KeptMessage]:
            found: dict[DeviceId, KeptMessage] = {}
            for device_id in device_ids:
                row = reader.fetch_one(_NEWEST, {"device_id": device_id})
                if row is not None:
                    found[device_id] = KeptMessage(
                        message_id=MessageId(row.message_id),
                        device_id=device_id,
                        received_at=instant(row.received_at),
                        payload=bytes(row.payload),
                    )
            return found

        return await self._database.read(read)

    async def times(self, device_id: DeviceId, *, limit: int = 20) -> list[MessageTime]:
        """Return when the last messages of a device were received, newest first."""
        rows = await self._database.read(
            lambda reader: reader.fetch_all(_TIMES, {"device_id": device_id, "row_limit": limit})
        )
        return [MessageTime(MessageId(row.message_id), instant(row.received_at)) for row in rows]
