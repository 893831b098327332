"""DeferralActor: brings deferred messages back to their devices.

A device asks for its own oldest ones (`FetchDeferred`). Beside that a scan finds the devices that
nobody drives: after a restart of the process, and when a decoder has left its quarantine.

What may wait for one decoder in one organization is bounded. Beyond the bound the messages that
have waited longest fail, with that reason; they are kept, and a replay decodes them.
"""

from collections.abc import Callable
from datetime import datetime
from typing import Any

import structlog

from actors import events, paths
from actors.commit_barrier import all_committed
from actors.messages import (
    DeferredFetched,
    DriveDeferred,
    FetchDeferred,
    Tick,
    WriteResult,
)
from actors.runtime import Actor, ActorRef, Directory
from protocols.messages import DecoderId, DeviceId, OrganizationId
from storage.deferred import DeferredMessage, DeferredStore
from storage.results import JobResult, JobState, MessageResult

_SCAN_S = 5.0
_SCAN_DEVICES = 500
_FETCH_LIMIT = 32
_CAP = 10_000
_CAP_SLICE = 500

log = structlog.get_logger(__name__)


class DeferralActor(Actor):
    """One for each process that decodes."""

    def __init__(
        self,
        *,
        deferred: DeferredStore,
        devices: Directory[DeviceId],
        writer: ActorRef[Any],
        holds: Callable[[DeviceId], bool],
        cap: int = _CAP,
    ) -> None:
        """`holds` says whether a device is this process's; `cap` is how many jobs may wait for one
        decoder in one organization."""
        super().__init__()
        self._holds = holds
        self._deferred = deferred
        self._devices = devices
        self._writer = writer
        self._cap = cap
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
            router, after = self.system.find(paths.ROUTER), 0
            while router is not None:
                device_ids = await self._deferred.deferred_devices(after=after, limit=_SCAN_DEVICES)
                if not device_ids:
                    break
                for device_id in filter(self._holds, device_ids):
                    router.tell(DriveDeferred(device_id))
                after = device_ids[-1]
            await self._enforce_cap()
        finally:
            self._scanning = False

    async def _enforce_cap(self) -> None:
        for count in await self._deferred.counts():
            excess = count.jobs - self._cap
            if excess > 0 and count.decoder_id is not None:
                log.warning(
                    events.DEFERRAL_DROP,
                    decoder_id=count.decoder_id,
                    organization_id=count.organization_id,
                    count=excess,
                    reason="deferral_full",
                )
                await self._give_up(count.decoder_id, count.organization_id, excess)

    async def _give_up(
        self, decoder_id: DecoderId, organization_id: OrganizationId, excess: int
    ) -> None:
        while excess > 0:
            limit = min(excess, _CAP_SLICE)
            oldest = await self._deferred.oldest(decoder_id, organization_id, limit=limit)
            ours = [message for message in oldest if self._holds(message.uplink.device_id)]
            if not ours:
                return
            for message in ours:
                given_up = _given_up(message, decoder_id, self.clock.now())
                self._writer.tell(WriteResult(given_up, None))
            await all_committed(self._writer)
            excess -= len(oldest)


def _given_up(message: DeferredMessage, decoder_id: DecoderId, now: datetime) -> MessageResult:
    job = JobResult(
        decoder_id=decoder_id,
        state=JobState.FAILED,
        decoder_version=None,
        body=None,
        warnings=(),
        error_code="deferral_full",
        error="Too many messages waited for this decoder; replay them once it is mended.",
        settled_at=now,
    )
    return MessageResult(
        uplink=message.uplink,
        position=None,
        order=message.position,
        jobs=(job,),
        deliveries=(),
        device_state=None,
        generation=0,
    )
