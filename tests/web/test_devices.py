import uuid
from typing import Any

import pytest

from storage.database import Transaction
from storage.instants import microseconds
from storage.tables.pipeline import message
from tests.support.api_client import START, Api

CONNECTION = "iot-device-payload-decoder-data-target-connection"


@pytest.fixture
async def application(api: Api) -> int:
    return await api.application(await api.organization())


async def test_device_is_made_with_a_key_of_its_own(api: Api, application: int) -> None:
    first, second = await api.device(application), await api.device(application)
    assert uuid.UUID(first["apiKey"]).version == 4
    assert first["apiKey"] != second["apiKey"]


async def test_device_keeps_all_its_fields(api: Api, application: int) -> None:
    made = await api.device(
        application,
        name="Room 101",
        longitude=10.2,
        latitude=56.15,
        comment="c",
        commentOnLocation="by the window",
        metadata='{"floor": "1"}',
    )
    assert made["location"] == {"type": "Point", "coordinates": [10.2, 56.15]}
    assert made["metadata"] == '{"floor": "1"}'
    assert (made["comment"], made["commentOnLocation"]) == ("c", "by the window")
    assert made["application"]["id"] == application
    assert made["application"]["belongsTo"]["name"] == "name 1"
    read = await api.get(f"iot-device/{made['id']}")
    assert read == {**made, "receivedMessagesMetadata": []}


async def test_half_a_position_is_none(api: Api, application: int) -> None:
    assert (await api.device(application, longitude=10.2))["location"] is None
    assert (await api.device(application, longitude=0, latitude=0))["location"] is not None


async def test_update_replaces_what_was_there_but_not_the_key(api: Api, application: int) -> None:
    made = await api.device(application, longitude=1, latitude=2, comment="c", metadata='{"a":"b"}')
    body = {"name": "new", "type": "GENERIC_HTTP", "applicationId": application}
    changed = await api.put(f"iot-device/{made['id']}", body)
    assert changed["name"] == "new"
    assert changed["apiKey"] == made["apiKey"]
    assert (changed["location"], changed["comment"], changed["metadata"]) == (None, None, None)


async def test_new_key_takes_the_place_of_the_old(api: Api, application: int) -> None:
    made = await api.device(application)
    answer = await api.put(f"iot-device/resetHttpDeviceApiKey/{made['id']}", None)
    assert list(answer) == ["apiKey"]
    assert answer["apiKey"] != made["apiKey"]
    assert (await api.get(f"iot-device/{made['id']}"))["apiKey"] == answer["apiKey"]


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("name", " "),
        ("type", "TELEPATHY"),
        ("applicationId", "one"),
        ("longitude", 181),
        ("latitude", -91),
        ("latitude", "north"),
        ("comment", "x" * 1025),
        ("metadata", "no JSON"),
        ("metadata", '["list"]'),
        ("metadata", '{" ": "x"}'),
        ("metadata", '{"x": " "}'),
        ("metadata", '{"x": 1}'),
        ("metadata", {"x": "y"}),
    ],
)
async def test_field_outside_its_rule_is_refused(
    api: Api, application: int, field: str, value: Any
) -> None:
    body = {"name": "x", "type": "GENERIC_HTTP", "applicationId": application, field: value}
    refused = await api.post("iot-device", body, 400)
    assert [problem["property"] for problem in refused["message"]] == [field]


@pytest.mark.parametrize(
    "kind", ["LORAWAN", "SIGFOX", "MQTT_INTERNAL_BROKER", "MQTT_EXTERNAL_BROKER"]
)
async def test_known_type_that_is_not_there_yet_is_refused_with_a_sentence(
    api: Api, application: int, kind: str
) -> None:
    body = {"name": "x", "type": kind, "applicationId": application}
    refused = await api.post("iot-device", body, 400)
    assert f"{kind} are not available yet" in refused["message"]


async def test_device_needs_an_application_that_exists(api: Api) -> None:
    body = {"name": "x", "type": "GENERIC_HTTP", "applicationId": 99}
    refused = await api.post("iot-device", body, 400)
    assert refused["message"] == "MESSAGE.APPLICATION-DOES-NOT-EXIST"


async def test_update_does_not_move_a_device(api: Api, application: int) -> None:
    other = await api.application(await api.organization())
    made = await api.device(application)
    body = {"name": "x", "type": "GENERIC_HTTP", "applicationId": other}
    refused = await api.put(f"iot-device/{made['id']}", body, 400)
    assert refused["message"] == "MESSAGE.NOT-SAME-APPLICATION"


async def keep_message(api: Api, device_id: int, *, second: int, payload: bytes) -> str:
    message_id = f"019b7d7e-0000-7000-8000-{second:012d}"

    def unit(transaction: Transaction) -> None:
        transaction.insert(
            message,
            {
                "message_id": message_id,
                "position": second,
                "device_id": device_id,
                "organization_id": 1,
                "application_id": 1,
                "device_type": "GENERIC_HTTP",
                "received_at": microseconds(START) + second * 1_000_000,
                "payload": payload,
                "source_key": None,
            },
        )

    await api.database.write(unit)
    return message_id


