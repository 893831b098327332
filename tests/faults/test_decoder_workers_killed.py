"""Only the processes that run decoders are killed; the hub itself stays."""

import asyncio
import os
import random
import signal
from contextlib import suppress

import pytest

from tests.faults.scene import assert_nothing_lost_nothing_doubled, set_up_load
from tests.support.hub_client import HubClient
from tests.support.hub_process import HubProcess
from tests.support.process_tree import leaves
from tests.support.receiver_process import ReceiverProcess

KILLS = 30


@pytest.mark.faults
@pytest.mark.timeout(200)
async def test_killed_decoder_workers_cost_no_message(
    hub: HubProcess, client: HubClient, receiver: ReceiverProcess
) -> None:
    chance = random.Random(11)
    load, city, decoder_ids = await set_up_load(hub, client, receiver, device_count=16)
    load.start()
    killed = 0
    while killed < KILLS:
        await asyncio.sleep(chance.uniform(0.02, 0.3))
        workers = leaves(hub.pid)
        if workers:
            with suppress(ProcessLookupError):
                os.kill(chance.choice(workers), signal.SIGKILL)
                killed += 1
    await load.stop()
    # A decoder that was running in a worker that died is blamed for it and may be quarantined:
    # the hub cannot tell. What failed that way is kept, and given back by a replay.
    await city.settled(timeout_s=60)
    for decoder_id in decoder_ids:
        await client.replay(decoder_id)
    await assert_nothing_lost_nothing_doubled(hub, city, receiver, load)
    assert (await client.request("GET", "/healthz")).status == 200
