"""Where the hub says no: what is too large, what is too much at once, and who is too slow."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import aiohttp
import pytest
from aiohttp.web import ServerRunner, TCPSite

from storage.journal import JournalLimits
from storage.sealing import SecretBox
from tests.support.api_client import running_api
from tests.support.city import City
from tests.support.decoder_stub import StubPool
from tests.support.hub_client import HubClient
from tests.support.hub_in_process import HubInProcess
from tests.support.hub_process import HubProcess
from web.app import build_server
from web.services import Services, WebSettings

MEBIBYTE = 1024 * 1024


def body_of(size_bytes: int) -> bytes:
    return b'["' + b"x" * (size_bytes - 4) + b'"]'


async def test_limit_of_size_is_the_one_that_was_set(tmp_path: Path) -> None:
    with HubProcess(tmp_path, settings={"MAX_BODY_BYTES": str(2 * MEBIBYTE)}) as hub:
        async with HubClient(hub.url) as client:
            await client.login()
            key = (await (await City.found(client)).device()).api_key
            assert (await client.post(key, body_of(2 * MEBIBYTE))).status == 204
            assert (await client.post(key, body_of(2 * MEBIBYTE + 1))).status == 413


async def test_full_hub_asks_to_come_back_and_takes_in_again_when_it_has_room(
    tmp_path: Path,
) -> None:
    limits = JournalLimits(backlog_entries=3, retry_after_s=7)
    async with (
        HubInProcess(tmp_path / "hub.db", StubPool(), limits=limits) as hub,
        served(hub) as url,
        aiohttp.ClientSession() as session,
    ):
        _, api_key = await hub.device(await hub.application())
        hub.results.gate.clear()
        assert [await post(session, url, api_key) for _ in range(3)] == [(204, None)] * 3
        assert await post(session, url, api_key) == (503, "7")

        hub.results.gate.set()
        await hub.settled()
        assert await post(session, url, api_key) == (204, None)
        assert (await hub.settled()).jobs.accepted == 4


# Each goes on sending all the time, so that no time of silence would catch them.
HEAD = b"POST /api/v1/receive-data HTTP/1.1\r\nHost: hub\r\nContent-Length: 9999\r\n\r\n"
DAWDLERS: dict[str, tuple[bytes, bytes, bytes]] = {
    "head": (b"POST /", b"x", b""),
    "body": (HEAD, b" ", b"HTTP/1.1 408"),
}


@pytest.mark.parametrize("part", DAWDLERS)
async def test_client_that_sends_byte_by_byte_is_given_up(tmp_path: Path, part: str) -> None:
    start, drop, expected = DAWDLERS[part]
    async with running_api(tmp_path, head_timeout_s=0.2, body_timeout_s=0.2) as api:
        reader, writer = await asyncio.open_connection("127.0.0.1", api.port)
        writer.write(start)
        dripping = asyncio.create_task(drip(writer, drop))
        try:
            async with asyncio.timeout(10):
                answer = await reader.read(len(expected) or 1)
        except ConnectionResetError:  # closed while a drop was on its way
            answer = b""
        finally:
            dripping.cancel()
            writer.close()
        assert answer == expected


async def drip(writer: asyncio.StreamWriter, drop: bytes) -> None:
    while not writer.is_closing():
        writer.write(drop)
        await asyncio.sleep(0.01)


async def post(session: aiohttp.ClientSession, url: str, api_key: str) -> tuple[int, str | None]:
    """One message; the status, and after how many seconds to come back."""
    address = f"{url}/api/v1/receive-data?apiKey={api_key}"
    async with session.post(address, json={"n": 1}) as answer:
        return answer.status, answer.headers.get("Retry-After")


@asynccontextmanager
async def served(hub: HubInProcess) -> AsyncIterator[str]:
    """The hub behind the real web on a free port; yields its address."""
    services = Services(
        database=hub.database,
        hub=hub.hub,
        target_resources=hub.hub.target_resources,
        settings=WebSettings(secret_key="k" * 32),
        box=SecretBox("k" * 32),
    )
    runner = ServerRunner(build_server(services))
    await runner.setup()
    try:
        await TCPSite(runner, "127.0.0.1", 0).start()
        yield f"http://127.0.0.1:{runner.addresses[0][1]}"
    finally:
        await runner.cleanup()
