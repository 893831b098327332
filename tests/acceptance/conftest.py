"""One hub for each test module, and a world of its own in it for each test.

Every test ends with a balanced ledger and a log without surprises, whatever it was about. A module that
is to run over every database engine says so with
`pytestmark = pytest.mark.parametrize("engine", ENGINES, indirect=True, scope="module")`.
"""

from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from tests.support.city import City
from tests.support.hub_client import HubClient
from tests.support.hub_databases import database_settings
from tests.support.hub_process import HubProcess
from tests.support.kafka import KafkaBroker
from tests.support.postgresql import PostgresqlServer
from tests.support.procfile import fleet_environment


@pytest.fixture(scope="module")
def engine(request: pytest.FixtureRequest) -> str:
    """What the hub keeps its state in."""
    return str(getattr(request, "param", "sqlite"))


@pytest.fixture(scope="module")
def hub(
    tmp_path_factory: pytest.TempPathFactory, engine: str, request: pytest.FixtureRequest
) -> Iterator[HubProcess]:
    with (
        database_settings(engine, request) as settings,
        HubProcess(tmp_path_factory.mktemp("hub"), settings=settings) as process,
    ):
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


@pytest.fixture
def environment(
    postgresql: PostgresqlServer, own_kafka_broker: KafkaBroker, tmp_path: Path
) -> Iterator[dict[str, str]]:
    """What the processes of a fleet are started with. Nothing is made yet: neither tables nor topics."""
    name = postgresql.create_database(is_migrated=False)
    yield fleet_environment(
        tmp_path,
        database_url=postgresql.url(name),
        bootstrap_servers=own_kafka_broker.bootstrap_servers,
    )
    postgresql.drop_database(name)
