"""One hub for each test module, and a world of its own in it for each test.

Every test ends with a balanced ledger and a log without surprises, whatever it was about.
"""

from collections.abc import AsyncIterator, Iterator

import pytest

from tests.support.city import City
from tests.support.hub_client import HubClient
from tests.support.hub_process import HubProcess


@pytest.fixture(scope="module")
def hub(tmp_path_factory: pytest.TempPathFactory) -> Iterator[HubProcess]:
    with HubProcess(tmp_path_factory.mktemp("hub")) as process:
        yield process


@pytest.fixture
async def client(hub: HubProcess) -> AsyncIterator[HubClient]:
    async with HubClient(hub.url) as hub_client:
        await hub_client.login()
        yield hub_client
        assert await hub_client.imbalance() == 0
        assert hub.unexpected_lines() == []


@pytest.fixture
async def city(client: HubClient) -> City:
    return await City.found(client)


@pytest.fixture
async def hub_client_without_login(hub: HubProcess) -> AsyncIterator[HubClient]:
    async with HubClient(hub.url) as hub_client:
        yield hub_client
