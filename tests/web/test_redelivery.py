"""Asking over the API for deliveries to be sent again; making them is tested beneath it."""

from typing import Any

import pytest

from storage.database import Transaction
from storage.delivery import redelivery
from storage.delivery.redelivery_slices import RedeliverySlices
from storage.instants import microseconds
from storage.repositories import EVERYWHERE, Page, audit
from storage.tables.targets import target_health
from tests.support.api_client import START, Api
from tests.web.test_unacknowledged import Scene, ids


@pytest.fixture
async def scene(api: Api) -> Scene:
    return await Scene(api).build()


async def ask(scene: Scene, **body: Any) -> Any:
    return await scene.api.post(f"{scene.path}/replay", body, 202)


async def carry_out(scene: Scene) -> list[Any]:
    """What the actor does; return the replays as the API shows them then."""
    slices = RedeliverySlices(scene.api.database)
    while wishes := await slices.open_wishes():
        for wish in wishes:
            await slices.make(wish, await slices.next_slice(wish, 100), START)
    shown: list[Any] = await scene.api.get(f"{scene.path}/replay")
    return shown


async def test_replay_is_taken_and_shown_with_its_progress(scene: Scene) -> None:
    await scene.put(state="dead")
    await scene.put(state="expired")
    taken = await ask(scene, **{"from": "2026-01-01T00:00:00Z"})
    assert taken["estimate"] == 2
    (shown,) = await scene.api.get(f"{scene.path}/replay")
    assert shown == {
        "id": taken["id"],
        "estimate": 2,
        "state": "running",
        "made": 0,
        "skipped": 0,
        "states": ["dead", "expired"],
        "deviceId": None,
        "from": "2026-01-01T00:00:00.000Z",
        "to": None,
        "ratePerSecond": 500,
        "createdAt": "2026-01-02T03:04:05.000Z",
        "finishedAt": None,
    }
    (done,) = await carry_out(scene)
    assert (done["state"], done["made"]) == ("finished", 2)
    page = await scene.get()
    assert [item["generation"] for item in page["data"]] == [1, 1]


async def test_one_dead_letter_is_sent_again_by_its_id(scene: Scene) -> None:
    made = [await scene.put(state="dead") for _ in range(2)]
    await ask(scene, deliveryIds=[made[0].upper()])
    (done,) = await carry_out(scene)
    assert (done["made"], done["skipped"]) == (1, 0)
    assert len(ids(await scene.get())) == 1


async def test_everything_since_it_failed_is_what_died_since_then(scene: Scene) -> None:
    await scene.put(state="dead", settled_at=microseconds(START) - 1)
    await scene.put(state="dead", settled_at=microseconds(START))
    health = {"target_id": scene.target, "breaker": "open", "failing_since": microseconds(START)}

    def write(transaction: Transaction) -> None:
        transaction.insert(target_health, health)

    await scene.api.database.write(write)
    assert (await ask(scene, sinceFailure=True))["estimate"] == 1


async def test_everything_since_it_failed_is_every_dead_letter_once_it_has_recovered(
    scene: Scene,
) -> None:
    for state in ("dead", "expired", "delivered"):
        await scene.put(state=state)
    assert (await ask(scene, sinceFailure=True))["estimate"] == 2


async def test_what_was_delivered_is_sent_again_when_that_is_said(scene: Scene) -> None:
    await scene.put(state="delivered")
    await scene.put(state="dead")
    await ask(
        scene,
        states=["delivered"],
        deviceId=scene.device["id"],
        ratePerSecond=3000,
        **{"from": "2026-01-01T00:00:00Z", "to": "2026-01-03T00:00:00Z"},
    )
    (done,) = await carry_out(scene)
    assert (done["made"], done["estimate"], done["ratePerSecond"]) == (1, None, 3000)


async def test_replay_is_stopped(scene: Scene) -> None:
    await scene.put(state="dead")
    taken = await ask(scene, sinceFailure=True)
    stopped = await scene.api.delete(f"{scene.path}/replay/{taken['id']}")
    assert (stopped["state"], stopped["finishedAt"]) == ("stopped", "2026-01-02T03:04:05.000Z")
    assert (await carry_out(scene))[0]["made"] == 0
    assert await scene.api.delete(f"{scene.path}/replay/{taken['id']}") == stopped


async def test_replay_that_is_done_stays_so_when_it_is_stopped(scene: Scene) -> None:
    taken = await ask(scene, sinceFailure=True)
    await carry_out(scene)
    shown = await scene.api.delete(f"{scene.path}/replay/{taken['id']}")
    assert shown["state"] == "finished"


async def test_replay_of_another_target_cannot_be_stopped(scene: Scene) -> None:
    other = await Scene(scene.api).build()
    taken = await ask(scene, sinceFailure=True)
    await scene.api.delete(f"{other.path}/replay/{taken['id']}", 404)
    assert (await scene.api.get(f"{scene.path}/replay"))[0]["state"] == "running"


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"from": None},
        {"sinceFailure": False},
        {"sinceFailure": True, "from": "2026-01-01T00:00:00Z"},
        {"deliveryIds": []},
        {"deliveryIds": ["17"]},
        {"deliveryIds": ["019b7d7e-0000-7000-8000-000000000000"], "states": ["dead"]},
        {"sinceFailure": True, "states": ["pending"]},
        {"sinceFailure": True, "states": []},
        {"sinceFailure": True, "ratePerSecond": 0},
        {"sinceFailure": True, "ratePerSecond": 10_001},
        {"from": "yesterday"},
    ],
)
async def test_wish_that_makes_no_sense_is_refused(scene: Scene, body: dict[str, Any]) -> None:
    await scene.api.post(f"{scene.path}/replay", body, 400)
    found = await scene.api.database.read(
        lambda reader: redelivery.list_of_target(reader, scene.target, 9)
    )
    assert found == []


async def test_asking_and_stopping_are_in_the_audit_log_and_restart_nothing(scene: Scene) -> None:
    scene.api.hub.changes.clear()
    taken = await ask(scene, sinceFailure=True)
    await scene.api.delete(f"{scene.path}/replay/{taken['id']}")
    page = await scene.api.database.read(lambda reader: audit.list_page(reader, EVERYWHERE, Page()))
    told = [(row.action, row.entity, row.entity_id) for row in page.rows[-2:]]
    assert told == [("REPLAY", "data_target", scene.target), ("STOP", "data_target", scene.target)]
    assert scene.api.hub.changes == []
