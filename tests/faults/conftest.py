"""A hub, a receiver that outlives it, and devices that never stop talking."""

from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from tests.support.hub_client import HubClient
from tests.support.hub_databases import database_settings
from tests.support.hub_process import HubProcess
from tests.support.receiver_process import ReceiverProcess


@pytest.fixture
def receiver(tmp_path: Path) -> Iterator[ReceiverProcess]:
    with ReceiverProcess(tmp_path) as process:
        yield process


@pytest.fixture
def engine(request: pytest.FixtureRequest) -> str:
    """What the hub keeps its state in; a test that is to run over all engines parametrizes it."""
    return str(getattr(request, "param", "sqlite"))


@pytest.fixture
def hub(tmp_path: Path, engine: str, request: pytest.FixtureRequest) -> Iterator[HubProcess]:
    with (
        database_settings(engine, request) as settings,
        HubProcess(tmp_path / "hub", settings=settings) as process,
    ):
        yield process


@pytest.fixture
async def client(hub: HubProcess) -> AsyncIterator[HubClient]:
    async with HubClient(hub.url) as hub_client:
        await hub_client.login()
        yield hub_client
