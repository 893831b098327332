import json
from datetime import UTC, datetime

import pytest

from storage.database import Transaction
from storage.instants import microseconds
from storage.tables.pipeline import message_job
from tests.support.api_client import START, Api
from tests.support.fake_hub import FakeOutcome

CODE = 'function decode(payload) { return {"ø": payload["n"]}; }\n'


async def test_script_is_taken_as_a_string_in_a_string_and_given_back_as_it_is(api: Api) -> None:
    organization = await api.organization()
    body = {"name": "d", "organizationId": organization, "decodingFunction": json.dumps(CODE)}
    made = await api.post("payload-decoder", body)
    assert made["decodingFunction"] == CODE
    assert made["organization"] == {"id": organization, "name": "name 1"}
    shown = await api.get(f"payload-decoder/{made['id']}")
    assert shown == {**made, "failedMessages": 0, "lastError": None, "lastErrorAt": None}
    changed = await api.put(
        f"payload-decoder/{made['id']}", {**body, "decodingFunction": json.dumps("x")}
    )
    assert changed["decodingFunction"] == "x"


@pytest.mark.parametrize("code", [CODE, "5", "", '"', "null"])
async def test_script_in_another_encoding_is_refused_with_the_known_code(
    api: Api, code: str
) -> None:
    body = {"name": "d", "organizationId": 1, "decodingFunction": code}
    refused = await api.post("payload-decoder", body, 400)
    problem = refused["message"][0]
    assert problem["property"] == "decodingFunction"
    assert "MESSAGE.BAD-ENCODING" in problem["constraints"].values()


async def test_syntax_is_not_looked_at_when_a_script_is_saved(api: Api) -> None:
    await api.decoder(await api.organization(), "this is no JavaScript {")
    assert api.hub.tests == []


async def test_decoder_in_use_is_not_deleted(api: Api) -> None:
    organization = await api.organization()
    application = await api.application(organization)
    device, target = await api.device(application), await api.target(application)
    decoder = await api.decoder(organization)
    connection = "iot-device-payload-decoder-data-target-connection"
    made = await api.post(
        connection,
        {
            "iotDeviceIds": [device["id"]],
            "payloadDecoderId": decoder,
            "dataTargetId": target["id"],
        },
    )
    answer = await api.call("DELETE", f"payload-decoder/{decoder}")
    assert answer.status == 400
    assert answer.json["message"] == "MESSAGE.DELETE-NOT-ALLOWED-ITEM-IS-IN-USE"
    found = await api.get(f"iot-device/minimalByPayloadDecoder/{decoder}")
    assert [row["id"] for row in found["data"]] == [device["id"]]
    await api.delete(f"{connection}/{made['id']}")
    assert await api.delete(f"payload-decoder/{decoder}") == {"affected": 1}


async def test_lists_show_those_an_organization_may_use(api: Api) -> None:
    first, second = await api.organization(), await api.organization()
    one, two = await api.decoder(first), await api.decoder(second)
    assert [row["id"] for row in (await api.get("payload-decoder"))["data"]] == [one, two]
    found = await api.get(f"payload-decoder?organizationId={second}")
    assert [row["id"] for row in found["data"]] == [two]
    minimal = await api.get("payload-decoder/minimal?limit=1")
    assert minimal["data"] == [{"id": one, "name": "name 3", "organizationId": first}]


async def test_owner_sees_what_a_decoder_fails_on(api: Api) -> None:
    decoder = await api.decoder(await api.organization())

    def unit(transaction: Transaction) -> None:
        for n in range(3):
            transaction.insert(
                message_job,
                {
                    "message_id": f"019b7d7e-0000-7000-8000-{n:012d}",
                    "decoder_id": decoder,
                    "position": n,
                    "device_id": 1,
                    "organization_id": 1,
                    "generation": 0,
                    "state": "failed" if n < 2 else "decoded",
                    "error": f"error {n}",
                    "settled_at": microseconds(START),
                },
            )

    await api.database.write(unit)
    shown = await api.get(f"payload-decoder/{decoder}")
    assert (shown["failedMessages"], shown["lastError"]) == (2, "error 1")
    assert shown["lastErrorAt"] == "2026-01-02T03:04:05.000Z"


async def test_replay_is_asked_of_the_hub(api: Api) -> None:
    decoder = await api.decoder(await api.organization())
    api.hub.changes.clear()
    assert await api.post(f"payload-decoder/{decoder}/replay", None, 202) == {"queued": 7}
    body = {"from": "2026-01-01T00:00:00Z", "to": "2026-01-02T01:00:00+01:00"}
    await api.post(f"payload-decoder/{decoder}/replay", body, 202)
    assert api.hub.replays == [
        (decoder, None, None),
        (decoder, datetime(2026, 1, 1, tzinfo=UTC), datetime(2026, 1, 2, tzinfo=UTC)),
    ]
    assert api.hub.changes == []


async def test_replay_of_an_unknown_decoder_is_refused(api: Api) -> None:
    await api.post("payload-decoder/99/replay", None, 404)
    assert api.hub.replays == []


TRIAL = {
    "code": json.dumps(CODE),
    "iotDeviceJsonString": json.dumps('{"name": "x"}'),
    "rawPayloadJsonString": json.dumps('{"n": 1.0}'),
}


async def test_trial_answers_what_the_decoder_returns(api: Api) -> None:
    api.hub.outcome = FakeOutcome(body=b'{"n": 1.0}')
    answer = await api.call("POST", "test-payload-decoder", TRIAL)
    assert (answer.status, answer.raw) == (201, b'{"n": 1.0}')
    assert api.hub.tests == [(CODE, b'{"n": 1.0}', b'{"name": "x"}')]


async def test_trial_that_fails_says_why(api: Api) -> None:
    api.hub.outcome = FakeOutcome(error="ReferenceError: x is not defined")
    refused = await api.post("test-payload-decoder", TRIAL, 400)
    assert refused["message"] == "Got error: ReferenceError: x is not defined"


async def test_trial_is_not_for_strangers(anonymous: Api) -> None:
    await anonymous.post("test-payload-decoder", TRIAL, 401)
    assert anonymous.hub.tests == []
