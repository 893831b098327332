"""A data target that answers garbage, never, or a byte a second costs nobody but its owner."""

import asyncio
import json
from itertools import pairwise

import pytest

from tests.support import receivers
from tests.support.city import City
from tests.support.hub_client import HubClient
from tests.support.receivers import Answer, Receiver

TIMEOUT_S = 20
GOOD_S = 5

MISBEHAVIOURS: dict[str, Answer] = {
    "answers garbage": receivers.garbage(),
    "never answers": receivers.never(),
    "answers a byte a second": receivers.slowly(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n"),
    "sends headers without end": receivers.endless_headers(),
    "sends a body without end": receivers.endless_body(),
    "sends a body without end after an error": receivers.endless_body(500),
    "sends interim answers without end": receivers.endless_interim_answers(),
    "sends a bomb": receivers.gzip_bomb(500),
    "closes the connection": receivers.closes(),
    "closes within its answer": receivers.closes_mid_way(),
    "resets the connection": receivers.resets(),
    "fails": receivers.status(500),
    "refuses": receivers.status(400),
    "redirects to itself": receivers.redirect("/receive"),
}


async def assert_flows(city: City, receiver: Receiver, url: str) -> None:
    """Messages to a good target arrive while another one misbehaves."""
    device = await city.connected_device(url)
    already = len(receiver.requests)
    for n in range(10):
        await city.client.send(device, {"n": n})
    async with asyncio.timeout(GOOD_S):
        await receiver.wait_for(already + 10)


@pytest.mark.parametrize("name", MISBEHAVIOURS)
async def test_target_that_misbehaves_costs_nobody_else(city: City, name: str) -> None:
    async with Receiver(MISBEHAVIOURS[name]) as bad, Receiver() as good:
        bad_device = await city.connected_device(bad.url)
        for n in range(5):
            await city.client.send(bad_device, {"n": n})
        async with asyncio.timeout(TIMEOUT_S):
            await bad.wait_for(1)
        await assert_flows(city, good, good.url)
        assert await city.client.imbalance() == 0


async def test_target_that_fails_is_tried_again_under_the_same_id(city: City) -> None:
    answer = receivers.in_turn(receivers.status(503), receivers.status(200))
    async with Receiver(answer) as receiver:
        device = await city.connected_device(receiver.url)
        await city.client.send(device, {"n": 1})
        async with asyncio.timeout(TIMEOUT_S):
            await receiver.wait_for(2)
        first, second = receiver.requests
        assert first.headers["webhook-id"] == second.headers["webhook-id"]
        assert first.body == second.body
        assert int(first.headers["webhook-timestamp"]) <= int(second.headers["webhook-timestamp"])
        await city.settled()
        assert len(receiver.requests) == 2


async def test_order_of_a_device_is_kept_when_its_first_message_fails(city: City) -> None:
    answer = receivers.in_turn(receivers.status(500), receivers.status(200))
    async with Receiver(answer) as receiver:
        device = await city.connected_device(receiver.url)
        for n in range(5):
            await city.client.send(device, {"n": n})
        async with asyncio.timeout(TIMEOUT_S):
            await receiver.wait_for(6)
        arrived = [json.loads(request.body)["n"] for request in receiver.requests[1:]]
        assert arrived == [0, 1, 2, 3, 4]


async def test_failing_message_of_one_device_does_not_stop_another_device(city: City) -> None:
    async def fail_for_the_first_device(
        request: receivers.ReceivedRequest, writer: asyncio.StreamWriter
    ) -> None:
        is_first = json.loads(request.body)["n"] < 100
        await receivers.status(500 if is_first else 200)(request, writer)

    async with Receiver(fail_for_the_first_device) as receiver:
        decoder_id, target_id = await city.decoder(), await city.target(receiver.url)
        first, second = await city.device(), await city.device()
        await city.client.connect([first, second], target_id, decoder_id)
        await city.client.send(first, {"n": 0})
        for n in range(100, 105):
            await city.client.send(second, {"n": n})
        async with asyncio.timeout(GOOD_S):
            while len([r for r in receiver.requests if json.loads(r.body)["n"] >= 100]) < 5:
                await receiver.wait_for(len(receiver.requests) + 1)
        arrived = [json.loads(request.body)["n"] for request in receiver.requests]
        later = [n for n in arrived if n >= 100]
        assert all(before < after for before, after in pairwise(later))


async def test_target_that_nobody_listens_at_costs_nobody_else(city: City) -> None:
    async with Receiver() as receiver:
        unreachable_url = receiver.url
    device = await city.connected_device(unreachable_url)
    await city.client.send(device, {"n": 1})
    async with Receiver() as good:
        await assert_flows(city, good, good.url)


async def test_redirect_is_not_followed(city: City) -> None:
    async with Receiver() as elsewhere:
        async with Receiver(receivers.redirect(elsewhere.url)) as receiver:
            device = await city.connected_device(receiver.url)
            await city.client.send(device, {"n": 1})
            async with asyncio.timeout(TIMEOUT_S):
                await receiver.wait_for(2)
        assert elsewhere.requests == []


async def test_failing_target_does_not_make_the_hub_unready(client: HubClient, city: City) -> None:
    async with Receiver(receivers.status(500)) as receiver:
        device = await city.connected_device(receiver.url)
        await client.send(device, {"n": 1})
        async with asyncio.timeout(TIMEOUT_S):
            await receiver.wait_for(1)
        assert (await client.request("GET", "/readyz")).status == 200
