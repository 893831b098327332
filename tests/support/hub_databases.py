"""The settings under which a hub's process keeps its state in one engine or the other."""

from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from tests.support.lent_databases import LentDatabases
from tests.support.postgresql import PostgresqlServer

ENGINES = ("sqlite", "postgresql")


@contextmanager
def database_settings(engine: str, request: pytest.FixtureRequest) -> Iterator[dict[str, str]]:
    """Settings that name a new database, given back at the end. SQLite needs none."""
    if engine == "sqlite":
        yield {}
        return
    databases: LentDatabases = request.getfixturevalue("postgresql_databases")
    server: PostgresqlServer = request.getfixturevalue("postgresql")
    name = databases.lend()
    try:
        yield {"DATABASE_URL": server.url(name)}
    finally:
        databases.take_back(name)
