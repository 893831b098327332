"""Receivers that flap, and a hub that is killed while it delivers: nothing is forgotten, nothing torn."""

import asyncio
import json
import random
from collections import defaultdict
from typing import Any

import pytest

from tests.faults.kept_rows import assert_kept_once
from tests.support import receivers
from tests.support.city import City
from tests.support.hub_client import HubClient
from tests.support.hub_process import HubProcess
from tests.support.load import Load
from tests.support.receivers import Answer, ReceivedRequest, Receiver

DECODER = "function decode(p, m) { return {device: p.device, n: p.n}; }"
KILLS = 6
LONGEST_LIFE_S = 0.8


def flapping(share: float, moments: random.Random) -> Answer:
    """Fails that share of requests in some way or other, some of them after having taken them."""
    bad = [
        receivers.status(500),
        receivers.closes(),
        receivers.resets(),
        receivers.garbage(),
        receivers.truncated_body(),
    ]
    good = receivers.status(204)

    async def answer(request: ReceivedRequest, writer: asyncio.StreamWriter) -> None:
        chosen = moments.choice(bad) if moments.random() < share else good
        await chosen(request, writer)

    return answer


async def set_up(
    client: HubClient, hub: HubProcess, url: str, **target: object
) -> tuple[Load, City]:
    city = await City.found(client)
    target_id = await city.target(url, **target)
    devices = [await city.device() for _ in range(8)]
    await client.connect(devices, target_id, await city.decoder(DECODER))
    return Load(hub.url, devices), city


async def kill_again_and_again(hub: HubProcess, moments: random.Random) -> None:
    for _ in range(KILLS):
        await asyncio.sleep(moments.uniform(0.1, LONGEST_LIFE_S))
        hub.kill()
        await asyncio.to_thread(hub.start)


def key_of(body: Any) -> tuple[int, int]:
    return body["device"], body["n"]


@pytest.mark.faults
@pytest.mark.timeout(200)
async def test_flapping_receiver_and_kills_lose_nothing(hub: HubProcess, client: HubClient) -> None:
    seed = random.randrange(1 << 32)
    moments = random.Random(seed)
    async with Receiver(flapping(0.2, moments)) as receiver:
        load, city = await set_up(client, hub, receiver.url)
        load.start()
        await kill_again_and_again(hub, moments)
        await load.stop()
        await client.login()
        receiver.answer = receivers.status(204)
        await city.settled(timeout_s=90)
        ids: dict[tuple[int, int], set[str]] = defaultdict(set)
        for request in receiver.requests:
            ids[key_of(json.loads(request.body))].add(request.headers["webhook-id"])
    assert load.acknowledged <= ids.keys(), f"seed {seed}"
    assert all(len(webhook_ids) == 1 for webhook_ids in ids.values()), f"seed {seed}"
    assert await client.imbalance() == 0
    await asyncio.to_thread(assert_kept_once, hub.database, load.acknowledged)
    books = await client.books(city.organization_id)
    assert books["deliveries"]["delivered"] == books["deliveries"]["created"]


@pytest.mark.faults
@pytest.mark.timeout(200)
async def test_batch_is_the_same_on_every_attempt_whoever_is_killed(
    hub: HubProcess, client: HubClient
) -> None:
    seed = random.randrange(1 << 32)
    moments = random.Random(seed)
    async with Receiver(flapping(0.3, moments)) as receiver:
        load, city = await set_up(client, hub, receiver.url, envelope=True, batchSize=50)
        load.start()
        await kill_again_and_again(hub, moments)
        await load.stop()
        await client.login()
        receiver.answer = receivers.status(204)
        await city.settled(timeout_s=90)
        batches: dict[str, set[str]] = defaultdict(set)
        deliveries: dict[str, set[str]] = defaultdict(set)
        arrived: set[tuple[int, int]] = set()
        first_seen: dict[int, list[int]] = defaultdict(list)
        for request in receiver.requests:
            envelopes = json.loads(request.body)
            batches[request.headers["webhook-id"]].add(
                json.dumps([envelope["id"] for envelope in envelopes])
            )
            for envelope in envelopes:
                deliveries[envelope["id"]].add(request.headers["webhook-id"])
                key = key_of(envelope["data"])
                if key not in arrived:
                    arrived.add(key)
                    first_seen[key[0]].append(key[1])
    assert load.acknowledged <= arrived, f"seed {seed}"
    torn = [batch for batch, members in batches.items() if len(members) > 1]
    assert not torn, f"seed {seed}: {[batches[one] for one in torn[:3]]}"
    assert all(len(of) == 1 for of in deliveries.values()), f"seed {seed}"
    assert any(len(json.loads(min(members))) > 1 for members in batches.values())
    assert all(numbers == sorted(numbers) for numbers in first_seen.values()), f"seed {seed}"
    assert await client.imbalance() == 0


@pytest.mark.faults
@pytest.mark.timeout(120)
async def test_owner_hears_of_a_target_that_fails_and_recovers(
    hub: HubProcess, client: HubClient
) -> None:
    async with Receiver() as owner, Receiver(receivers.status(401)) as receiver:
        city = await City.found(client)
        owner_id = await city.target(owner.url, operationalEvents=True)
        target_id = await city.target(receiver.url)
        devices = [await city.device() for _ in range(4)]
        await client.connect(devices, target_id, await city.decoder(DECODER))
        for device in devices:
            await client.send(device, {"device": device.id, "n": 1})
        async with asyncio.timeout(30):
            await owner.wait_for(1)
        failing = json.loads(owner.requests[0].body)
        assert failing["type"] == "endpoint.failing"
        assert failing["data"]["targetId"] == target_id
        assert owner.requests[0].headers["webhook-signature"]

        shown = await client.get(f"data-target/{target_id}")
        assert shown["health"]["breaker"] == "open"
        receiver.answer = receivers.status(204)
        # Nobody has to wait for the breaker who knows that it is mended.
        answer = await client.request("POST", f"/api/v1/data-target/{target_id}/enable")
        assert answer.status in (200, 201)
        await city.settled(timeout_s=60)
        listed = await client.get(f"data-target/{target_id}/events")
        assert listed["data"][-1]["type"] == "endpoint.failing"
        assert (await client.get(f"data-target/{owner_id}"))["health"]["breaker"] == "closed"
    assert await client.imbalance() == 0
