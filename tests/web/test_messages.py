"""The way of a message, as whoever may read its organization is shown it."""

from collections.abc import AsyncIterator
from datetime import timedelta
from typing import Any

import pytest
from msgspec import structs
from sqlalchemy import update

from protocols.identifiers import new_message_id
from protocols.messages import ApplicationId, DecoderId, TargetId, Uplink
from storage.database import Transaction
from storage.delivery.deliveries import DeliveryState
from storage.results import JobState
from storage.tables.pipeline import delivery_attempt
from tests.support.api_client import Api
from tests.support.pipeline import NOW, Pipeline, job, outcome, pipeline_on, result, uplink

AT_NOW = "2026-03-01T12:00:00.000Z"


class Scene:
    """An organization with a device, a decoder and two data targets, and the stores behind it."""

    def __init__(self, api: Api, pipeline: Pipeline) -> None:
        self.api = api
        self.pipeline = pipeline

    async def laid(self) -> "Scene":
        self.organization = await self.api.organization()
        self.application = await self.api.application(self.organization)
        self.device = int((await self.api.device(self.application, name="Room 101"))["id"])
        self.decoder = await self.api.decoder(self.organization)
        self.targets = [
            TargetId((await self.api.target(self.application, name=name))["id"])
            for name in ("Good", "Bad")
        ]
        return self

    def uplink(self, payload: bytes = b'{"t": 1.50}', received_in_s: int = 0) -> Uplink:
        made = uplink(
            self.device,
            payload=payload,
            organization_id=self.organization,
            received_at=NOW + timedelta(seconds=received_in_s),
        )
        return structs.replace(made, application_id=ApplicationId(self.application))

    async def delivered_and_retrying(self) -> str:
        """A message that one target took at once, while another has failed at it."""
        (entry,) = await self.pipeline.accept(self.uplink())
        done = job(decoder_id=DecoderId(self.decoder), body=b'{"t": 1.50}')
        await self.pipeline.commit(result(entry, done, targets=self.targets))
        for target_id, state, retry_in_s in (
            (self.targets[0], DeliveryState.DELIVERED, None),
            (self.targets[1], DeliveryState.RETRYING, 30.0),
        ):
            (item,) = await self.pipeline.outbox.waiting(target_id, now=NOW)
            at = NOW + timedelta(seconds=len(self.targets))
            await self.pipeline.outbox.record([outcome(item, state, at=at, retry_in_s=retry_in_s)])
        return entry.uplink.message_id

    async def way(self, message_id: str) -> Any:
        return await self.api.get(f"message/{message_id}")


@pytest.fixture
async def scene(api: Api) -> AsyncIterator[Scene]:
    async with pipeline_on(api.database) as pipeline:
        yield await Scene(api, pipeline).laid()


async def test_way_tells_by_whom_and_when_and_what_was_made_of_it(scene: Scene) -> None:
    message_id = await scene.delivered_and_retrying()
    raw = await scene.api.call("GET", f"message/{message_id}")
    assert b'"rawData":{"t": 1.50}' in raw.raw
    assert b'"result":{"t": 1.50}' in raw.raw
    way = raw.json
    assert (way["id"], way["state"], way["receivedAt"]) == (message_id, "on_its_way", AT_NOW)
    assert way["iotDevice"] == {"id": scene.device, "name": "Room 101"}
    assert (way["organizationId"], way["applicationId"]) == (scene.organization, scene.application)
    (done,) = way["jobs"]
    assert done["payloadDecoder"]["id"] == scene.decoder
    assert (done["state"], done["decoderVersion"], done["warnings"]) == (
        "decoded",
        "v1",
        ["careful"],
    )


async def test_delivery_that_was_taken_at_once_shows_the_attempt_that_left_no_trace(
    scene: Scene,
) -> None:
    good, bad = (await scene.way(await scene.delivered_and_retrying()))["deliveries"]
    assert good["dataTarget"] == {"id": scene.targets[0], "name": "Good", "type": "HTTP_PUSH"}
    assert (good["state"], good["attempts"], good["settledAt"]) == (
        "delivered",
        1,
        "2026-03-01T12:00:02.000Z",
    )
    (attempt,) = good["attemptLog"]
    assert (attempt["attempt"], attempt["at"], attempt["isInferred"]) == (
        1,
        good["settledAt"],
        True,
    )
    assert (bad["state"], bad["nextAttemptAt"], bad["settledAt"]) == (
        "retrying",
        "2026-03-01T12:00:32.000Z",
        None,
    )
    (failed,) = bad["attemptLog"]
    assert (failed["statusCode"], failed["error"], failed["isInferred"]) == (
        503,
        "It is busy.",
        False,
    )
    assert (failed["durationMs"], failed["responseExcerpt"]) == (250.0, "busy")


async def test_attempt_shows_what_went_over_the_wire(scene: Scene) -> None:
    message_id = await scene.delivered_and_retrying()

    def unit(transaction: Transaction) -> None:
        transaction.execute(update(delivery_attempt).values(details='{"sentBytes": 12}'))

    await scene.pipeline.database.write(unit)
    _, bad = (await scene.way(message_id))["deliveries"]
    assert bad["attemptLog"][0]["details"] == {"sentBytes": 12}


