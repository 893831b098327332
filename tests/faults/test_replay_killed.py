"""A hub that is killed while it sends again goes on where it was, and sends nothing twice as new."""

import asyncio
import json
from collections import defaultdict

import pytest

from tests.support.city import ECHO, City
from tests.support.hub_client import HubClient
from tests.support.hub_process import HubProcess
from tests.support.receivers import Receiver, status

MESSAGES = 60
# Fast enough for a test, and slow enough that it is under way whenever the hub is killed.
RATE_PER_S = 60
PATIENCE_S = 60


@pytest.mark.faults
@pytest.mark.timeout(150)
async def test_replay_over_kills_makes_each_delivery_once(
    hub: HubProcess, client: HubClient
) -> None:
    async with Receiver(status(413)) as receiver, asyncio.timeout(PATIENCE_S):
        city = await City.found(client)
        device, target_id = await city.device(), await city.target(receiver.url)
        await client.connect([device], target_id, await city.decoder(ECHO))
        for n in range(MESSAGES):
            await client.send(device, {"n": n})
        await city.settled(timeout_s=PATIENCE_S)
        receiver.answer = status(200)
        refused = len(receiver.requests)
        path, body = f"/api/v1/data-target/{target_id}/replay", {"sinceFailure": True}
        answer = await client.request("POST", path, json={**body, "ratePerSecond": RATE_PER_S})
        assert answer.status == 202, answer
        for share in (0.2, 0.6):
            await receiver.wait_for(refused + int(share * MESSAGES))
            hub.kill()
            await asyncio.to_thread(hub.start)
        await receiver.wait_for(refused + MESSAGES)
        await client.login()
        await city.settled(timeout_s=PATIENCE_S)

        ids: dict[int, set[str]] = defaultdict(set)
        for request in receiver.requests[refused:]:
            ids[json.loads(request.body)["n"]].add(request.headers["webhook-id"])
        assert sorted(ids) == list(range(MESSAGES))
        assert {len(found) for found in ids.values()} == {1}
        deliveries = (await client.books(city.organization_id))["deliveries"]
        assert (deliveries["created"], deliveries["delivered"]) == (2 * MESSAGES, MESSAGES)
        assert await client.imbalance() == 0
