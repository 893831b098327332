import asyncio
import json
import random
from collections import defaultdict
from functools import partial
from pathlib import Path

import pytest

from actors import paths
from protocols.decoders import DecodeRequest
from protocols.errors import NotFound, StorageUnavailable
from tests.support.decoder_stub import OnDone, StubPool
from tests.support.hub_in_process import HubInProcess
from tests.support.receivers import Receiver

DEVICES = 12
MESSAGES = 40


class UnevenPool(StubPool):
    """Some decodes take so long that their messages are deferred."""

    def __init__(self, chance: random.Random) -> None:
        super().__init__()
        self._chance = chance

    def submit(self, request: DecodeRequest, on_done: OnDone) -> None:
        delay_s = self._chance.choice((0.0, 0.0, 0.001, 0.01, 0.08))
        outcome = self._outcome(request)
        asyncio.get_running_loop().call_later(delay_s, partial(on_done, outcome))


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize(
    "names",
    [
        ("writer",),
        ("journal",),
        ("writer", "router", "decoders", "device", "target"),
        ("writer", "router", "decoders", "device", "target", "journal"),
    ],
)
async def test_restarts_at_random_lose_double_and_reorder_nothing(
    tmp_path: Path, names: tuple[str, ...], seed: int
) -> None:
    chance = random.Random(seed)
    async with (
        Receiver() as receiver,
        HubInProcess(tmp_path / "hub.db", UnevenPool(chance)) as hub,
    ):
        application_id = await hub.application()
        target_id, decoder_id = await hub.target(application_id, receiver.url), await hub.decoder()
        devices = [await hub.device(application_id) for _ in range(DEVICES)]
        await hub.connect(target_id, decoder_id, *(device_id for device_id, _ in devices))
        all_paths = {
            "writer": [paths.WRITER],
            "router": [paths.ROUTER],
            "journal": [paths.JOURNAL],
            "decoders": [paths.DECODERS],
            "device": [f"{paths.DEVICES}/{device_id}" for device_id, _ in devices],
            "target": [paths.target_path(target_id)],
        }
        restarts = asyncio.create_task(
            _restart_for_ever(hub, chance, [all_paths[name] for name in names])
        )
        await asyncio.gather(
            *(_post(hub, key, number, chance) for number, (_, key) in enumerate(devices))
        )
        restarts.cancel()
        balance = await hub.settled(timeout_s=30.0)

        assert (balance.imbalance, balance.jobs.decoded) == (0, DEVICES * MESSAGES)
        first_seen: dict[int, list[int]] = defaultdict(list)
        for number in _without_repeats(receiver):
            first_seen[number // 1000].append(number % 1000)
        assert list(first_seen.values()) == [list(range(MESSAGES))] * DEVICES


async def _post(hub: HubInProcess, key: str, device: int, chance: random.Random) -> None:
    for number in range(MESSAGES):
        await _post_patiently(hub, key, device * 1000 + number)
        await asyncio.sleep(chance.random() * 0.01)


async def _post_patiently(hub: HubInProcess, key: str, number: int) -> None:
    """While nobody has claimed the journal nothing is taken in: a sender is told to try again."""
    while True:
        try:
            return await hub.post(key, number)
        except StorageUnavailable:
            await asyncio.sleep(0.005)


async def _restart_for_ever(
    hub: HubInProcess, chance: random.Random, choices: list[list[str]]
) -> None:
    while True:
        await asyncio.sleep(chance.random() * 0.05)
        try:
            await hub.hub.restart_actor(chance.choice(chance.choice(choices)))
        except NotFound:
            continue  # this device is not active yet


def _without_repeats(receiver: Receiver) -> list[int]:
    bodies = {request.headers["webhook-id"]: request.body for request in receiver.requests}
    return [json.loads(body)["decoded"]["n"] for body in bodies.values()]
