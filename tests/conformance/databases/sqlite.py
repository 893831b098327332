"""SQLite: a file."""

import pytest


def database_url(request: pytest.FixtureRequest) -> str:
    return f"sqlite:///{request.getfixturevalue('tmp_path') / 'hub.db'}"
