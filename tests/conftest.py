"""What tests of every package may ask for."""

import os
from collections.abc import Iterator

import pytest

from tests.support.postgresql import PostgresqlMissing, PostgresqlServer


@pytest.fixture(scope="session")
def postgresql() -> Iterator[PostgresqlServer]:
    """One PostgreSQL server for the whole run. Whoever stops or kills it uses `own_postgresql`."""
    with _server() as server:
        yield server


@pytest.fixture
def own_postgresql() -> Iterator[PostgresqlServer]:
    """A server for one test alone, to stop, kill and freeze."""
    with _server() as server:
        yield server


@pytest.fixture
def postgresql_url(postgresql: PostgresqlServer) -> Iterator[str]:
    """A database with the newest schema, for one test."""
    name = postgresql.create_database()
    yield postgresql.url(name)
    postgresql.drop_database(name)


def _server() -> PostgresqlServer:
    try:
        return PostgresqlServer()
    except PostgresqlMissing as missing:
        if os.environ.get("CI") == "true":
            pytest.fail(f"{missing} No test is skipped here.")
        pytest.skip(str(missing))
