"""Dead letters, the log of attempts, and events of a data target, over the API."""

import json
from typing import Any

import pytest

from protocols.identifiers import new_message_id
from storage.database import Transaction
from storage.instants import microseconds
from storage.tables.targets import target_event
from tests.support.api_client import START, Api
from tests.support.delivery_rows import put_attempt, put_delivery
from tests.web.test_unacknowledged import Scene, ids

EXCHANGE = {
    "url": "https://example.org/in?key=***",
    "sentBytes": 7,
    "responseHeaders": {"Content-Type": "text/plain"},
    "timingMs": {"total": 12.3},
}


@pytest.fixture
async def scene(api: Api) -> Scene:
    return await Scene(api).build()


async def dead(scene: Scene, **more: Any) -> str:
    return await scene.put(**{"state": "dead", "attempts": 1, **more})


async def test_dead_letter_tells_why_it_died_with_the_last_answer(scene: Scene) -> None:
    delivery_id = await dead(scene)
    for attempt, state in ((1, "retrying"), (2, "dead")):
        await put_attempt(
            scene.api.database,
            scene.target,
            delivery_id,
            attempt=attempt,
            state=state,
            details=json.dumps(EXCHANGE),
        )
    (letter,) = (await scene.api.get(f"{scene.path}/dead-letters"))["data"]
    assert "payload" not in letter
    assert (letter["id"], letter["state"], letter["attempts"]) == (delivery_id, "dead", 1)
    assert letter["device"] == {"id": scene.device["id"], "name": scene.device["name"]}
    assert letter["diedAt"] == "2026-01-02T03:04:05.000Z"
    assert letter["reason"] == "The receiver takes nothing that large."
    last = letter["lastAttempt"]
    assert (last["attempt"], last["statusCode"], last["exchange"]) == (2, 413, EXCHANGE)
    assert (last["responseExcerpt"], last["durationMs"]) == ("too large", 12.345)


async def test_one_dead_letter_has_its_payload(scene: Scene) -> None:
    body = b'{"n":  1.50}'
    delivery_id = await dead(scene, body=body)
    answer = await scene.api.call("GET", f"{scene.path}/dead-letters/{delivery_id}")
    assert answer.json["lastAttempt"] is None
    assert b'"payload":' + body in answer.raw


async def test_what_is_no_dead_letter_of_the_target_is_not_found(scene: Scene) -> None:
    waiting = await scene.put()
    elsewhere = await put_delivery(scene.api.database, scene.target + 1, state="dead")
    for delivery_id in (waiting, elsewhere):
        await scene.api.get(f"{scene.path}/dead-letters/{delivery_id}", 404)
    assert (await scene.api.get(f"{scene.path}/dead-letters"))["data"] == []


async def test_expired_delivery_says_so_whether_it_was_tried_or_not(scene: Scene) -> None:
    untried, tried = [await dead(scene, state="expired") for _ in range(2)]
    await put_attempt(scene.api.database, scene.target, tried, error="It is busy.")
    page = await scene.api.get(f"{scene.path}/dead-letters")
    reasons = {letter["id"]: letter["reason"] for letter in page["data"]}
    assert reasons[untried] == "Its 72 hours were over before it could be delivered."
    assert reasons[tried].endswith("It is busy.")


async def test_dead_letters_are_listed_newest_first_page_by_page(scene: Scene) -> None:
    made = [await dead(scene) for _ in range(5)]
    found: list[str] = []
    page: Any = {"cursor": None, "hasMore": True}
    while page["hasMore"]:
        cursor = f"&cursor={page['cursor']}" if page["cursor"] else ""
        page = await scene.api.get(f"{scene.path}/dead-letters?limit=2{cursor}")
        found += ids(page)
    assert found == made[::-1]


async def test_dead_letters_are_filtered(scene: Scene) -> None:
    refused = await dead(scene, created_at=microseconds(START) - 1)
    expired = await dead(scene, state="expired", device_id=77)
    for query, expected in (
        ("state=dead", [refused]),
        ("state=dead,expired", [expired, refused]),
        ("deviceId=77", [expired]),
        ("from=2026-01-02T03:04:05Z", [expired]),
        ("to=2026-01-02T03:04:05Z", [refused]),
    ):
        assert ids(await scene.api.get(f"{scene.path}/dead-letters?{query}")) == expected, query


async def test_log_shows_attempts_newest_first_page_by_page(scene: Scene) -> None:
    delivery_id = await dead(scene)
    for number in (1, 2, 3):
        await put_attempt(scene.api.database, scene.target, delivery_id, attempt=number)
    first = await scene.api.get(f"{scene.path}/attempts?limit=2")
    rest = await scene.api.get(f"{scene.path}/attempts?limit=2&cursor={first['cursor']}")
    assert [one["attempt"] for one in first["data"]] == [3, 2]
    assert [one["attempt"] for one in rest["data"]] == [1]
    assert (first["hasMore"], rest["hasMore"]) == (True, False)
    shown = rest["data"][0]
    assert (shown["deliveryId"], shown["errorCode"]) == (delivery_id, "delivery_refused")
    assert (shown["at"], shown["nextAttemptAt"]) == ("2026-01-02T03:04:05.000Z", None)
    assert shown["iotDevice"] == {"id": scene.device["id"], "name": scene.device["name"]}


async def test_log_of_one_delivery_shows_its_attempts_only(scene: Scene) -> None:
    made = [await dead(scene) for _ in range(2)]
    for delivery_id in made:
        await put_attempt(scene.api.database, scene.target, delivery_id)
    page = await scene.api.get(f"{scene.path}/attempts?deliveryId={made[0]}")
    assert [one["deliveryId"] for one in page["data"]] == [made[0]]


async def test_events_are_listed_newest_first(scene: Scene) -> None:
    def write(transaction: Transaction) -> None:
        for kind in ("endpoint.failing", "endpoint.disabled"):
            row = {
                "event_id": new_message_id(),
                "target_id": scene.target,
                "organization_id": scene.organization,
                "type": kind,
                "at": microseconds(START),
                "body": b'{"failures":4}',
            }
            transaction.insert(target_event, row)

    await scene.api.database.write(write)
    first = await scene.api.get(f"{scene.path}/events?limit=1")
    rest = await scene.api.get(f"{scene.path}/events?limit=1&cursor={first['cursor']}")
    shown = first["data"][0]
    assert (shown["type"], shown["body"]) == ("endpoint.disabled", {"failures": 4})
    assert shown["at"] == "2026-01-02T03:04:05.000Z"
    assert [one["type"] for one in rest["data"]] == ["endpoint.failing"]
    assert (first["hasMore"], rest["hasMore"]) == (True, False)


@pytest.mark.parametrize(
    "path",
    [
        "dead-letters?cursor=nonsense",
        "dead-letters?state=delivered",
        "dead-letters?deviceId=x",
        "dead-letters?from=yesterday",
        "dead-letters/17",
        "attempts?cursor=nonsense",
        "attempts?cursor=99999999999999999999",
        "attempts?deliveryId=17",
        "events?cursor=17",
    ],
)
async def test_query_that_makes_no_sense_is_refused(scene: Scene, path: str) -> None:
    await scene.api.get(f"{scene.path}/{path}", 400)
