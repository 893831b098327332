"""What failed to decode is kept, and comes out when the decoder is mended."""

import asyncio
import json

from tests.support.city import ECHO, City
from tests.support.receivers import Receiver

BROKEN = 'function decode(p, m) { throw new Error("the battery is upside down"); }'
TIMEOUT_S = 15


async def bodies(receiver: Receiver, expected: int) -> list[object]:
    async with asyncio.timeout(TIMEOUT_S):
        await receiver.wait_for(expected)
    return [json.loads(request.body) for request in receiver.requests]


async def test_messages_that_failed_are_pushed_after_the_decoder_is_mended(city: City) -> None:
    client = city.client
    async with Receiver() as receiver:
        device, decoder_id = await city.device(), await city.decoder(BROKEN)
        await client.connect([device], await city.target(receiver.url), decoder_id)
        for n in range(3):
            await client.send(device, {"n": n})
        await city.settled()
        assert await city.failed_jobs() == 3
        assert receiver.requests == []

        await client.update_decoder(decoder_id, city.organization_id, ECHO)
        await client.replay(decoder_id)
        pushed = await bodies(receiver, 3)
        assert sorted(pushed, key=repr) == [{"n": 0}, {"n": 1}, {"n": 2}]
        await city.settled()
        assert await city.failed_jobs() == 0
        assert all(request.headers["tingbro-replay"] == "1" for request in receiver.requests)


async def test_replay_of_a_decoder_that_never_failed_sends_nothing(city: City) -> None:
    client = city.client
    async with Receiver() as receiver:
        device, decoder_id = await city.device(), await city.decoder()
        await client.connect([device], await city.target(receiver.url), decoder_id)
        await client.send(device, {"n": 1})
        await bodies(receiver, 1)
        await client.replay(decoder_id)
        await client.send(device, {"n": 2})
        assert await bodies(receiver, 2) == [{"n": 1}, {"n": 2}]
        await city.settled()
        assert len(receiver.requests) == 2


async def test_second_replay_sends_nothing_again(city: City) -> None:
    client = city.client
    async with Receiver() as receiver:
        device, decoder_id = await city.device(), await city.decoder(BROKEN)
        await client.connect([device], await city.target(receiver.url), decoder_id)
        await client.send(device, {"n": 1})
        await city.settled()
        await client.update_decoder(decoder_id, city.organization_id, ECHO)
        await client.replay(decoder_id)
        await bodies(receiver, 1)
        await city.settled()
        await client.replay(decoder_id)
        await client.send(device, {"n": 2})
        assert await bodies(receiver, 2) == [{"n": 1}, {"n": 2}]
        await city.settled()
        assert len(receiver.requests) == 2


async def test_replay_without_mending_fails_again_and_keeps_the_messages(city: City) -> None:
    client = city.client
    async with Receiver() as receiver:
        device, decoder_id = await city.device(), await city.decoder(BROKEN)
        await client.connect([device], await city.target(receiver.url), decoder_id)
        await client.send(device, {"n": 1})
        await city.settled()
        await client.replay(decoder_id)
        await city.settled()
        await client.update_decoder(decoder_id, city.organization_id, ECHO)
        await client.replay(decoder_id)
        assert await bodies(receiver, 1) == [{"n": 1}]


async def test_last_error_of_a_decoder_is_shown_to_its_owner(city: City) -> None:
    async with Receiver() as receiver:
        device, decoder_id = await city.device(), await city.decoder(BROKEN)
        await city.client.connect([device], await city.target(receiver.url), decoder_id)
        await city.client.send(device, {"n": 1})
        await city.settled()
        decoder = await city.client.get(f"payload-decoder/{decoder_id}")
    assert "the battery is upside down" in json.dumps(decoder)


async def test_replay_of_a_decoder_that_does_not_exist_is_refused(city: City) -> None:
    answer = await city.client.request("POST", "/api/v1/payload-decoder/999999/replay")
    assert answer.status == 404
