"""The Procfile as it is shipped, on a real PostgreSQL and a real Kafka."""

import asyncio
import json
from collections import defaultdict
from pathlib import Path

import pytest

from tests.support.city import City
from tests.support.hub_client import HubClient
from tests.support.hub_process import free_port
from tests.support.procfile import fleet, honcho, run
from tests.support.receivers import Receiver

DEVICES, ROUNDS = 4, 10


@pytest.mark.acceptance
async def test_release_then_web_and_two_workers_bring_messages_to_their_target(
    environment: dict[str, str], tmp_path: Path
) -> None:
    said = await run(environment, *honcho("release"))
    assert "uplink.raw with 4 partitions" in said

    port, output = free_port(), tmp_path / "fleet.log"
    async with (
        Receiver() as receiver,
        fleet(environment, port, output),
        HubClient(f"http://127.0.0.1:{port}") as client,
    ):
        await client.login()
        city = await City.found(client)
        target_id, decoder_id = await city.target(receiver.url), await city.decoder()
        devices = [await city.device() for _ in range(DEVICES)]
        await client.connect(devices, target_id, decoder_id)
        for n in range(ROUNDS):
            for place, device in enumerate(devices):
                await client.send(device, {"n": place * 1000 + n})
        async with asyncio.timeout(90):
            await receiver.wait_for(DEVICES * ROUNDS)
        await city.settled()
        assert await client.imbalance() == 0
        books = await client.books(city.organization_id)
        pushed = sorted((one.headers["tingbro-message-id"], one.body) for one in receiver.requests)
        assert books["deliveries"]["delivered"] == DEVICES * ROUNDS, (books, pushed)
    _assert_in_order(receiver)


def _assert_in_order(receiver: Receiver) -> None:
    bodies = {request.headers["webhook-id"]: request.body for request in receiver.requests}
    seen: dict[int, list[int]] = defaultdict(list)
    for body in bodies.values():
        number = json.loads(body)["n"]
        seen[number // 1000].append(number % 1000)
    assert dict(sorted(seen.items())) == {place: list(range(ROUNDS)) for place in range(DEVICES)}
