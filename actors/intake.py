"""The edge where messages come in: who sends, is it acceptable, is it on disk.

This is not an actor: a socket can wait here, and waiting is the back-pressure. Nothing is
acknowledged before the journal has it on disk.
"""

from collections import OrderedDict
from collections.abc import Callable
from datetime import datetime

from protocols.adapters import AdapterLimits, generic_http
from protocols.errors import NotFound, StorageUnavailable
from protocols.identifiers import new_message_id
from protocols.messages import Uplink
from storage.device_keys import DeviceIdentity, DeviceKeys
from storage.journal import Appended, JournalAppender

# About 300 bytes each: the keys of all the devices of a large city in 30 MB.
_CAPACITY = 100_000


class Intake:
    """Takes messages from HTTP devices into the journal; owned by the loop."""

    def __init__(
        self,
        *,
        keys: DeviceKeys,
        journal: JournalAppender,
        now: Callable[[], datetime],
        limits: AdapterLimits | None = None,
    ) -> None:
        self._keys = keys
        self._journal = journal
        self._now = now
        self._limits = limits or AdapterLimits()
        self._known: OrderedDict[str, DeviceIdentity] = OrderedDict()
        self._before: OrderedDict[str, DeviceIdentity] = OrderedDict()
        self._version = 0

    def forget(self) -> None:
        """Ask anew whose keys are whose: a device or its application has changed.

        While the database cannot be asked, what was known before still counts: better a message of a device that
        was deleted a moment ago than none of all the others.
        """
        self._version += 1
        self._before.update(self._known)
        while len(self._before) > _CAPACITY:
            self._before.popitem(last=False)
        self._known.clear()

    async def accept_http(
        self,
        api_key: str,
        body: bytes,
        content_type: str | None = None,
        idempotency_key: str | None = None,
    ) -> Appended:
        """Return when the message is on disk.

        `idempotency_key` makes a repetition of the same request recognisable for a day.

        Raises:
            NotFound: no device has this key.
            InvalidPayload: the body is not acceptable; the text says why.
            HubFull: try again later; nothing was kept.
        """
        device = self._known.get(api_key) or await self._look_up(api_key)
        payload = generic_http.parse(body, content_type, self._limits)
        name = generic_http.parse_idempotency_key(idempotency_key)
        return await self._journal.append(
            Uplink(
                message_id=new_message_id(),
                device_id=device.device_id,
                organization_id=device.organization_id,
                application_id=device.application_id,
                device_type=device.device_type,
                received_at=self._now(),
                payload=payload,
                source_key=None if name is None else f"http:{device.device_id}:{name}",
            )
        )

    async def _look_up(self, api_key: str) -> DeviceIdentity:
        version = self._version
        key = generic_http.parse_api_key(api_key)
        try:
            device = await self._keys.find(key)
        except StorageUnavailable:
            if api_key in self._before:
                return self._before[api_key]
            raise
        self._before.pop(api_key, None)
        if device is None:
            raise NotFound("No device has this API key.")
        if version == self._version:
            self._known[api_key] = device
            if len(self._known) > _CAPACITY:
                self._known.popitem(last=False)
        return device
