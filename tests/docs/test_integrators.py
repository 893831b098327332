"""The code of the page for integrators, run as it is written there."""

import asyncio
import re
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from standardwebhooks import Webhook

from protocols.targets.policy import MAX_IN_FLIGHT
from protocols.targets.schedule import DELAYS_S
from storage.delivery.target_events import TargetEventType
from tests.support.city import City
from tests.support.hub_client import HubClient
from tests.support.hub_process import ROOT, HubProcess

PAGE = (ROOT / "docs/integrators.md").read_text(encoding="utf-8")
SECRET = "whsec_" + "MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"


def code(name: str) -> dict[str, Any]:
    """What a block of the page defines."""
    (block,) = re.findall(rf"^```python name={name}\n(.*?)^```$", PAGE, re.DOTALL | re.MULTILINE)
    defined: dict[str, Any] = {}
    exec(compile(block, f"docs/integrators.md ({name})", "exec"), defined)
    return defined


def signed(body: bytes, at: datetime) -> dict[str, str]:
    signature = Webhook(SECRET).sign("delivery-1", at, body.decode())
    return {
        "webhook-id": "delivery-1",
        "webhook-timestamp": str(int(at.timestamp())),
        "webhook-signature": f"v1,another {signature}",
    }


@pytest.fixture
def is_genuine() -> Callable[..., bool]:
    found: Callable[..., bool] = code("verify")["is_genuine"]
    return found


def test_what_the_public_library_signs_is_genuine(is_genuine: Callable[..., bool]) -> None:
    body = b'{"temperature": 21.5}'
    assert is_genuine(SECRET, signed(body, datetime.now(UTC)), body)


def test_what_was_changed_delayed_or_signed_by_others_is_not(
    is_genuine: Callable[..., bool],
) -> None:
    body = b'{"temperature": 21.5}'
    now = datetime.now(UTC)
    assert not is_genuine(SECRET, signed(body, now), body + b" ")
    assert not is_genuine(SECRET, signed(body, now - timedelta(minutes=6)), body)
    assert not is_genuine("whsec_" + "A" * 32, signed(body, now), body)
    assert not is_genuine(SECRET, {**signed(body, now), "webhook-id": "delivery-2"}, body)


def test_page_says_when_the_hub_tries_again() -> None:
    units = {"s": 1, "min": 60, "h": 3600}
    (said,) = re.findall(r"means after ((?:\d+ \w+,? ?(?:and )?)+)", PAGE)
    delays_s = [int(n) * units[unit] for n, unit in re.findall(r"(\d+) (s|min|h)", said)]
    assert delays_s == [int(delay_s) for delay_s in DELAYS_S[1:]]


def test_page_names_every_event() -> None:
    named = set(re.findall(r"^\| `(\w+\.\w+)` \|", PAGE, re.MULTILINE))
    assert named == {event_type.value for event_type in TargetEventType}


@pytest.mark.acceptance
async def test_what_was_missed_is_caught_up_with_as_the_page_says(tmp_path: Path) -> None:
    with HubProcess(tmp_path) as hub:
        async with HubClient(hub.url) as client:
            await client.login()
            city = await City.found(client)
            made = await client.create(
                "data-target",
                {
                    "name": "Fetched",
                    "applicationId": city.application_id,
                    "type": "HTTP_PUSH",
                    "url": None,
                },
            )
            device = await city.device()
            await client.connect([device], made["id"], await city.decoder())
            for number in range(3 * MAX_IN_FLIGHT):
                await client.send(device, {"n": number})
            await _all_made(client, city, 3 * MAX_IN_FLIGHT)
            key = await client.create(
                "api-key",
                {
                    "name": "Fetcher",
                    "organizationId": city.organization_id,
                    "levels": ["OrganizationApplicationAdmin"],
                },
            )
            kept: list[Any] = []
            await asyncio.to_thread(
                code("pull")["catch_up"],
                hub.url,
                key["key"],
                made["id"],
                lambda _delivery_id, payload: kept.append(payload),
            )
            assert kept == [{"n": number} for number in range(3 * MAX_IN_FLIGHT)]
            books = await client.books(city.organization_id)
            assert books["deliveries"]["pulled"] == 3 * MAX_IN_FLIGHT
            assert books["imbalance"] == 0


async def _all_made(client: HubClient, city: City, count: int) -> None:
    async with asyncio.timeout(20):
        # Another process decodes: it can only be asked, again and again.
        while (await client.books(city.organization_id))["deliveries"].get("pending") != count:  # noqa: ASYNC110
            await asyncio.sleep(0.02)
