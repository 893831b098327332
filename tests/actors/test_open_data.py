"""A device that is only published, on the whole way from its message to the public value."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from storage.open_data import LatestValue, ValueState, latest_values
from storage.repositories.open_data import Share
from storage.tables import entities
from tests.support.decoder_stub import StubPool
from tests.support.hub_in_process import HubInProcess


@pytest.fixture
async def hub(tmp_path: Path) -> AsyncIterator[HubInProcess]:
    async with HubInProcess(tmp_path / "hub.db", StubPool()) as hub:
        yield hub


async def test_message_for_open_data_is_decoded_and_kept_and_delivered_nowhere(
    hub: HubInProcess,
) -> None:
    application_id = await hub.application()
    device_id, api_key = await hub.device(application_id)
    target_id = await hub.insert(
        entities.data_target,
        application_id=application_id,
        type="OPENDATADK",
        name="open data",
        settings="{}",
        secrets="{}",
    )
    await hub.hub.configuration_changed(what="data_target", entity_id=target_id)
    await hub.connect(target_id, await hub.decoder(), device_id)

    await hub.post(api_key, 7)
    balance = await hub.settled()

    assert (balance.jobs.decoded, balance.deliveries.created) == (1, 0)
    share = Share(id=1, data_target_id=target_id, application_id=application_id)
    assert await hub.database.read(lambda reader: latest_values(reader, share)) == [
        LatestValue(device_id, ValueState.GIVEN, b'{"decoded":{"n":7}}')
    ]
