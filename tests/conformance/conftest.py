"""Every database engine in turn, opened and empty."""

from collections.abc import AsyncIterator

import pytest

from storage import Database, open_database
from tests.conformance.databases import discover
from tests.support.pipeline import Pipeline, pipeline_on

ENGINES = discover()


@pytest.fixture(params=sorted(ENGINES))
def database_url(request: pytest.FixtureRequest) -> str:
    return ENGINES[request.param](request)


@pytest.fixture
async def database(database_url: str) -> AsyncIterator[Database]:
    opened = open_database(database_url)
    await opened.open()
    yield opened
    await opened.close()


@pytest.fixture
async def pipeline(database: Database) -> AsyncIterator[Pipeline]:
    async with pipeline_on(database) as stores:
        yield stores
