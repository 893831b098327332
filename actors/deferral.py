"""DeferralActor: brings deferred messages back to their devices.

A device asks for its own oldest ones (`FetchDeferred`). Beside that a scan finds the devices that
nobody drives: after a restart of the process, and when a decoder has left its quarantine.
"""

from typing import Any

from actors import paths
from actors.messages import DeferredFetched, DriveDeferred, FetchDeferred, Tick
from actors.runtime import Actor, Directory
from protocols.messages import DeviceId
from storage.deferred import DeferredStore

_SCAN_S = 5.0
_SCAN_DEVICES = 500
_FETCH_LIMIT = 32


class DeferralActor(Actor):
    """One for each process that decodes."""

    def __init__(self, *, deferred: DeferredStore, devices: Directory[DeviceId]) -> None:
        super().__init__()
        self._deferred = deferred
        self._devices = devices
        self._scanning = False

    def on_start(self) -> None:
        self.schedule(0.0, Tick())

    def on_receive(self, message: Any) -> None:
        match message:
            case FetchDeferred():
                self.create_task(self._fetch(message.device_id))
            case Tick():
                if not self._scanning:
                    self._scanning = True
                    self.create_task(self._scan())
                self.schedule(_SCAN_S, Tick())
            case _:
                raise TypeError(f"DeferralActor does not know {type(message).__name__}")

    async def _fetch(self, device_id: DeviceId) -> None:
        messages = await self._deferred.deferred_messages(device_id, limit=_FETCH_LIMIT)
        if self._devices.is_active(device_id):
            self._devices.tell(device_id, DeferredFetched(messages))

    async def _scan(self) -> None:
        """Drive the devices with deferred messages; a device that is busy with them ignores it."""
        try:
            router = self.system.find(paths.ROUTER)
            for device_id in await self._deferred.deferred_devices(limit=_SCAN_DEVICES):
                if router is not None:
                    router.tell(DriveDeferred(device_id))
        finally:
            self._scanning = False
