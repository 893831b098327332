"""Data targets that people try out: over real HTTP, with nothing kept."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import orjson
import pytest
from sqlalchemy import select

from protocols.targets.http_push import HttpPushTarget
from storage.database import Reader, Transaction
from storage.instants import microseconds
from storage.repositories import EVERYWHERE, Page, audit
from storage.tables.pipeline import delivery, delivery_attempt, ledger, message
from tests.support import receivers
from tests.support.api_client import START, Api
from tests.support.fake_hub import FakeOutcome
from tests.support.receivers import Receiver
from web.target_trials import LIMIT_OF_ORGANIZATION, TargetTrial, TargetTrials

SECRET = "s3cr3t-value"
PATIENCE_S = 10


@pytest.fixture
async def receiver() -> AsyncIterator[Receiver]:
    async with Receiver() as running:
        yield running


@pytest.fixture
async def organization(api: Api) -> int:
    return await api.organization()


@pytest.fixture
async def application(api: Api, organization: int) -> int:
    return await api.application(organization)


@pytest.fixture
async def target(api: Api, application: int, receiver: Receiver) -> int:
    made = await api.target(
        application, url=receiver.url, authorizationHeader=f"Bearer {SECRET}", timeout=2000
    )
    return int(made["id"])


async def give_message(api: Api, device_id: int, payload: bytes) -> None:
    """Let the device have sent this."""

    def unit(transaction: Transaction) -> None:
        transaction.insert(
            message,
            {
                "message_id": "019b7d7e-0000-7000-8000-000000000000",
                "position": 1,
                "device_id": device_id,
                "organization_id": 1,
                "application_id": 1,
                "device_type": "GENERIC_HTTP",
                "received_at": microseconds(START),
                "payload": payload,
                "source_key": None,
            },
        )

    await api.database.write(unit)


async def test_sample_is_sent_and_the_whole_exchange_is_shown(
    api: Api, target: int, receiver: Receiver
) -> None:
    receiver.answer = receivers.status(202, b"thank you")
    tried = await api.post(f"data-target/{target}/test", None, 200)
    (request,) = receiver.requests
    assert (tried["isDelivered"], tried["error"]) == (True, None)
    assert orjson.loads(request.body) == tried["payload"] == {"test": True}
    assert tried["request"]["url"] == receiver.url
    assert tried["request"]["address"] == "127.0.0.1"
    assert tried["request"]["keyIds"] == ["k1"]
    assert request.headers["webhook-signature"].startswith("v1,")
    assert tried["request"]["body"] == request.body.decode()
    assert tried["request"]["sentBytes"] == len(request.body)
    assert tried["request"]["headers"]["webhook-id"] == request.headers["webhook-id"]
    assert (tried["response"]["statusCode"], tried["response"]["statusText"]) == (202, "Accepted")
    assert tried["response"]["excerpt"] == "thank you"
    assert {"connect", "firstByte", "total"} <= tried["timingMs"].keys()


async def test_secret_is_sent_and_not_shown(api: Api, target: int, receiver: Receiver) -> None:
    receiver.answer = receivers.status(500, SECRET.encode())
    answer = await api.call("POST", f"data-target/{target}/test")
    assert receiver.requests[0].headers["Authorization"] == f"Bearer {SECRET}"
    assert SECRET.encode() not in answer.raw
    assert answer.json["request"]["headers"]["Authorization"] == "[secret]"


async def test_failure_is_told_in_a_sentence(api: Api, target: int, receiver: Receiver) -> None:
    receiver.answer = receivers.status(401, b"who are you?")
    tried = await api.post(f"data-target/{target}/test", None, 200)
    assert tried["isDelivered"] is False
    assert "401" in tried["error"]
    assert (tried["errorCode"], tried["fault"]) == ("delivery_retryable", "configuration")
    assert tried["response"]["excerpt"] == "who are you?"


async def test_nothing_of_a_trial_is_kept_but_its_line_in_the_audit_log(
    api: Api, target: int
) -> None:
    api.hub.changes.clear()
    await api.post(f"data-target/{target}/test", None, 200)

    def kept(reader: Reader) -> list[object]:
        tables = (delivery, delivery_attempt, ledger, message)
        return [row for table in tables for row in reader.fetch_all(select(table))]

    assert await api.database.read(kept) == []
    page = await api.database.read(lambda reader: audit.list_page(reader, EVERYWHERE, Page()))
    assert (page.rows[-1].action, page.rows[-1].entity_id) == ("TEST", target)
    assert api.hub.changes == []
    assert (await api.get(f"data-target/{target}"))["lastMessageDate"] is None


async def test_package_goes_through_the_decoder_that_is_named(
    api: Api, organization: int, target: int, receiver: Receiver
) -> None:
    decoder = await api.decoder(organization, "function decode() {}")
    api.hub.outcome = FakeOutcome(body=b'{"celsius": 21.50}')
    body = {"dataPackage": '{"t": 215}', "payloadDecoderId": decoder}
    answer = await api.call("POST", f"data-target/{target}/test", body)
    assert api.hub.tests == [("function decode() {}", b'{"t": 215}', b"{}")]
    assert receiver.requests[0].body == b'{"celsius": 21.50}'
    assert b"21.50" in answer.raw


async def test_decoder_that_fails_is_told_and_nothing_is_sent(
    api: Api, organization: int, target: int, receiver: Receiver
) -> None:
    decoder = await api.decoder(organization)
    api.hub.outcome = FakeOutcome(error="TypeError: no such thing")
    body = {"dataPackage": "{}", "payloadDecoderId": decoder}
    tried = await api.post(f"data-target/{target}/test", body, 200)
    assert "TypeError: no such thing" in tried["error"]
    assert (tried["isDelivered"], tried["request"]["url"], receiver.requests) == (False, None, [])


async def test_latest_message_of_a_device_is_sent_with_what_is_known_of_it(
    api: Api, organization: int, application: int, target: int, receiver: Receiver
) -> None:
    device = await api.device(application, name="Room 101")
    await give_message(api, device["id"], b'{"t": 7}')
    await api.post(f"data-target/{target}/test", {"iotDeviceId": device["id"]}, 200)
    assert receiver.requests[0].body == b'{"t": 7}'
    decoder = await api.decoder(organization)
    body = {"iotDeviceId": device["id"], "payloadDecoderId": decoder}
    await api.post(f"data-target/{target}/test", body, 200)
    ((_code, payload, metadata),) = api.hub.tests
    assert payload == b'{"t": 7}'
    assert orjson.loads(metadata)["name"] == "Room 101"
    assert device["apiKey"].encode() not in metadata


async def test_device_that_never_sent_needs_a_package(
    api: Api, application: int, target: int, receiver: Receiver
) -> None:
    device = await api.device(application)
    body: dict[str, Any] = {"iotDeviceId": device["id"]}
    refused = await api.post(f"data-target/{target}/test", body, 400)
    assert "dataPackage" in refused["message"]
    await api.post(f"data-target/{target}/test", {**body, "dataPackage": "[1]"}, 200)
    assert receiver.requests[0].body == b"[1]"


@pytest.mark.parametrize("package", ["{", "", "NaN", 7, {"a": 1}])
async def test_package_that_is_no_json_text_is_refused(
    api: Api, target: int, package: object
) -> None:
    await api.post(f"data-target/{target}/test", {"dataPackage": package}, 400)


async def test_existing_clients_are_answered_in_their_shape(
    api: Api, organization: int, target: int, receiver: Receiver
) -> None:
    decoder = await api.decoder(organization)
    body = {"dataTargetId": target, "dataPackage": '{"t": 1}'}
    assert await api.post("data-target/testDataTarget", body) == {
        "result": {"status": "OK", "statusCode": 200, "statusText": "OK", "errorMessage": None}
    }
    receiver.answer = receivers.status(404)
    answered = await api.post("data-target/testDataTarget", {**body, "payloadDecoderId": decoder})
    assert answered["decodedPayload"] == {"a": 1}
    result = answered["result"]
    assert (result["status"], result["statusCode"]) == ("ERROR", 404)
    assert (result["statusText"], "404" in result["errorMessage"]) == ("Not Found", True)
    await api.post("data-target/testDataTarget", {"dataPackage": "{}"}, 400)
    await api.post("data-target/testDataTarget", {"dataTargetId": 99}, 404)


async def test_target_without_an_address_says_that_nothing_is_pushed_to_it(
    api: Api, application: int
) -> None:
    made = await api.target(application, url=None)
    tried = await api.post(f"data-target/{made['id']}/test", None, 200)
    assert (tried["isDelivered"], "only read from" in tried["error"]) == (False, True)


async def test_things_of_others_are_not_sent_to_a_target_of_ones_own(
    api: Api, organization: int, application: int, target: int, receiver: Receiver
) -> None:
    other = await api.organization()
    neighbour = await api.device(await api.application(organization))
    foreign = await api.device(await api.application(other))
    await give_message(api, foreign["id"], b"{}")
    machine = await api.machine(organization, "OrganizationApplicationAdmin")
    for body, message_code in (
        ({"iotDeviceId": foreign["id"]}, "MESSAGE.DEVICE-DOES-NOT-EXIST"),
        ({"iotDeviceId": neighbour["id"]}, "MESSAGE.NOT-SAME-APPLICATION"),
        ({"payloadDecoderId": await api.decoder(other)}, "MESSAGE.ID-DOES-NOT-EXIST"),
    ):
        refused = await machine.post(f"data-target/{target}/test", body, 400)
        assert refused["message"] == message_code
    refused = await api.post(
        f"data-target/{target}/test", {"payloadDecoderId": await api.decoder(other)}, 400
    )
    assert "another organization" in refused["detail"]
    assert receiver.requests == []


async def test_trial_ends_when_no_person_would_wait_longer(api: Api, receiver: Receiver) -> None:
    receiver.answer = receivers.never()
    trial = TargetTrial(
        kind=HttpPushTarget,
        settings={"url": receiver.url, "timeout": 60_000},
        organization_id=1,
        device_id=0,
        body=b"{}",
    )
    trials = TargetTrials(timeout_s=0.05)
    tried = await trials.run(trial, api.services.target_resources, now=START)
    assert str(tried.outcome) == "There was no answer within 0.05 s."


async def test_organization_that_tries_too_much_at_once_is_told_to_wait_and_others_are_not(
    api: Api, target: int, receiver: Receiver
) -> None:
    release = asyncio.Event()
    receiver.answer = receivers.once(release, receivers.status(200))
    path = f"data-target/{target}/test"
    waiting = [asyncio.create_task(api.call("POST", path)) for _ in range(LIMIT_OF_ORGANIZATION)]
    async with asyncio.timeout(PATIENCE_S), Receiver() as elsewhere:
        await receiver.wait_for(LIMIT_OF_ORGANIZATION)
        refused = await api.call("POST", path)
        other = await api.target(await api.application(await api.organization()), url=elsewhere.url)
        await api.post(f"data-target/{other['id']}/test", None, 200)
        release.set()
        answers = await asyncio.gather(*waiting)
    assert (refused.status, refused.headers["Retry-After"]) == (503, "1")
    assert {answer.status for answer in answers} == {200}
    await api.post(path, None, 200)


async def test_trial_of_a_target_that_wants_envelopes_shows_what_was_handed_over_and_what_was_sent(
    api: Api, application: int, receiver: Receiver
) -> None:
    made = await api.target(application, url=receiver.url, envelope=True, batchSize=10)
    body = {"dataPackage": '{"t": 21.50}'}
    tried = await api.post(f"data-target/{made['id']}/test", body, 200)
    assert tried["payload"] == {"t": 21.5}
    assert tried["request"]["body"] == receiver.requests[0].body.decode()
    (envelope,) = orjson.loads(tried["request"]["body"])
    assert envelope["data"] == {"t": 21.5}
