"""From a device's post to the push at a data target, through a hub that knows nothing of tests."""

import asyncio
import json
from collections import Counter

import pytest
from standardwebhooks import Webhook, WebhookVerificationError

from tests.support.city import ECHO, City
from tests.support.hub_client import HubClient
from tests.support.hub_databases import ENGINES
from tests.support.receivers import Receiver

pytestmark = pytest.mark.parametrize("engine", ENGINES, indirect=True, scope="module")
TIMEOUT_S = 10


async def arrivals(receiver: Receiver, count: int) -> list[object]:
    """The bodies of the first `count` pushes, in the order of their arrival."""
    async with asyncio.timeout(TIMEOUT_S):
        await receiver.wait_for(count)
    return [json.loads(request.body) for request in receiver.requests]


async def test_decoded_message_is_pushed_with_its_ids(city: City) -> None:
    async with Receiver() as receiver:
        device = await city.connected_device(
            receiver.url, "function decode(payload, metadata) { return {celsius: payload.t / 10}; }"
        )
        await city.client.send(device, {"t": 215})
        assert await arrivals(receiver, 1) == [{"celsius": 21.5}]
        headers = receiver.requests[0].headers
        assert receiver.requests[0].method == "POST"
        assert headers["Content-Type"].startswith("application/json")
        assert len(headers["webhook-id"]) == 36
        assert len(headers["tingbro-message-id"]) == 36
        assert headers["webhook-id"] != headers["tingbro-message-id"]


async def test_message_without_decoder_is_pushed_as_it_came(city: City) -> None:
    payload = {"text": "grød på ø", "big": 12345678901234567, "list": [1, 2.5, None, {"a": []}]}
    async with Receiver() as receiver:
        device = await city.connected_device(receiver.url, None)
        await city.client.send(device, payload)
        assert await arrivals(receiver, 1) == [payload]


async def test_two_decoders_and_two_targets_make_four_pushes(city: City) -> None:
    async with Receiver() as first, Receiver() as second:
        device, decoder_id = await city.device(), await city.decoder()
        for receiver in (first, second):
            target_id = await city.target(receiver.url)
            await city.client.connect([device], target_id, decoder_id)
            await city.client.connect([device], target_id, None)
        await city.client.send(device, {"n": 1, "raw": True})
        for receiver in (first, second):
            bodies = await arrivals(receiver, 2)
            assert sorted(bodies, key=repr) == sorted([{"n": 1}, {"n": 1, "raw": True}], key=repr)
        await city.settled()
        assert len(first.requests) + len(second.requests) == 4
        books = await city.client.books(city.organization_id)
        assert (books["jobs"]["accepted"], books["jobs"]["decoded"]) == (2, 1)
        assert (books["jobs"]["noDecoder"], books["deliveries"]["delivered"]) == (1, 4)
        requests = first.requests + second.requests
        assert len({request.headers["webhook-id"] for request in requests}) == 4
        assert len({request.headers["tingbro-message-id"] for request in requests}) == 1


async def test_messages_of_a_device_arrive_in_the_order_they_were_acknowledged(city: City) -> None:
    count, device_count = 40, 5
    async with Receiver() as receiver:
        decoder_id = await city.decoder(
            "function decode(p, m) { return {device: p.device, n: p.n}; }"
        )
        target_id = await city.target(receiver.url)
        devices = [await city.device() for _ in range(device_count)]
        await city.client.connect(devices, target_id, decoder_id)

        async def talk(name: int) -> None:
            for n in range(count):
                await city.client.send(devices[name], {"device": name, "n": n})

        await asyncio.gather(*(talk(name) for name in range(device_count)))
        await arrivals(receiver, count * device_count)
        bodies = [json.loads(request.body) for request in receiver.requests]
        for name in range(device_count):
            assert [b["n"] for b in bodies if b["device"] == name] == list(range(count))


async def test_decoder_shared_by_two_applications_leaks_nothing(city: City) -> None:
    client = city.client
    other_application_id = await client.create_application(city.organization_id)
    async with Receiver() as mine, Receiver() as theirs:
        decoder_id = await city.decoder()
        my_device, their_device = (
            await city.device(),
            await client.create_device(other_application_id),
        )
        await client.connect([my_device], await city.target(mine.url), decoder_id)
        their_target_id = await client.create_target(other_application_id, theirs.url)
        await client.connect([their_device], their_target_id, decoder_id)
        await client.send(my_device, {"n": 1})
        await client.send(their_device, {"n": 2})
        assert await arrivals(mine, 1) == [{"n": 1}]
        assert await arrivals(theirs, 1) == [{"n": 2}]
        await city.settled()
        assert (len(mine.requests), len(theirs.requests)) == (1, 1)