async def test_steps_stand_in_order_of_time(scene: Scene) -> None:
    steps = (await scene.way(await scene.delivered_and_retrying()))["steps"]
    assert [(step["step"], step.get("state")) for step in steps] == [
        ("accepted", None),
        ("decoded", None),
        ("delivery_created", None),
        ("delivery_created", None),
        ("attempt", "delivered"),
        ("attempt", "retrying"),
        ("delivered", None),
    ]
    assert [step["at"] for step in steps] == sorted(step["at"] for step in steps)
    assert (steps[5]["dataTarget"]["name"], steps[5]["error"]) == ("Bad", "It is busy.")


async def test_message_that_waits_is_pending_and_one_that_waits_for_a_decoder_deferred(
    scene: Scene,
) -> None:
    waiting, held = await scene.pipeline.accept(scene.uplink(), scene.uplink())
    late = job(JobState.DEFERRED, decoder_id=DecoderId(scene.decoder))
    await scene.pipeline.commit(result(held, late, targets=()), cursor=waiting.position - 1)
    way = await scene.way(waiting.uplink.message_id)
    assert (way["state"], [step["step"] for step in way["steps"]]) == ("pending", ["accepted"])
    way = await scene.way(held.uplink.message_id)
    assert (way["state"], [step["step"] for step in way["steps"]]) == (
        "deferred",
        ["accepted", "deferred"],
    )


async def test_message_whose_way_is_over_is_settled(scene: Scene) -> None:
    (entry,) = await scene.pipeline.accept(scene.uplink())
    failed = job(JobState.FAILED, decoder_id=DecoderId(scene.decoder), error="It broke.")
    await scene.pipeline.commit(result(entry, failed, targets=()))
    way = await scene.way(entry.uplink.message_id.upper())
    assert way["state"] == "settled"
    assert (way["jobs"][0]["error"], way["jobs"][0]["result"]) == ("It broke.", None)
    assert (way["steps"][1]["step"], way["steps"][1]["error"]) == ("failed", "It broke.")


async def test_what_is_gone_has_an_id_and_no_name(scene: Scene) -> None:
    message_id = await scene.delivered_and_retrying()
    await scene.api.delete(f"data-target/{scene.targets[0]}")
    await scene.api.delete(f"payload-decoder/{scene.decoder}")
    await scene.api.delete(f"iot-device/{scene.device}")
    way = await scene.way(message_id)
    assert way["iotDevice"] == {"id": scene.device, "name": None}
    assert way["jobs"][0]["payloadDecoder"] == {"id": scene.decoder, "name": None}
    assert way["deliveries"][0]["dataTarget"] == {
        "id": scene.targets[0],
        "name": None,
        "type": None,
    }
    listed = await scene.api.get(f"message?deviceId={scene.device}")
    assert [row["id"] for row in listed["data"]] == [message_id]


async def test_message_of_another_organization_does_not_exist(scene: Scene) -> None:
    message_id = await scene.delivered_and_retrying()
    own = await scene.api.machine(scene.organization, "Read")
    other = await scene.api.machine(await scene.api.organization(), "Read")
    assert (await own.call("GET", f"message/{message_id}")).status == 200
    assert (await other.call("GET", f"message/{message_id}")).status == 404
    assert (await own.call("GET", f"message?deviceId={scene.device}")).status == 200
    assert (await other.call("GET", f"message?deviceId={scene.device}")).status == 404


async def test_message_that_is_unknown_is_not_found_and_what_is_no_id_refused(
    scene: Scene,
) -> None:
    answer = await scene.api.call("GET", f"message/{new_message_id()}")
    assert (answer.status, answer.json["message"]) == (404, "MESSAGE.ID-DOES-NOT-EXIST")
    assert answer.json["detail"].startswith("There is no such message")
    assert (await scene.api.call("GET", "message/17")).status == 400


async def test_messages_of_a_device_are_listed_by_period_in_pages(scene: Scene) -> None:
    entries = await scene.pipeline.accept(
        *(scene.uplink(b"[%d]" % number, received_in_s=number) for number in range(5))
    )
    await scene.pipeline.commit(*(result(entry, targets=()) for entry in entries))
    ids = [entry.uplink.message_id for entry in entries]
    path = f"message?deviceId={scene.device}"
    first = await scene.api.get(f"{path}&limit=3")
    second = await scene.api.get(f"{path}&limit=3&cursor={first['nextCursor']}")
    assert [row["id"] for row in first["data"] + second["data"]] == ids[::-1]
    assert second["nextCursor"] is None
    assert first["data"][0] == {
        "id": ids[4],
        "receivedAt": "2026-03-01T12:00:04.000Z",
        "sizeBytes": 3,
        "jobs": [{"payloadDecoderId": 5, "state": "decoded"}],
        "deliveries": {},
    }
    some = await scene.api.get(f"{path}&from=2026-03-01T12:00:01Z&to=2026-03-01T12:00:03Z")
    assert [row["id"] for row in some["data"]] == [ids[2], ids[1]]


async def test_list_that_is_asked_for_wrongly_is_refused(api: Api) -> None:
    for query in ("", "deviceId=x", "deviceId=1&limit=0", "deviceId=1&from=soon"):
        assert (await api.call("GET", f"message?{query}")).status == 400, query
    assert (await api.call("GET", "message?deviceId=1&cursor=x")).status == 400
