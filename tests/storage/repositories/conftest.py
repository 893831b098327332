"""Every database engine in turn, with the newest schema and nothing in it."""

from collections.abc import AsyncIterator

import pytest

from storage import Database, open_database
from tests.conformance.databases import discover

ENGINES = discover()


@pytest.fixture(params=sorted(ENGINES))
async def database(request: pytest.FixtureRequest) -> AsyncIterator[Database]:
    database = open_database(ENGINES[request.param](request))
    await database.open()
    yield database
    await database.close()
