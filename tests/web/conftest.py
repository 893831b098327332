from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.support.api_client import Api, running_api


@pytest.fixture
async def anonymous(tmp_path: Path) -> AsyncIterator[Api]:
    """The API, with nobody logged in."""
    async with running_api(tmp_path) as api:
        yield api


@pytest.fixture
async def api(anonymous: Api) -> Api:
    """The API as the administrator."""
    anonymous.sign_in()
    return anonymous
