"""What the hub as a whole answers for, beside the way of a message."""

from pathlib import Path

import pytest

from actors.hub import HubSettings
from protocols.errors import PayloadTooLarge
from tests.support.decoder_stub import StubPool
from tests.support.hub_in_process import HubInProcess

MEBIBYTE = 1024 * 1024


@pytest.mark.parametrize("limit_bytes", [MEBIBYTE // 2, 2 * MEBIBYTE])
async def test_message_of_as_many_bytes_as_the_operator_allows_is_taken_in_and_no_longer_one(
    tmp_path: Path, limit_bytes: int
) -> None:
    settings = HubSettings(max_body_bytes=limit_bytes)
    async with HubInProcess(tmp_path / "hub.db", StubPool(), settings) as hub:
        _, api_key = await hub.device(await hub.application())
        longest = b'["' + b"x" * (limit_bytes - 4) + b'"]'

        await hub.hub.accept_http(api_key, longest, "application/json", None)
        with pytest.raises(PayloadTooLarge):
            await hub.hub.accept_http(api_key, longest + b" ", "application/json", None)