async def test_two_decoders_of_a_device_do_not_see_each_others_changes(city: City) -> None:
    spoiling = "function decode(p, m) { p.n = 99; p.extra = 1; return p; }"
    async with Receiver() as receiver:
        device, target_id = await city.device(), await city.target(receiver.url)
        await city.client.connect([device], target_id, await city.decoder(spoiling))
        await city.client.connect([device], target_id, await city.decoder(ECHO))
        await city.client.send(device, {"n": 1})
        bodies = await arrivals(receiver, 2)
        assert {"n": 1} in bodies
        assert {"n": 99, "extra": 1} in bodies


async def test_authorization_of_the_target_is_sent(city: City) -> None:
    async with Receiver() as receiver:
        device, decoder_id = await city.device(), await city.decoder()
        target_id = await city.target(receiver.url, authorizationHeader="Bearer sesame")
        await city.client.connect([device], target_id, decoder_id)
        await city.client.send(device, {"n": 1})
        await arrivals(receiver, 1)
        assert receiver.requests[0].headers["Authorization"] == "Bearer sesame"


async def test_change_of_a_decoder_counts_from_the_next_message_on(city: City) -> None:
    async with Receiver() as receiver:
        device, decoder_id = await city.device(), await city.decoder()
        await city.client.connect([device], await city.target(receiver.url), decoder_id)
        await city.client.send(device, {"n": 1})
        await arrivals(receiver, 1)
        await city.client.update_decoder(
            decoder_id, city.organization_id, "function decode(p, m) { return {m: p.n}; }"
        )
        await city.client.send(device, {"n": 2})
        assert await arrivals(receiver, 2) == [{"n": 1}, {"m": 2}]


async def test_disabled_target_gets_nothing_until_it_is_enabled_and_then_all_of_it(
    city: City,
) -> None:
    async with Receiver() as off, Receiver() as on:
        device, target_id = await city.device(), await city.target(off.url)
        await city.client.connect([device], target_id)
        await city.client.connect([device], await city.target(on.url))
        path = f"/api/v1/data-target/{target_id}"
        disabled = await city.client.request("POST", f"{path}/disable", json={"reason": "moving"})
        assert (disabled.status, disabled.body["enabled"]) == (200, False)
        for n in (1, 2):
            await city.client.send(device, {"n": n})
        assert await arrivals(on, 2) == [{"n": 1}, {"n": 2}]
        assert off.requests == []
        assert (await city.client.request("POST", f"{path}/enable")).status == 200
        assert await arrivals(off, 2) == [{"n": 1}, {"n": 2}]
        await city.settled()


async def test_push_is_verified_with_the_secret_that_was_shown_and_after_its_rotation_with_both(
    city: City,
) -> None:
    async with Receiver() as receiver:
        device = await city.device()
        body = {
            "name": "Signed",
            "type": "HTTP_PUSH",
            "applicationId": city.application_id,
            "url": receiver.url,
        }
        made = await city.client.create("data-target", body)
        await city.client.connect([device], made["id"])
        await city.client.send(device, {"n": 1})
        await arrivals(receiver, 1)
        path = f"/api/v1/data-target/{made['id']}/rotate-secret"
        rotated = (await city.client.request("POST", path)).body
        await city.client.send(device, {"n": 2})
        await arrivals(receiver, 2)
    first, second = receiver.requests
    old, new = Webhook(made["signingSecret"]), Webhook(rotated["signingSecret"])
    assert old.verify(first.body, dict(first.headers)) == {"n": 1}
    for webhook in (old, new):
        assert webhook.verify(second.body, dict(second.headers)) == {"n": 2}
    with pytest.raises(WebhookVerificationError):
        new.verify(first.body, dict(first.headers))


async def test_repeat_under_the_same_idempotency_key_is_one_message(city: City) -> None:
    async with Receiver() as receiver:
        device = await city.connected_device(receiver.url)
        for _ in range(3):
            answer = await city.client.request(
                "POST",
                f"/api/v1/receive-data?apiKey={device.api_key}",
                json={"n": 1},
                headers={"Idempotency-Key": "reading-1"},
            )
            assert answer.status == 204
        await city.client.send(device, {"n": 2})
        assert await arrivals(receiver, 2) == [{"n": 1}, {"n": 2}]
        await city.settled()
        assert len(receiver.requests) == 2


async def test_actor_of_a_target_shows_in_the_tree_and_the_tree_is_healthy(city: City) -> None:
    async with Receiver() as receiver:
        target_id = await city.target(receiver.url)
        paths = Counter(actor["path"] for actor in await city.client.actors())
    assert paths[f"/hub/targets/{target_id}"] == 1
    assert paths["/hub/router"] == 1
    assert max(paths.values()) == 1


async def test_health_pages_need_no_login(hub_client_without_login: HubClient) -> None:
    for path in ("/healthz", "/readyz", "/metrics", "/api/v1/healthcheck"):
        answer = await hub_client_without_login.request("GET", path)
        assert answer.status == 200, path
