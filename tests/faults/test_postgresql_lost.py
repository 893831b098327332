"""A hub of one process whose PostgreSQL is killed, restarted and cut off under load."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from tests.faults.scene import (
    assert_nothing_lost_nothing_doubled,
    assert_order_kept,
    set_up_load,
)
from tests.support.hub_client import HubClient
from tests.support.hub_process import HubProcess
from tests.support.load import Load
from tests.support.loopback_proxy import LoopbackProxy
from tests.support.postgresql import PostgresqlServer
from tests.support.receiver_process import ReceiverProcess

ROUNDS = 4
TIMEOUT_S = 60


@pytest.fixture
async def proxy(own_postgresql: PostgresqlServer) -> AsyncIterator[LoopbackProxy]:
    async with LoopbackProxy(own_postgresql.port) as proxy:
        yield proxy


@pytest.fixture
def hub(
    tmp_path: Path, own_postgresql: PostgresqlServer, proxy: LoopbackProxy
) -> Iterator[HubProcess]:
    url = own_postgresql.url(own_postgresql.create_database(), port=proxy.port)
    process = HubProcess(tmp_path / "hub", settings={"DATABASE_URL": url})
    process.allow_errors("database.write.fail")
    # On the loop runs the proxy, through which the hub has to start.
    yield process
    if process.is_running:
        process.kill()


@pytest.fixture
async def client(hub: HubProcess) -> AsyncIterator[HubClient]:
    await asyncio.to_thread(hub.start)
    async with HubClient(hub.url) as hub_client:
        await hub_client.login()
        yield hub_client


@pytest.mark.faults
@pytest.mark.timeout(300)
async def test_hub_goes_on_by_itself_each_time_its_server_is_back(
    hub: HubProcess,
    client: HubClient,
    receiver: ReceiverProcess,
    own_postgresql: PostgresqlServer,
    proxy: LoopbackProxy,
) -> None:
    load, city, _ = await set_up_load(hub, client, receiver, device_count=8)
    load.start()
    for _ in range(ROUNDS):
        for fault in (own_postgresql.kill, own_postgresql.stop, proxy.cut):
            await _more(load)
            if fault == proxy.cut:
                proxy.cut()
            else:
                await asyncio.to_thread(fault)
                await asyncio.to_thread(own_postgresql.start)
    await _more(load)
    await load.stop()
    await assert_nothing_lost_nothing_doubled(hub, city, receiver, load)
    assert_order_kept(receiver)
    assert await asyncio.to_thread(hub.terminate) == 0
    assert hub.unexpected_lines() == []


async def _more(load: Load) -> None:
    """Wait until the hub has taken further messages in."""
    reached = len(load.acknowledged) + 20
    async with asyncio.timeout(TIMEOUT_S):
        while len(load.acknowledged) < reached:  # noqa: ASYNC110  # the load announces nothing
            await asyncio.sleep(0.01)
