"""Whose message it is, also while the database that says so is away."""

import uuid
from datetime import UTC, datetime

import pytest

from actors.intake import Intake
from protocols.errors import NotFound, StorageUnavailable
from protocols.identifiers import new_message_id
from protocols.messages import ApplicationId, DeviceId, DeviceType, OrganizationId, Uplink
from storage.device_keys import DeviceIdentity, DeviceKeys
from storage.journal import Appended, JournalAppender

KEY = str(uuid.uuid4())
_DEVICE = DeviceIdentity(DeviceId(1), ApplicationId(1), OrganizationId(1), DeviceType.GENERIC_HTTP)


class Keys(DeviceKeys):
    """The devices there are, unless the database `is_away`."""

    def __init__(self) -> None:
        self.devices = {KEY: _DEVICE}
        self.is_away = False
        self.asked = 0

    async def find(self, api_key: str) -> DeviceIdentity | None:
        self.asked += 1
        if self.is_away:
            raise StorageUnavailable("It is away.")
        return self.devices.get(api_key)


class Taken(JournalAppender):
    def __init__(self) -> None:
        self.uplinks: list[Uplink] = []

    async def append(self, uplink: Uplink) -> Appended:
        self.uplinks.append(uplink)
        return Appended(new_message_id(), None, False)

    @property
    def waiting(self) -> int:
        return 0


@pytest.fixture
def keys() -> Keys:
    return Keys()


@pytest.fixture
def intake(keys: Keys) -> Intake:
    return Intake(keys=keys, journal=Taken(), now=lambda: datetime.now(UTC))


async def post(intake: Intake) -> None:
    await intake.accept_http(KEY, b"{}", "application/json")


async def test_device_is_looked_up_once_until_something_changes(intake: Intake, keys: Keys) -> None:
    await post(intake)
    await post(intake)
    assert keys.asked == 1
    intake.forget()
    await post(intake)
    assert keys.asked == 2


async def test_what_was_known_counts_while_the_database_is_away(intake: Intake, keys: Keys) -> None:
    await post(intake)
    intake.forget()
    intake.forget()
    keys.is_away = True
    await post(intake)


async def test_device_that_was_never_known_has_to_wait_for_the_database(
    intake: Intake, keys: Keys
) -> None:
    keys.is_away = True
    with pytest.raises(StorageUnavailable):
        await post(intake)


async def test_device_that_was_found_to_be_gone_does_not_come_back_with_an_outage(
    intake: Intake, keys: Keys
) -> None:
    await post(intake)
    del keys.devices[KEY]
    intake.forget()
    with pytest.raises(NotFound):
        await post(intake)
    keys.is_away = True
    with pytest.raises(StorageUnavailable):
        await post(intake)
