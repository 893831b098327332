"""What comes for a device's actor that was put away makes another, which nobody has told anything."""

import asyncio
from pathlib import Path

import pytest

from actors import paths
from protocols.errors import StorageUnavailable
from tests.support.decoder_stub import StubPool
from tests.support.hub_in_process import HubInProcess
from tests.support.receivers import Receiver


async def _put_all_devices_away(hub: HubInProcess, another_key: str) -> None:
    """As when partitions are given up and come back: devices go, and decoders do not know."""
    await hub.hub.restart_actor(paths.JOURNAL)
    async with asyncio.timeout(10):
        while True:
            try:
                return await hub.post(another_key, 0)
            except StorageUnavailable:
                await asyncio.sleep(0.01)


@pytest.mark.parametrize("posts_more", [False, True])
async def test_outcome_for_a_device_that_was_put_away_stops_nothing(
    tmp_path: Path, posts_more: bool
) -> None:
    pool = StubPool()
    async with Receiver() as receiver, HubInProcess(tmp_path / "hub.db", pool) as hub:
        application_id = await hub.application()
        target_id, decoder_id = await hub.target(application_id, receiver.url), await hub.decoder()
        device_id, key = await hub.device(application_id)
        _, another_key = await hub.device(application_id)
        await hub.connect(target_id, decoder_id, device_id)
        pool.held.add(decoder_id)
        await hub.post(key, 1)
        await hub.balance_when(lambda balance: balance.jobs.deferred == 1)
        await _put_all_devices_away(hub, another_key)
        assert await hub.hub.actor(f"{paths.DEVICES}/{device_id}") is None

        pool.let_go(decoder_id)
        if posts_more:
            await hub.post(key, 2)
        balance = await hub.settled(timeout_s=20)

        assert balance.jobs.decoded == 1 + posts_more
