from typing import Any

import pytest

from storage.database import BulkInsert, Transaction
from storage.tables.entities import connection, connection_device, iot_device
from tests.support.api_client import Api
from web.access import Caller, CallerKind, Level
from web.authentication import Authenticator

PATH = "iot-device-payload-decoder-data-target-connection"


class World:
    """One application with two devices, a decoder and a target."""

    def __init__(self, api: Api) -> None:
        self.api = api

    async def make(self) -> "World":
        self.organization = await self.api.organization()
        self.application = await self.api.application(self.organization)
        self.devices = [(await self.api.device(self.application))["id"] for _ in range(2)]
        self.decoder = await self.api.decoder(self.organization)
        self.target = (await self.api.target(self.application))["id"]
        return self

    def body(self, **more: Any) -> dict[str, Any]:
        return {
            "iotDeviceIds": self.devices,
            "payloadDecoderId": self.decoder,
            "dataTargetId": self.target,
            **more,
        }


@pytest.fixture
async def world(api: Api) -> World:
    return await World(api).make()


async def test_connection_names_what_it_connects(api: Api, world: World) -> None:
    made = await api.post(PATH, world.body())
    assert [row["id"] for row in made["iotDevices"]] == world.devices
    assert made["payloadDecoder"]["id"] == world.decoder
    assert made["dataTarget"] == {"id": world.target, "name": "name 6", "type": "HTTP_PUSH"}
    assert await api.get(f"{PATH}/{made['id']}") == made


async def test_connection_is_found_by_each_of_its_ends(api: Api, world: World) -> None:
    made = await api.post(PATH, world.body(iotDeviceIds=world.devices[:1]))
    for end, found, missed in (
        ("byIoTDevice", world.devices[0], world.devices[1]),
        ("byPayloadDecoder", world.decoder, 99),
        ("byDataTarget", world.target, 99),
    ):
        assert (await api.get(f"{PATH}/{end}/{found}")) == {"data": [made], "count": 1}
        assert (await api.get(f"{PATH}/{end}/{missed}")) == {"data": [], "count": 0}
    assert (await api.get(PATH))["count"] == 1


async def test_connection_needs_no_decoder(api: Api, world: World) -> None:
    made = await api.post(PATH, world.body(payloadDecoderId=None))
    assert made["payloadDecoder"] is None


async def test_connection_is_changed_as_a_whole(api: Api, world: World) -> None:
    made = await api.post(PATH, world.body())
    body = world.body(iotDeviceIds=world.devices[1:], payloadDecoderId=None)
    changed = await api.put(f"{PATH}/{made['id']}", body)
    assert [row["id"] for row in changed["iotDevices"]] == world.devices[1:]
    assert changed["payloadDecoder"] is None


async def test_further_device_is_appended_once(api: Api, world: World) -> None:
    made = await api.post(PATH, world.body(iotDeviceIds=world.devices[:1]))
    for _ in range(2):
        changed = await api.put(
            f"{PATH}/appendCopiedDevice/{made['id']}", {"deviceId": world.devices[1]}
        )
        assert [row["id"] for row in changed["iotDevices"]] == world.devices


async def test_connection_is_deleted(api: Api, world: World) -> None:
    made = await api.post(PATH, world.body())
    assert await api.delete(f"{PATH}/{made['id']}") == {"affected": 1}
    await api.delete(f"{PATH}/{made['id']}", 404)


@pytest.mark.parametrize(
    ("more", "code"),
    [
        ({"iotDeviceIds": [99]}, "MESSAGE.DEVICE-DOES-NOT-EXIST"),
        ({"payloadDecoderId": 99}, "MESSAGE.ID-DOES-NOT-EXIST"),
        ({"dataTargetId": 99}, "MESSAGE.ID-DOES-NOT-EXIST"),
    ],
)
async def test_end_that_does_not_exist_is_refused(
    api: Api, world: World, more: dict[str, Any], code: str
) -> None:
    assert (await api.post(PATH, world.body(**more), 400))["message"] == code


@pytest.mark.parametrize("ids", [[], [1, 1], ["1"], [0], None])
async def test_bad_list_of_devices_is_refused(api: Api, world: World, ids: Any) -> None:
    refused = await api.post(PATH, world.body(iotDeviceIds=ids), 400)
    assert refused["message"][0]["property"] == "iotDeviceIds"


async def test_ends_of_two_applications_are_not_connected(api: Api, world: World) -> None:
    other = await api.application(world.organization)
    device, target = (await api.device(other))["id"], (await api.target(other))["id"]
    for more in ({"iotDeviceIds": [device]}, {"dataTargetId": target}):
        refused = await api.post(PATH, world.body(**more), 400)
        assert refused["message"] == "MESSAGE.NOT-SAME-APPLICATION"


async def test_decoder_of_another_organization_is_not_used(api: Api, world: World) -> None:
    foreign = await api.decoder(await api.organization())
    refused = await api.post(PATH, world.body(payloadDecoderId=foreign), 400)
    assert "another organization" in refused["detail"]


async def test_connection_is_not_led_into_an_organization_that_the_caller_may_only_read(
    api: Api, world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    elsewhere = await World(api).make()
    made = await api.post(PATH, world.body())
    levels = {
        world.organization: frozenset({Level.APPLICATION_ADMIN}),
        elsewhere.organization: frozenset({Level.READ}),
    }

    async def authenticate(*_: object) -> Caller:
        return Caller(kind=CallerKind.USER, id=2, name="of both", levels=levels)

    monkeypatch.setattr(Authenticator, "authenticate", authenticate)

    await api.put(f"{PATH}/{made['id']}", elsewhere.body(), 403)

    assert await api.get(f"{PATH}/{made['id']}") == made


async def test_list_shows_connections_of_more_devices_than_fit_into_one_statement(
    api: Api, world: World
) -> None:
    each, first = 9_000, 100

    def fill(transaction: Transaction) -> None:
        stamps = (0, 0)
        of_device = ("id", "application_id", "type", "name", "created_at", "updated_at")
        of_connection = ("id", "data_target_id", "created_at", "updated_at")
        ids = range(first, first + 2 * each)
        transaction.insert_many(
            BulkInsert(iot_device, of_device),
            [(i, world.application, "GENERIC_HTTP", "device", *stamps) for i in ids],
        )
        transaction.insert_many(
            BulkInsert(connection, of_connection), [(i, world.target, *stamps) for i in (1, 2)]
        )
        transaction.insert_many(
            BulkInsert(connection_device, ("connection_id", "device_id")),
            [(1 + (i - first) // each, i) for i in ids],
        )

    await api.database.write(fill)

    listed = await api.get(PATH)

    assert [len(row["iotDevices"]) for row in listed["data"]] == [each, each]
