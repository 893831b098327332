"""PostgreSQL: a database of the server that all tests share."""

import pytest


def database_url(request: pytest.FixtureRequest) -> str:
    return str(request.getfixturevalue("postgresql_url"))
