"""A hub with devices whose messages go through a decoder to the benchmark's receiver."""

import json
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from benchmarks.load import SENT_US
from tests.support.city import City
from tests.support.hub_client import Device, HubClient
from tests.support.hub_process import HubProcess
from tests.support.process_tree import cpu_seconds

# Seven values from ten bytes: what a usual indoor-climate sensor sends.
SEVEN_VALUES: Final = """
function decode(payload, metadata) {
  const b = [];
  for (let i = 0; i < payload.hex.length; i += 2) b.push(parseInt(payload.hex.substr(i, 2), 16));
  return {
    sent_us: payload.sent_us,
    temperature: ((b[0] << 8) | b[1]) / 10,
    humidity: b[2],
    co2: (b[3] << 8) | b[4],
    light: (b[5] << 8) | b[6],
    motion: b[7],
    battery: ((b[8] << 8) | b[9]) / 1000,
  };
}
"""
PAYLOAD: Final = (
    '{"sent_us":' + SENT_US + ',"hex":"00e22902b4014a030e2e","port":5,'
    '"gateway":"0016c001f1500812","rssi":-97,"snr":7.5,"counter":18231}'
)


@dataclass(frozen=True, slots=True)
class Scene:
    hub: HubProcess
    client: HubClient
    city: City

    @property
    def cpu_s(self) -> float:
        """Processor time of all the hub's processes so far."""
        return cpu_seconds(self.hub.pid)

    async def devices(self, count: int, url: str, source: str = SEVEN_VALUES) -> list[Device]:
        """Devices that share a decoder and a target of their own."""
        target_id, decoder_id = await self.city.target(url), await self.city.decoder(source)
        devices = [await self.city.device() for _ in range(count)]
        await self.client.connect(devices, target_id, decoder_id)
        return devices


@asynccontextmanager
async def running_hub() -> AsyncIterator[Scene]:
    """A fresh hub, as a user would start it, but with its log kept to warnings."""
    with (
        tempfile.TemporaryDirectory() as directory,
        HubProcess(Path(directory), settings={"LOG_LEVEL": "warning"}) as hub,
    ):
        async with scene_on(hub) as scene:
            yield scene


@asynccontextmanager
async def scene_on(hub: HubProcess) -> AsyncIterator[Scene]:
    """A city of its own in a hub that runs."""
    async with HubClient(hub.url) as client:
        await client.login()
        yield Scene(hub, client, await City.found(client))


def posts_of(devices: list[Device], body: str = PAYLOAD) -> list[tuple[str, str]]:
    return [(f"/api/v1/receive-data?apiKey={device.api_key}", body) for device in devices]


def body_without_stamp() -> str:
    """The same payload for measurements that follow no message."""
    body = PAYLOAD.replace(SENT_US, "0")
    json.loads(body)
    return body
