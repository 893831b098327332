"""The whole hub is killed at random moments under load, and started again, and again."""

import asyncio
import random

import pytest

from tests.faults.scene import (
    assert_nothing_lost_nothing_doubled,
    assert_order_kept,
    set_up_load,
)
from tests.support.hub_client import HubClient
from tests.support.hub_databases import ENGINES
from tests.support.hub_process import HubProcess
from tests.support.receiver_process import ReceiverProcess

# The embedded engine recovers its own file; a server has not been killed along with the hub.
ROUNDS = {"sqlite": 50, "postgresql": 12}
# Short enough that fifty rounds are bearable, and long enough that every stage gets its turn.
LONGEST_LIFE_S = 0.4


@pytest.mark.faults
@pytest.mark.timeout(400)
@pytest.mark.parametrize("engine", ENGINES, indirect=True)
async def test_kills_under_load_lose_nothing_and_double_nothing(
    engine: str, hub: HubProcess, client: HubClient, receiver: ReceiverProcess
) -> None:
    seed = random.randrange(1 << 32)
    moments = random.Random(seed)
    load, city, _ = await set_up_load(hub, client, receiver, device_count=16)
    load.start()
    for _ in range(ROUNDS[engine]):
        await asyncio.sleep(moments.uniform(0.0, LONGEST_LIFE_S))
        hub.kill()
        await asyncio.to_thread(hub.start)
    await load.stop()
    assert len(load.acknowledged) > ROUNDS[engine], f"seed {seed}: there was hardly any load"
    await client.login()
    await assert_nothing_lost_nothing_doubled(hub, city, receiver, load)
    assert_order_kept(receiver)


@pytest.mark.faults
@pytest.mark.timeout(200)
async def test_kills_while_starting_lose_nothing(
    hub: HubProcess, client: HubClient, receiver: ReceiverProcess
) -> None:
    moments = random.Random(7)
    load, city, _ = await set_up_load(hub, client, receiver, device_count=8)
    load.start()
    for _ in range(10):
        hub.kill()
        hub.launch()
        await asyncio.sleep(moments.uniform(0.05, 0.8))
    hub.kill()
    await asyncio.to_thread(hub.start)
    await load.stop()
    await client.login()
    await assert_nothing_lost_nothing_doubled(hub, city, receiver, load)
