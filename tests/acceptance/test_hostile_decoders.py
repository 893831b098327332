"""A decoder of any kind of malice costs its own messages only."""

import asyncio
import json

import pytest

from tests.support.city import City
from tests.support.hostile_decoders import (
    ESCAPING_DECODER,
    HOSTILE_DECODERS,
    IMPORTING_DECODERS,
    POISONING_DECODER,
)
from tests.support.receivers import Receiver

# What the reference asks for: another decoder's message is through within three seconds.
NEIGHBOUR_S = 3
TIMEOUT_S = 30


async def push_through(city: City, receiver: Receiver, url_count: int = 1) -> None:
    """A message of a neighbour arrives soon, decoded."""
    device = await city.connected_device(receiver.url)
    already = len(receiver.requests)
    async with asyncio.timeout(NEIGHBOUR_S):
        await city.client.send(device, {"n": 7})
        await receiver.wait_for(already + url_count)
    assert json.loads(receiver.requests[-1].body) == {"n": 7}


@pytest.mark.parametrize("name", HOSTILE_DECODERS)
async def test_hostile_decoder_fails_its_own_messages_and_no_others(city: City, name: str) -> None:
    client = city.client
    async with Receiver() as hostile, Receiver() as good:
        device, decoder_id = await city.device(), await city.decoder(HOSTILE_DECODERS[name])
        await client.connect([device], await city.target(hostile.url), decoder_id)
        for n in range(2):
            await client.send(device, {"n": n})
        await push_through(city, good)
        assert await client.imbalance() == 0
        # Whatever became of them, the raw messages are kept: mended, the decoder gives them back.
        await client.update_decoder(
            decoder_id, city.organization_id, "function decode(p, m) { return {n: p.n}; }"
        )
        await _until_given_back(city, hostile, decoder_id)
        assert sorted(json.loads(request.body)["n"] for request in hostile.requests) == [0, 1]


async def _until_given_back(city: City, receiver: Receiver, decoder_id: int) -> None:
    """Replay until both messages are through: those still deferred settle only meanwhile."""
    async with asyncio.timeout(TIMEOUT_S):
        while len(receiver.requests) < 2:
            await city.client.replay(decoder_id)
            try:
                async with asyncio.timeout(1):
                    await receiver.wait_for(2)
            except TimeoutError:
                continue


async def test_poisoned_engine_of_one_decoder_is_not_the_engine_of_another(city: City) -> None:
    async with Receiver() as receiver, Receiver() as good:
        device = await city.connected_device(receiver.url, POISONING_DECODER)
        for n in range(5):
            await city.client.send(device, {"n": n})
            await push_through(city, good)
        await city.settled(timeout_s=TIMEOUT_S)


async def test_script_finds_no_way_out_of_its_engine(city: City) -> None:
    async with Receiver() as receiver:
        device = await city.connected_device(receiver.url, ESCAPING_DECODER)
        await city.client.send(device, {"n": 1})
        async with asyncio.timeout(TIMEOUT_S):
            await receiver.wait_for(1)
        assert json.loads(receiver.requests[0].body) == {"found": []}


@pytest.mark.parametrize("source", IMPORTING_DECODERS)
async def test_script_that_imports_gets_nothing(city: City, source: str) -> None:
    async with Receiver() as receiver, Receiver() as good:
        device = await city.connected_device(receiver.url, source)
        await city.client.send(device, {"n": 1})
        await push_through(city, good)
        await city.settled(timeout_s=TIMEOUT_S)
        assert receiver.requests == []


async def test_secrets_of_the_device_are_not_given_to_its_decoder(city: City) -> None:
    source = "function decode(payload, metadata) { return {metadata: metadata}; }"
    async with Receiver() as receiver:
        device = await city.connected_device(receiver.url, source)
        await city.client.send(device, {"n": 1})
        async with asyncio.timeout(TIMEOUT_S):
            await receiver.wait_for(1)
        assert device.api_key not in receiver.requests[0].body.decode()


async def test_decoder_can_be_tried_without_keeping_anything(city: City) -> None:
    answer = await city.client.request(
        "POST",
        "/api/v1/test-payload-decoder",
        json={
            "code": json.dumps("function decode(p, m) { return {twice: p.n * 2}; }"),
            "iotDeviceJsonString": json.dumps(json.dumps({"name": "x"})),
            "rawPayloadJsonString": json.dumps(json.dumps({"n": 21})),
        },
    )
    assert answer.status in (200, 201)
    decoded = answer.body if isinstance(answer.body, dict) else json.loads(answer.body)
    assert decoded == {"twice": 42}
