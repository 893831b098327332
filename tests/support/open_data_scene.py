"""An organization that publishes, in a web without actors: its messages are put where they are kept."""

import itertools
from typing import Any, Final

from protocols.identifiers import new_message_id
from storage.database import Transaction
from storage.instants import microseconds
from storage.tables.pipeline import message, message_job
from tests.support.api_client import START, Answer, Api
from web.feed_cache import LIFETIME

FEED: Final = "open-data-dk-sharing"
_CONNECTION: Final = "iot-device-payload-decoder-data-target-connection"
DATASET: Final[dict[str, Any]] = {
    "name": "Indeklima på skoler",
    "description": "Temperatur og CO2.\nHvert kvarter.",
    "keywords": ["indeklima", "CO2 måling", "skole-data_1.0"],
    "license": "https://creativecommons.org/licenses/by/4.0/",
    "authorName": "Ada Lovelace",
    "authorEmail": "ada+data@example.org",
    "resourceTitle": "Seneste værdier",
}

_positions = itertools.count(1)


class Scene:
    """An organization with one application that publishes what a data target's devices send."""

    def __init__(self, api: Api) -> None:
        self.api = api
        self.anonymous = api.anonymous()

    async def laid(self) -> "Scene":
        self.organization = await self.api.organization()
        self.application = await self.api.application(self.organization)
        self.target = await self.publish()
        self.catalog = f"{FEED}/{self.organization}"
        self.data = f"{self.catalog}/data/{self.target['openDataDkDataset']['id']}"
        return self

    async def publish(self, **more: Any) -> dict[str, Any]:
        body = {
            "name": "Open data",
            "type": "OPENDATADK",
            "applicationId": self.application,
            "openDataDkDataset": {**DATASET, **more},
        }
        made: dict[str, Any] = await self.api.post("data-target", body)
        return made

    async def device(self) -> int:
        """A device whose messages are published as they are."""
        device_id = int((await self.api.device(self.application))["id"])
        body = {"iotDeviceIds": [device_id], "dataTargetId": self.target["id"]}
        await self.api.post(_CONNECTION, body)
        return device_id

    async def decoded_device(self) -> tuple[int, int]:
        """A device and the decoder through which its messages are published."""
        device_id = int((await self.api.device(self.application))["id"])
        decoder_id = await self.api.decoder(self.organization)
        body = {
            "iotDeviceIds": [device_id],
            "payloadDecoderId": decoder_id,
            "dataTargetId": self.target["id"],
        }
        await self.api.post(_CONNECTION, body)
        return device_id, decoder_id

    async def sent(
        self, device_id: int, payload: bytes, *, decoder_id: int = 0, state: str = "no_decoder"
    ) -> None:
        """A message of a device, as the hub keeps it once its decoder has done what it could."""
        message_id, position = new_message_id(), next(_positions)
        row: dict[str, Any] = {
            "message_id": message_id,
            "position": position,
            "device_id": device_id,
            "organization_id": self.organization,
        }
        received = {
            "application_id": self.application,
            "device_type": "GENERIC_HTTP",
            "received_at": microseconds(START) + position,
            "payload": payload,
        }
        job = {
            "decoder_id": decoder_id,
            "generation": 0,
            "state": state,
            "body": b'{"t": 1.50}' if state == "decoded" else None,
            "settled_at": microseconds(START),
        }

        def unit(transaction: Transaction) -> None:
            transaction.insert(message, {**row, **received})
            transaction.insert(message_job, {**row, **job})

        await self.api.database.write(unit)

    async def fetch(self, path: str, **headers: str) -> Answer:
        return await self.anonymous.call("GET", path, headers=headers)

    def later(self) -> None:
        """Let so much time pass that feeds are made anew."""
        self.api.clock.now += LIFETIME
