"""The hub's public API as the tests and benchmarks use it: typed, and strict about what comes back."""

import asyncio
import io
import itertools
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final, Self

import aiohttp

from tests.support.hub_process import ADMIN_EMAIL, ADMIN_PASSWORD

CONNECTIONS: Final = "iot-device-payload-decoder-data-target-connection"
_POLL_S: Final = 0.02

_numbers = itertools.count(1)


@dataclass(frozen=True, slots=True)
class Device:
    id: int
    api_key: str


@dataclass(frozen=True, slots=True)
class Answer:
    """What the hub answered: `body` is the parsed JSON, or the text when it is none."""

    status: int
    body: Any
    headers: dict[str, str]


class HubClient:
    """Speaks to one hub. Names are made unique, because applications' names are so in the hub."""

    def __init__(self, url: str) -> None:
        self.url = url
        self._headers: dict[str, str] = {}
        self._session: aiohttp.ClientSession | None = None

    async def __aenter__(self) -> Self:
        self._session = aiohttp.ClientSession(
            self.url, timeout=aiohttp.ClientTimeout(total=20), auto_decompress=True
        )
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._session is not None:
            await self._session.close()

    async def login(self, email: str = ADMIN_EMAIL, password: str = ADMIN_PASSWORD) -> None:
        answer = await self.request(
            "POST", "/api/v1/auth/login", json={"username": email, "password": password}
        )
        assert answer.status == 201, answer
        self._headers["Authorization"] = f"Bearer {answer.body['accessToken']}"

    @property
    def headers(self) -> dict[str, str]:
        """What proves who calls, for requests of another client's."""
        return dict(self._headers)

    async def request(self, method: str, path: str, **options: Any) -> Answer:
        """One request, whatever it is answered."""
        assert self._session is not None, "use it as an async context manager"
        headers = {**self._headers, **options.pop("headers", {})}
        async with self._session.request(method, path, headers=headers, **options) as response:
            text = await response.text()
            try:
                body = json.loads(text)
            except ValueError:
                body = text
            return Answer(response.status, body, dict(response.headers))

    async def get(self, path: str) -> Any:
        answer = await self.request("GET", f"/api/v1/{path}")
        assert answer.status == 200, answer
        return answer.body

    async def create(self, path: str, body: dict[str, Any]) -> Any:
        answer = await self.request("POST", f"/api/v1/{path}", json=body)
        assert answer.status == 201, answer
        return answer.body

    async def create_organization(self) -> int:
        return int((await self.create("organization", {"name": _name("City")}))["id"])

    async def create_application(self, organization_id: int) -> int:
        body = {"name": _name("Application"), "organizationId": organization_id}
        return int((await self.create("application", body))["id"])

    async def create_decoder(self, organization_id: int, source: str) -> int:
        body = {
            "name": _name("Decoder"),
            "organizationId": organization_id,
            "decodingFunction": json.dumps(source),
        }
        return int((await self.create("payload-decoder", body))["id"])

    async def update_decoder(self, decoder_id: int, organization_id: int, source: str) -> None:
        body = {
            "name": _name("Decoder"),
            "organizationId": organization_id,
            "decodingFunction": json.dumps(source),
        }
        answer = await self.request("PUT", f"/api/v1/payload-decoder/{decoder_id}", json=body)
        assert answer.status == 200, answer

    async def create_device(self, application_id: int) -> Device:
        body = {"name": _name("Device"), "type": "GENERIC_HTTP", "applicationId": application_id}
        made = await self.create("iot-device", body)
        return Device(int(made["id"]), str(made["apiKey"]))

    async def create_target(self, application_id: int, url: str, **more: object) -> int:
        body = {
            "name": _name("Target"),
            "applicationId": application_id,
            "type": "HTTP_PUSH",
            "url": url,
            "timeout": 5000,
            **more,
        }
        return int((await self.create("data-target", body))["id"])

    async def connect(
        self, devices: Sequence[Device], target_id: int, decoder_id: int | None = None
    ) -> int:
        body = {
            "iotDeviceIds": [device.id for device in devices],
            "payloadDecoderId": decoder_id,
            "dataTargetId": target_id,
        }
        return int((await self.create(CONNECTIONS, body))["id"])

    async def send(self, device: Device, payload: object) -> None:
        """Post as the device and insist that it is taken."""
        answer = await self.post(device.api_key, json.dumps(payload).encode())
        assert answer.status == 204, answer

    async def post(
        self, api_key: str, body: bytes, content_type: str = "application/json"
    ) -> Answer:
        """Post as a device, whatever it is answered."""
        return await self.request(
            "POST",
            f"/api/v1/receive-data?apiKey={api_key}",
            data=io.BytesIO(body),  # large bytes would be warned about
            headers={"Content-Type": content_type},
        )

    async def replay(self, decoder_id: int) -> Any:
        answer = await self.request("POST", f"/api/v1/payload-decoder/{decoder_id}/replay")
        assert answer.status in (200, 201, 202), answer
        return answer.body

    async def ledger(self) -> Any:
        return await self.get("ledger")

    async def actors(self) -> list[dict[str, Any]]:
        """Every actor of the tree, as a flat list."""
        return [entry for entry in _dictionaries(await self.get("actors")) if "path" in entry]

    async def imbalance(self) -> int:
        """The sum of all imbalances of the ledger, each counted as a distance from 0."""
        ledger: list[dict[str, Any]] = await self.ledger()  # empty before the first message
        parts = [part for entry in ledger for part in (entry, entry["jobs"], entry["deliveries"])]
        return sum(abs(int(part["imbalance"])) for part in parts)

    async def books(self, organization_id: int) -> dict[str, Any]:
        """One organization's part of the ledger; with nothing in it before its first message."""
        ledger: list[dict[str, Any]] = await self.ledger()
        own = [entry for entry in ledger if entry["organizationId"] == organization_id]
        return own[0] if own else {"jobs": {}, "deliveries": {}, "imbalance": 0}

    async def settled(self, organization_id: int, *, timeout_s: float = 20) -> None:
        """Return when none of its messages is pending, deferred or waiting to be tried again."""
        async with asyncio.timeout(timeout_s):
            # Another process settles: it can only be asked, again and again.
            while _unsettled(await self.books(organization_id)):  # noqa: ASYNC110
                await asyncio.sleep(_POLL_S)


_OPEN_STATES: Final = ("pending", "deferred", "inFlight", "retrying")


def _unsettled(books: dict[str, Any]) -> int:
    return sum(
        books[part].get(state, 0) for part in ("jobs", "deliveries") for state in _OPEN_STATES
    )


def _dictionaries(value: Any) -> Iterator[dict[str, Any]]:
    if isinstance(value, dict):
        yield value
        value = list(value.values())
    if isinstance(value, list):
        for inner in value:
            yield from _dictionaries(inner)


def _name(kind: str) -> str:
    return f"{kind} {next(_numbers)}"
