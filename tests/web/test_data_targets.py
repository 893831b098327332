from typing import Any

import pytest
from sqlalchemy import select

from protocols.messages import TargetId
from protocols.targets import discover
from storage.database import Transaction
from storage.instants import microseconds
from storage.repositories import target_secrets
from storage.sealing import SecretBox
from storage.tables.entities import data_target
from storage.tables.pipeline import delivery_attempt
from storage.target_settings import TargetSettings
from tests.support.api_client import START, Api
from web.schemas.data_target import DataTargetType

SECRET = "Bearer s3cr3t-value"


@pytest.fixture
async def application(api: Api) -> int:
    return await api.application(await api.organization())


async def stored(api: Api, target_id: int) -> dict[str, object]:
    """What the actors get to read."""
    found = await TargetSettings(api.database, api.services.box).load(TargetId(target_id))
    return found.settings


async def test_target_is_made_and_shown(api: Api, application: int) -> None:
    made = await api.target(application, name="Receiver")
    assert (made["name"], made["type"]) == ("Receiver", "HTTP_PUSH")
    assert (made["url"], made["timeout"]) == ("https://example.org/in", 5000)
    assert made["application"]["id"] == application
    assert made["authorizationType"] == "NO_AUTHORIZATION"
    assert made["authorizationHeaderIsSet"] is False
    assert made.pop("signingSecret").startswith("whsec_")
    shown = await api.get(f"data-target/{made['id']}")
    assert shown.pop("configurationError") is None
    assert shown == made
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
        {"url": "https://169.254.169.254/latest/meta-data"},
        {"url": "https://10.0.0.1"},
        {"url": "https://2130706433"},
        {"url": "https://example.org:25"},
        {"url": ""},
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


@pytest.mark.parametrize("kind", sorted(set(DataTargetType) - discover().keys()))
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


SETTINGS_OF_EVERY_KIND = {
    "ordering": "strict",
    "headOfLinePolicy": "block",
    "headOfLineMaxSeconds": 60.0,
    "maxRatePerSecond": 2.5,
    "maxInFlight": 3,
    "operationalEvents": True,
}


async def test_settings_of_delivery_are_kept_for_every_kind(api: Api, application: int) -> None:
    made = await api.target(application, **SETTINGS_OF_EVERY_KIND)
    assert {name: made[name] for name in SETTINGS_OF_EVERY_KIND} == SETTINGS_OF_EVERY_KIND
    assert SETTINGS_OF_EVERY_KIND.items() <= (await stored(api, made["id"])).items()


@pytest.mark.parametrize(
    "wrong",
    [
        {"ordering": "some"},
        {"headOfLinePolicy": "wait"},
        {"headOfLineMaxSeconds": 0},
        {"maxRatePerSecond": -1},
        {"maxInFlight": 0},
        {"maxInFlight": 1.5},
        {"operationalEvents": "yes"},
    ],
)
async def test_settings_of_delivery_that_cannot_be_used_are_refused(
    api: Api, application: int, wrong: dict[str, Any]
) -> None:
    body = {"name": "t", "type": "HTTP_PUSH", "applicationId": application, "url": "https://x.org"}
    refused = await api.post("data-target", {**body, **wrong}, 400)
    (name,) = wrong
    assert name in str(refused["message"])


async def test_all_that_is_wrong_is_said_at_once(api: Api, application: int) -> None:
    wrong = {"url": "http://x.org", "timeout": 0, "maxInFlight": 0, "batchSize": 5}
    body = {"name": "t", "type": "HTTP_PUSH", "applicationId": application}
    refused = await api.post("data-target", {**body, **wrong, "url": "ftp://x.org"}, 400)
    for name in wrong:
        assert f"`{name}`" in refused["message"]


async def test_target_without_an_address_is_for_pulling_from(api: Api, application: int) -> None:
    made = await api.target(application, url=None)
    assert made["url"] is None
    assert "url" not in await stored(api, made["id"])


async def test_what_a_kind_has_no_use_for_is_not_kept(api: Api, application: int) -> None:
    made = await api.target(
        application, topic="t", tenant="city", clientKey="s3cr3t", mqttTopic="x", clientId="c"
    )
    kept = await stored(api, made["id"])
    assert kept.keys() == {"url", "timeout", "authorizationType", "signingKeys", "shownSigningKeys"}


