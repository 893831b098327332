"""What the hub has learned about devices, and how much of theirs is deferred."""

from collections.abc import Collection
from dataclasses import dataclass

from sqlalchemy import bindparam, func, select

from protocols.messages import DeviceId
from storage.database import Database, Reader
from storage.tables.pipeline import device_state, is_deferred, message_job

_STATES = select(device_state.c.device_id, device_state.c.state).where(
    device_state.c.device_id.in_(bindparam("ids", expanding=True))
)
_DEFERRED = (
    select(
        message_job.c.device_id,
        func.count(message_job.c.message_id.distinct()).label("messages"),
    )
    .where(is_deferred, message_job.c.device_id.in_(bindparam("ids", expanding=True)))
    .group_by(message_job.c.device_id)
)


@dataclass(frozen=True, slots=True)
class DeviceStateRow:
    """What a device's actor needs to begin: its saved state and how many messages it has deferred."""

    state: bytes | None
    deferred: int


_NEW = DeviceStateRow(None, 0)


class DeviceStates:
    """Reads states; they are written with the results of messages."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def load(self, device_ids: Collection[DeviceId]) -> dict[DeviceId, DeviceStateRow]:
        """Return a row for each of these devices, from one snapshot; a new device has an empty one."""
        ids = list(device_ids)

        def read(reader: Reader) -> dict[DeviceId, DeviceStateRow]:
            states = {row.device_id: row.state for row in reader.fetch_all(_STATES, {"ids": ids})}
            deferred = {
                row.device_id: row.messages for row in reader.fetch_all(_DEFERRED, {"ids": ids})
            }
            return {
                device_id: DeviceStateRow(states.get(device_id), deferred.get(device_id, 0))
                if device_id in states or device_id in deferred
                else _NEW
                for device_id in ids
            }

        return await self._database.read(read)