async def test_latest_message_is_shown_as_it_came(api: Api, application: int) -> None:
    device = (await api.device(application))["id"]
    ids = [
        await keep_message(api, device, second=second, payload=b'{"n": %d}' % second)
        for second in range(25)
    ]
    shown = await api.get(f"iot-device/{device}")
    latest = shown["latestReceivedMessage"]
    assert (latest["id"], latest["rawData"]) == (ids[-1], {"n": 24})
    assert latest["sentTime"] == "2026-01-02T03:04:29.000Z"
    assert [row["id"] for row in shown["receivedMessagesMetadata"]] == ids[:4:-1]


async def test_raw_message_is_shown_to_the_last_digit(api: Api, application: int) -> None:
    device = (await api.device(application))["id"]
    payload = b'{"big": 123456789012345678901234567890, "small": 1.10}'
    await keep_message(api, device, second=1, payload=payload)
    answer = await api.call("GET", f"iot-device/{device}")
    assert payload in answer.raw


async def test_devices_of_an_application_and_of_an_organization_are_listed(
    api: Api, application: int
) -> None:
    organization = (await api.get(f"application/{application}"))["belongsTo"]["id"]
    other = await api.application(organization)
    first, second = await api.device(application), await api.device(other, longitude=1, latitude=2)
    assert (await api.get(f"application/{application}/iot-devices"))["data"] == [first]
    found = await api.get(f"application/{organization}/iot-devices-org?sort=DESC")
    assert found == {"data": [second, first], "count": 2}
    assert await api.get(f"application/{other}/iot-devices-map") == [
        {
            "id": second["id"],
            "name": second["name"],
            "type": "GENERIC_HTTP",
            "latestSentMessage": None,
            "location": {"type": "Point", "coordinates": [1.0, 2.0]},
        }
    ]


async def test_batch_succeeds_in_part(api: Api, application: int) -> None:
    good = {"name": "good", "type": "GENERIC_HTTP", "applicationId": application}
    rows = await api.post(
        "iot-device/createMany",
        {"data": [good, {**good, "name": ""}, {**good, "applicationId": 99}, {"name": 5}]},
    )
    assert rows[0]["data"]["name"] == "good"
    assert rows[0]["idMetadata"] == {"name": "good", "applicationId": application}
    assert rows[1]["error"]["message"][0]["property"] == "name"
    assert rows[2]["error"]["message"] == "MESSAGE.APPLICATION-DOES-NOT-EXIST"
    assert {problem["property"] for problem in rows[3]["error"]["message"]} >= {"type", "name"}
    assert (await api.get(f"application/{application}/iot-devices"))["count"] == 1


async def test_batch_updates_each_device_by_its_id(api: Api, application: int) -> None:
    made = await api.device(application)
    body = {"name": "new", "type": "GENERIC_HTTP", "applicationId": application}
    rows = await api.post(
        "iot-device/updateMany", {"data": [{**body, "id": made["id"]}, {**body, "id": 99}, body]}
    )
    assert rows[0]["data"]["name"] == "new"
    assert rows[1]["error"]["message"] == "MESSAGE.ID-DOES-NOT-EXIST"
    assert rows[2]["error"]["message"] == "MESSAGE.ID-DOES-NOT-EXIST"


@pytest.mark.parametrize("size", [0, 51])
async def test_batch_has_one_to_fifty_rows(api: Api, size: int) -> None:
    await api.post("iot-device/createMany", {"data": [{}] * size}, 400)


async def test_device_moves_to_another_application_with_new_connections(
    api: Api, application: int
) -> None:
    organization = (await api.get(f"application/{application}"))["belongsTo"]["id"]
    device = (await api.device(application))["id"]
    old = (await api.target(application))["id"]
    await api.post(CONNECTION, {"iotDeviceIds": [device], "dataTargetId": old})
    goal = await api.application(organization)
    new, decoder = (await api.target(goal))["id"], await api.decoder(organization)
    pairs = [{"dataTargetId": new, "payloadDecoderId": decoder}]
    moved = await api.put(
        f"iot-device/changeApplication/{device}",
        {
            "applicationId": goal,
            "organizationId": organization,
            "deviceModelId": None,
            "dataTargetToPayloadDecoderIds": pairs,
        },
    )
    assert moved["application"]["id"] == goal
    connections = (await api.get(f"{CONNECTION}/byIoTDevice/{device}"))["data"]
    assert [row["dataTarget"]["id"] for row in connections] == [new]
    assert connections[0]["payloadDecoder"]["id"] == decoder


async def test_device_does_not_move_to_the_target_of_a_third_application(
    api: Api, application: int
) -> None:
    device = (await api.device(application))["id"]
    goal = await api.application(await api.organization())
    elsewhere = (await api.target(application))["id"]
    body = {
        "applicationId": goal,
        "dataTargetToPayloadDecoderIds": [{"dataTargetId": elsewhere, "payloadDecoderId": None}],
    }
    refused = await api.put(f"iot-device/changeApplication/{device}", body, 400)
    assert refused["message"] == "MESSAGE.NOT-SAME-APPLICATION"
    assert (await api.get(f"iot-device/{device}"))["application"]["id"] == application


async def test_deleted_device_leaves_its_connections(api: Api, application: int) -> None:
    first, second = await api.device(application), await api.device(application)
    target = (await api.target(application))["id"]
    made = await api.post(
        CONNECTION, {"iotDeviceIds": [first["id"], second["id"]], "dataTargetId": target}
    )
    assert await api.delete(f"iot-device/{first['id']}") == {"affected": 1}
    left = (await api.get(f"{CONNECTION}/{made['id']}"))["iotDevices"]
    assert [row["id"] for row in left] == [second["id"]]
