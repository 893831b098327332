from typing import Any

import pytest

from storage.database import Transaction
from storage.instants import microseconds
from storage.repositories import EVERYWHERE, data_targets
from storage.tables.pipeline import delivery_attempt
from tests.support.api_client import START, Api

SECRET = "Bearer s3cr3t-value"


@pytest.fixture
async def application(api: Api) -> int:
    return await api.application(await api.organization())


async def stored(api: Api, target_id: int) -> dict[str, object]:
    """What the actors get to read."""
    found = await api.database.read(lambda reader: data_targets.get(reader, EVERYWHERE, target_id))
    return found.fields.merged()


async def test_target_is_made_and_shown(api: Api, application: int) -> None:
    made = await api.target(application, name="Receiver")
    assert (made["name"], made["type"]) == ("Receiver", "HTTP_PUSH")
    assert (made["url"], made["timeout"]) == ("https://example.org/in", 5000)
    assert made["application"]["id"] == application
    assert made["authorizationType"] == "NO_AUTHORIZATION"
    assert made["authorizationHeaderIsSet"] is False
    assert await api.get(f"data-target/{made['id']}") == made
    assert (await api.get(f"data-target?applicationId={application}"))["data"] == [made]


WAYS: list[dict[str, str]] = [
    {"authorizationHeader": SECRET},
    {"authorizationType": "HEADER_BASED_AUTHORIZATION", "authorizationHeader": SECRET},
    {"authorizationType": "HTTP_BASIC_AUTHORIZATION", "username": "u", "password": SECRET},
    {
        "authorizationType": "SECRET_HEADER",
        "secretHeaderName": "X-Key",
        "secretHeaderValue": SECRET,
    },
    {
        "authorizationType": "SECRET_URL_PARAMETER",
        "secretParameterName": "key",
        "secretParameterValue": SECRET,
    },
]


@pytest.mark.parametrize("way", WAYS)
async def test_secret_goes_in_and_never_comes_out(
    api: Api, application: int, way: dict[str, str]
) -> None:
    body = {
        "name": "t",
        "type": "HTTP_PUSH",
        "applicationId": application,
        "url": "https://example.org",
        "timeout": 1000,
        **way,
    }
    created = await api.call("POST", "data-target", body)
    assert created.status == 201
    target_id = created.json["id"]
    secret = next(name for name, value in way.items() if value == SECRET)
    shown = await api.call("GET", f"data-target/{target_id}")
    listed = await api.call("GET", "application")
    updated = await api.call("PUT", f"data-target/{target_id}", {**body, **shown.json})
    for answer in (created, shown, listed, updated):
        assert b"s3cr3t" not in answer.raw
    assert (shown.json[secret], shown.json[f"{secret}IsSet"]) == (None, True)
    assert (await stored(api, target_id))[secret] == SECRET


async def test_secret_that_is_sent_back_as_null_or_left_out_stays(
    api: Api, application: int
) -> None:
    made = await api.target(application, authorizationHeader=SECRET)
    body = {
        "name": "t",
        "type": "HTTP_PUSH",
        "applicationId": application,
        "url": "https://example.org/2",
        "timeout": 1,
    }
    for more in ({}, {"authorizationHeader": None}):
        changed = await api.put(f"data-target/{made['id']}", {**body, **more})
        assert changed["authorizationHeaderIsSet"] is True
    assert (await stored(api, made["id"]))["authorizationHeader"] == SECRET


async def test_secret_is_removed_by_an_empty_text_and_by_another_way(
    api: Api, application: int
) -> None:
    made = await api.target(application, authorizationHeader=SECRET)
    path = f"data-target/{made['id']}"
    body = {"name": "t", "type": "HTTP_PUSH", "applicationId": application, "url": "https://x.org"}
    changed = await api.put(path, {**body, "authorizationHeader": ""})
    assert changed["authorizationHeaderIsSet"] is False
    assert changed["authorizationType"] == "NO_AUTHORIZATION"
    await api.put(path, {**body, "authorizationHeader": SECRET})
    await api.put(path, {**body, "authorizationType": "NO_AUTHORIZATION"})
    assert "authorizationHeader" not in await stored(api, made["id"])


@pytest.mark.parametrize(
    "wrong",
    [
        {"url": "ftp://example.org"},
        {"url": "https://user:pass@example.org"},
        {"url": ""},
        {"url": None},
        {"timeout": 0},
        {"timeout": "soon"},
        {"authorizationType": "MAGIC"},
        {"authorizationType": "SECRET_HEADER"},
        {
            "authorizationType": "SECRET_HEADER",
            "secretHeaderName": "Host",
            "secretHeaderValue": "x",
        },
        {"authorizationHeader": "a\r\nb: c"},
        {"type": "CARRIER_PIGEON"},
        {"name": ""},
    ],
)
async def test_settings_that_cannot_be_used_are_refused(
    api: Api, application: int, wrong: dict[str, Any]
) -> None:
    body = {
        "name": "t",
        "type": "HTTP_PUSH",
        "applicationId": application,
        "url": "https://example.org",
        "timeout": 1000,
        **wrong,
    }
    refused = await api.post("data-target", body, 400)
    assert refused["message"]


@pytest.mark.parametrize("kind", ["FIWARE", "MQTT"])
async def test_known_type_that_is_not_there_yet_is_refused_with_a_sentence(
    api: Api, application: int, kind: str
) -> None:
    body = {"name": "t", "type": kind, "applicationId": application}
    refused = await api.post("data-target", body, 400)
    assert f"{kind} are not available yet" in refused["message"]


async def test_target_stays_in_its_application(api: Api, application: int) -> None:
    other = await api.application(await api.organization())
    made = await api.target(application)
    body = {"name": "t", "type": "HTTP_PUSH", "applicationId": other, "url": "https://x.org"}
    refused = await api.put(f"data-target/{made['id']}", body, 400)
    assert refused["message"] == "MESSAGE.NOT-SAME-APPLICATION"


async def test_log_shows_the_attempts_newest_first(api: Api, application: int) -> None:
    target = (await api.target(application))["id"]

    def unit(transaction: Transaction) -> None:
        for attempt, error in ((1, "It answered 503."), (2, None)):
            transaction.insert(
                delivery_attempt,
                {
                    "delivery_id": "019b7d7e-0000-7000-8000-000000000000",
                    "target_id": target,
                    "attempt": attempt,
                    "state": "delivered" if error is None else "retrying",
                    "attempted_at": microseconds(START) + attempt,
                    "status_code": 200 if error is None else 503,
                    "error_code": error and "delivery_retryable",
                    "error": error,
                    "duration_us": 5,
                },
            )

    await api.database.write(unit)
    rows = await api.get(f"datatarget-log/{target}")
    assert [(row["type"], row["statusCode"], row["message"]) for row in rows] == [
        ("OK", 200, None),
        ("ERROR", 503, "It answered 503."),
    ]
    assert (await api.get(f"data-target/{target}"))["hasRecentErrors"] is True
    await api.get("datatarget-log/99", 404)


async def test_target_goes_with_its_connections(api: Api, application: int) -> None:
    device, target = await api.device(application), await api.target(application)
    connection = "iot-device-payload-decoder-data-target-connection"
    await api.post(connection, {"iotDeviceIds": [device["id"]], "dataTargetId": target["id"]})
    assert await api.delete(f"data-target/{target['id']}") == {"affected": 1}
    assert (await api.get(connection))["count"] == 0
