"""What a restart must not change."""

import asyncio
import json
import re
from collections.abc import Iterator
from pathlib import Path

import aiohttp
import pytest

from tests.support import receivers
from tests.support.city import City
from tests.support.hub_client import Device, HubClient
from tests.support.hub_databases import ENGINES, database_settings
from tests.support.hub_process import HubProcess
from tests.support.receivers import Receiver

pytestmark = pytest.mark.parametrize("engine", ENGINES, indirect=True, scope="module")
TIMEOUT_S = 30


@pytest.fixture
def settings(engine: str, request: pytest.FixtureRequest) -> Iterator[dict[str, str]]:
    with database_settings(engine, request) as settings:
        yield settings


@pytest.fixture
def hub(tmp_path: Path, settings: dict[str, str]) -> Iterator[HubProcess]:
    """One of its own for each test, because these tests stop it."""
    with HubProcess(tmp_path, settings=settings) as process:
        yield process


async def restart(hub: HubProcess) -> None:
    await asyncio.to_thread(hub.restart)


async def test_retry_survives_a_restart_under_the_same_id(hub: HubProcess, city: City) -> None:
    async with Receiver(receivers.status(503)) as receiver:
        device = await city.connected_device(receiver.url)
        await city.client.send(device, {"n": 1})
        async with asyncio.timeout(TIMEOUT_S):
            await receiver.wait_for(1)
        await restart(hub)
        receiver.answer = receivers.status(200)
        async with asyncio.timeout(TIMEOUT_S):
            await receiver.wait_for(2)
        await city.settled()
        ids = {request.headers["webhook-id"] for request in receiver.requests}
        assert len(ids) == 1


async def test_messages_for_a_target_that_is_down_arrive_in_order_after_a_restart(
    hub: HubProcess, city: City
) -> None:
    async with Receiver() as receiver:
        device = await city.connected_device(receiver.url)
        port = receiver.port
        await receiver.stop()
        for n in range(20):
            await city.client.send(device, {"n": n})
        await restart(hub)
    async with Receiver(port=port) as receiver, asyncio.timeout(TIMEOUT_S):
        await receiver.wait_for(20)
        arrived = [json.loads(request.body)["n"] for request in receiver.requests]
        assert list(dict.fromkeys(arrived)) == list(range(20))


async def test_orderly_stop_ends_with_zero_and_without_complaint(
    hub: HubProcess, city: City
) -> None:
    async with Receiver() as receiver:
        device = await city.connected_device(receiver.url)
        await city.client.send(device, {"n": 1})
        assert await asyncio.to_thread(hub.terminate) == 0
        assert hub.unexpected_lines() == []
        await asyncio.to_thread(hub.start)
        async with asyncio.timeout(TIMEOUT_S):
            await receiver.wait_for(1)


async def test_stop_under_load_loses_nothing_that_was_acknowledged(
    hub: HubProcess, city: City
) -> None:
    async with Receiver() as receiver:
        device = await city.connected_device(receiver.url)
        acknowledged: list[int] = []
        load = asyncio.create_task(_send_until_refused(city, device, acknowledged))
        async with asyncio.timeout(TIMEOUT_S):
            await receiver.wait_for(20)
        assert await asyncio.to_thread(hub.terminate) == 0
        await load
        await asyncio.to_thread(hub.start)
        await city.settled()
        arrived = {json.loads(request.body)["n"] for request in receiver.requests}
        assert set(acknowledged) <= arrived


async def _send_until_refused(city: City, device: Device, acknowledged: list[int]) -> None:
    for n in range(100_000):
        try:
            answer = await city.client.post(device.api_key, json.dumps({"n": n}).encode())
        except (OSError, aiohttp.ClientError):  # the latter when the hub closes an idle connection
            return
        if answer.status != 204:
            return
        acknowledged.append(n)


async def test_login_and_entities_survive_a_restart(hub: HubProcess, city: City) -> None:
    device = await city.device()
    await restart(hub)
    assert (await city.client.get(f"iot-device/{device.id}"))["apiKey"] == device.api_key


async def test_ledger_reads_the_same_after_a_restart(hub: HubProcess, city: City) -> None:
    async with Receiver() as receiver:
        device = await city.connected_device(receiver.url)
        for n in range(10):
            await city.client.send(device, {"n": n})
        await city.settled()
        before = await city.client.ledger()
        await restart(hub)
        assert await city.client.ledger() == before


async def test_first_password_is_printed_once_when_none_is_given(
    tmp_path: Path, settings: dict[str, str]
) -> None:
    with HubProcess(tmp_path / "hub", settings={"ADMIN_PASSWORD": "", **settings}) as hub:
        output = hub.output()
        assert "admin@example.org" in output
        match = re.search(r"password +(\S+)", output)
        assert match is not None, output
        password = match[1]
        async with HubClient(hub.url) as client:
            await client.login(password=password)
        await asyncio.to_thread(hub.restart)
        assert hub.output().count(password) == 1


async def test_second_hub_on_the_same_data_is_refused(
    hub: HubProcess, tmp_path: Path, settings: dict[str, str]
) -> None:
    second = HubProcess(tmp_path / "second", settings={"DATA_DIR": str(hub.data_dir), **settings})
    second.launch()
    assert await asyncio.to_thread(second.wait) == 3
