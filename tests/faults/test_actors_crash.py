"""Actors are restarted at random, as an operator could, while messages are on their way."""

import asyncio
import random
from urllib.parse import quote

import pytest

from tests.faults.scene import (
    assert_nothing_lost_nothing_doubled,
    assert_order_kept,
    set_up_load,
)
from tests.support.hub_client import HubClient
from tests.support.hub_process import HubProcess
from tests.support.receiver_process import ReceiverProcess

RESTARTS = 100


@pytest.mark.faults
@pytest.mark.timeout(200)
async def test_actors_restarted_at_random_cost_no_message(
    hub: HubProcess, client: HubClient, receiver: ReceiverProcess
) -> None:
    chance = random.Random(13)
    load, city, _ = await set_up_load(hub, client, receiver, device_count=16)
    load.start()
    restarted: set[str] = set()
    for _ in range(RESTARTS):
        await asyncio.sleep(chance.uniform(0.0, 0.1))
        paths = [actor["path"] for actor in await client.actors() if actor["path"] != "/hub"]
        path = chance.choice(paths)
        answer = await client.request(
            "POST", f"/api/v1/actors/{quote(path.removeprefix('/'))}/restart"
        )
        # A device's actor may have been passivated between the two requests.
        assert answer.status in (200, 201, 202, 204, 404), (path, answer)
        if answer.status != 404:
            restarted.add(path)
    await load.stop()
    assert any(path.startswith("/hub/devices/") for path in restarted), restarted
    assert any(path.startswith("/hub/targets/") for path in restarted), restarted
    await assert_nothing_lost_nothing_doubled(hub, city, receiver, load)
    assert_order_kept(receiver)


@pytest.mark.faults
@pytest.mark.parametrize("name", ["router", "writer", "decoders", "devices", "targets"])
@pytest.mark.timeout(120)
async def test_one_actor_restarted_again_and_again_costs_no_message(
    hub: HubProcess, client: HubClient, receiver: ReceiverProcess, name: str
) -> None:
    load, city, _ = await set_up_load(hub, client, receiver, device_count=8)
    load.start()
    for _ in range(10):
        await asyncio.sleep(0.1)
        answer = await client.request("POST", f"/api/v1/actors/hub/{name}/restart")
        assert answer.status in (200, 201, 202, 204), answer
    await load.stop()
    await assert_nothing_lost_nothing_doubled(hub, city, receiver, load)