async def test_secrets_cannot_be_read_in_the_database(api: Api, application: int) -> None:
    made = await api.target(application, authorizationHeader=SECRET)
    row = await api.database.read(lambda reader: reader.fetch_one(select(data_target)))
    assert row is not None
    assert "s3cr3t" not in str(row)
    assert made["signingSecret"].removeprefix("whsec_") not in str(row)


async def seal_with_another_key(api: Api, target_id: int) -> str:
    other = SecretBox("another key, of another hub, long enough")

    def unit(transaction: Transaction) -> str:
        target_secrets.put(transaction, other, target_id, {"authorizationHeader": SECRET})
        row = transaction.fetch_one(select(data_target.c.secrets))
        assert row is not None
        return str(row.secrets)

    return await api.database.write(unit)


async def test_secrets_of_another_key_are_not_written_over(api: Api, application: int) -> None:
    made = await api.target(application)
    kept = await seal_with_another_key(api, made["id"])
    path = f"data-target/{made['id']}"
    shown = await api.get(path)
    assert shown["authorizationHeaderIsSet"] is True
    assert "TINGBRO_SECRET_KEY" in shown["configurationError"]
    body = {
        "name": "new",
        "type": "HTTP_PUSH",
        "applicationId": application,
        "url": "https://x.org",
    }
    for method, where, sent in (("PUT", path, body), ("POST", f"{path}/rotate-secret", None)):
        refused = await api.call(method, where, sent)
        assert refused.status == 409
        assert "TINGBRO_SECRET_KEY" in refused.json["message"]
    row = await api.database.read(lambda reader: reader.fetch_one(select(data_target)))
    assert row is not None
    assert (row.secrets, row.name) == (kept, made["name"])


async def test_secrets_of_a_lost_key_can_be_given_up(api: Api, application: int) -> None:
    made = await api.target(application)
    await seal_with_another_key(api, made["id"])
    body = {
        "name": "new",
        "type": "HTTP_PUSH",
        "applicationId": application,
        "url": "https://x.org",
    }
    changed = await api.put(
        f"data-target/{made['id']}",
        {**body, "forgetSecrets": True, "authorizationHeader": "Bearer new"},
    )
    assert changed["authorizationHeaderIsSet"] is True
    assert changed["signingKeys"] == []
    assert (await stored(api, made["id"]))["authorizationHeader"] == "Bearer new"


# As OS2iot's clients send it: every field of the form, and no `authorizationType`.
FIWARE = {
    "type": "FIWARE",
    "url": "https://broker.example.org",
    "timeout": 30000,
    "authorizationHeader": "",
    "tenant": "city",
    "context": "https://example.org/context.jsonld",
    "clientId": "hub",
    "clientSecret": SECRET,
    "tokenEndpoint": "https://login.example.org/token",
}
KAFKA = {
    "type": "KAFKA",
    "url": None,
    "bootstrapServers": "kafka1.example.org:9093,kafka2.example.org:9093",
    "topic": "city.decoded",
    "key": "device",
    "securityProtocol": "sasl_ssl",
    "saslMechanism": "scram-sha-512",
    "username": "hub",
    "password": SECRET,
}


@pytest.mark.parametrize(
    ("sent", "secret", "authorization"),
    [(FIWARE, "clientSecret", "OAUTH_AUTHORIZATION"), (KAFKA, "password", None)],
    ids=["FIWARE", "KAFKA"],
)
async def test_fields_of_every_kind_go_in_and_come_out_but_for_the_secrets(
    api: Api, application: int, sent: dict[str, Any], secret: str, authorization: str | None
) -> None:
    made = await api.target(application, **sent)
    shown = await api.get(f"data-target/{made['id']}")
    told = {name: value for name, value in sent.items() if value and name != secret}
    assert {name: shown[name] for name in told} == told
    assert (shown[secret], shown[f"{secret}IsSet"]) == (None, True)
    assert shown["authorizationType"] == authorization
    # Read, renamed and written back: nothing is lost.
    body = {**shown, "applicationId": application, "name": "renamed"}
    assert (await api.put(f"data-target/{made['id']}", body))["name"] == "renamed"
    assert (await stored(api, made["id"]))[secret] == SECRET


async def test_kind_that_does_not_sign_has_no_key(api: Api, application: int) -> None:
    made = await api.target(application, **KAFKA)
    assert (made["signingSecret"], made["signingKeys"]) == (None, [])
    refused = await api.post(f"data-target/{made['id']}/rotate-secret", None, 400)
    assert "not signed" in refused["message"]
