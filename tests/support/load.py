"""Devices that post one message after the other, and remember what was acknowledged.

Each device numbers its messages. Half of the devices name theirs with an `Idempotency-Key` and post a
message again until it is acknowledged; the other half never repeat, so that each of their messages
may at most be there once.
"""

import asyncio
import json
from dataclasses import dataclass, field
from typing import Final

import aiohttp

from tests.support.hub_client import Device

# A device that was refused or found nobody tries again soon, as long as the hub is down.
_PAUSE_S: Final = 0.02
_ANSWER_TIMEOUT_S: Final = 5


@dataclass(slots=True)
class LoadedDevice:
    name: int
    device: Device
    repeats: bool
    acknowledged: set[int] = field(default_factory=set)
    posted: int = 0


class Load:
    """Runs from `start` to `stop`, over any number of deaths of the hub."""

    def __init__(self, hub_url: str, devices: list[Device], *, pause_s: float = 0.0) -> None:
        """`pause_s` is how long each device rests after a message was acknowledged."""
        self._pause_s = pause_s
        self.devices = [
            LoadedDevice(name, device, repeats=name % 2 == 0) for name, device in enumerate(devices)
        ]
        self._hub_url = hub_url
        self._is_stopping = False
        self._tasks: list[asyncio.Task[None]] = []

    @property
    def acknowledged(self) -> set[tuple[int, int]]:
        return {(device.name, n) for device in self.devices for n in device.acknowledged}

    def start(self) -> None:
        self._tasks = [asyncio.create_task(self._talk(device)) for device in self.devices]

    async def stop(self) -> None:
        """Let each device finish the message it is at."""
        self._is_stopping = True
        await asyncio.gather(*self._tasks)

    async def _talk(self, device: LoadedDevice) -> None:
        timeout = aiohttp.ClientTimeout(total=_ANSWER_TIMEOUT_S)
        async with aiohttp.ClientSession(timeout=timeout) as session:
            while not self._is_stopping:
                n = device.posted
                if await self._post(session, device, n):
                    device.acknowledged.add(n)
                    device.posted += 1
                    await asyncio.sleep(self._pause_s)
                    continue
                await asyncio.sleep(_PAUSE_S)
                if not device.repeats:
                    device.posted += 1  # it may have been taken: never again under this number

    async def _post(self, session: aiohttp.ClientSession, device: LoadedDevice, n: int) -> bool:
        headers = {"Content-Type": "application/json"}
        if device.repeats:
            headers["Idempotency-Key"] = f"{device.name}-{n}"
        try:
            async with session.post(
                f"{self._hub_url}/api/v1/receive-data?apiKey={device.device.api_key}",
                data=json.dumps({"device": device.name, "n": n}),
                headers=headers,
            ) as response:
                assert response.status in (204, 503), response.status
                return response.status == 204
        except (aiohttp.ClientError, TimeoutError):
            return False
