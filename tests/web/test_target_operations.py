"""A data target is switched off and on, and gets new keys."""

from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import select, update

from protocols.messages import TargetId
from protocols.targets import public_key_of
from storage.database import Transaction
from storage.instants import microseconds
from storage.repositories import EVERYWHERE, Page, audit
from storage.tables.targets import target_health
from storage.target_settings import TargetSettings
from tests.support.api_client import START, Api


@pytest.fixture
async def target(api: Api) -> dict[str, Any]:
    made: dict[str, Any] = await api.target(await api.application(await api.organization()))
    return made


async def keys(api: Api, target_id: int) -> list[dict[str, Any]]:
    """What the target signs with."""
    stored = await TargetSettings(api.database, api.services.box).load(TargetId(target_id))
    found: list[dict[str, Any]] = stored.settings["signingKeys"]
    return found


async def test_secret_is_shown_where_it_is_made_and_nowhere_else(
    api: Api, target: dict[str, Any]
) -> None:
    secret = target["signingSecret"]
    assert await keys(api, target["id"]) == [{"id": "k1", "secret": secret, "expiresAt": None}]
    path = f"data-target/{target['id']}"
    body = {**target, "applicationId": target["application"]["id"], "name": "new"}
    for answer in (
        await api.call("GET", path),
        await api.call("PUT", path, body),
        await api.call("GET", "data-target"),
        await api.call("POST", f"{path}/disable"),
        await api.call("POST", f"{path}/enable"),
    ):
        assert answer.status == 200
        assert b"whsec_" not in answer.raw
    assert await keys(api, target["id"]) == [{"id": "k1", "secret": secret, "expiresAt": None}]


async def test_rotated_key_goes_on_signing_for_a_day_beside_the_new_one(
    api: Api, target: dict[str, Any]
) -> None:
    rotated = await api.post(f"data-target/{target['id']}/rotate-secret", None, 200)
    end = START + timedelta(hours=24)
    assert rotated["signingSecret"] not in (None, target["signingSecret"])
    assert await keys(api, target["id"]) == [
        {"id": "k2", "secret": rotated["signingSecret"], "expiresAt": None},
        {"id": "k1", "secret": target["signingSecret"], "expiresAt": int(end.timestamp())},
    ]
    assert [(key["id"], key["expiresAt"]) for key in rotated["signingKeys"]] == [
        ("k2", None),
        ("k1", "2026-01-03T03:04:05.000Z"),
    ]
    api.clock.now = end
    api.sign_in()
    shown = await api.get(f"data-target/{target['id']}")
    assert [key["id"] for key in shown["signingKeys"]] == ["k2"]


async def test_second_rotation_does_not_lengthen_the_first_keys_life(
    api: Api, target: dict[str, Any]
) -> None:
    path = f"data-target/{target['id']}/rotate-secret"
    await api.post(path, None, 200)
    api.clock.now = START + timedelta(hours=20)
    api.sign_in()
    await api.post(path, None, 200)
    hours = [
        (key["expiresAt"] or 0) and (key["expiresAt"] - START.timestamp()) / 3600
        for key in await keys(api, target["id"])
    ]
    assert hours == [0, 44, 24]
    for _ in range(5):
        await api.post(path, None, 200)
    assert len(await keys(api, target["id"])) <= 4


async def test_key_that_became_known_can_be_ended_at_once(api: Api, target: dict[str, Any]) -> None:
    rotated = await api.post(
        f"data-target/{target['id']}/rotate-secret", {"revokePrevious": True}, 200
    )
    assert [key["secret"] for key in await keys(api, target["id"])] == [rotated["signingSecret"]]


async def test_of_an_ed25519_key_the_public_half_is_always_shown_and_the_other_never(
    api: Api, target: dict[str, Any]
) -> None:
    path = f"data-target/{target['id']}"
    rotated = await api.call("POST", f"{path}/rotate-secret", {"algorithm": "ed25519"})
    shown = await api.call("GET", path)
    assert rotated.json["signingSecret"] is None
    (private, _old) = [key["secret"] for key in await keys(api, target["id"])]
    assert private.startswith("whsk_")
    for answer in (rotated, shown):
        assert answer.json["signingPublicKey"] == public_key_of(private)
        assert answer.json["signingPublicKey"].startswith("whpk_")
        assert b"whsk_" not in answer.raw
        assert private.removeprefix("whsk_").encode() not in answer.raw


async def test_unknown_algorithm_is_refused(api: Api, target: dict[str, Any]) -> None:
    await api.post(f"data-target/{target['id']}/rotate-secret", {"algorithm": "md5"}, 400)


async def test_new_target_is_enabled_and_well(target: dict[str, Any]) -> None:
    assert (target["enabled"], target["disabledReason"], target["disabledAt"]) == (True, None, None)
    assert target["health"] == {
        "breaker": "closed",
        "openUntil": None,
        "failingSince": None,
        "failures": 0,
        "lastError": None,
    }


async def test_target_is_disabled_with_a_reason_and_the_hub_is_told(
    api: Api, target: dict[str, Any]
) -> None:
    api.hub.changes.clear()
    disabled = await api.post(f"data-target/{target['id']}/disable", {"reason": "moving"}, 200)
    assert (disabled["enabled"], disabled["disabledReason"]) == (False, "moving")
    assert disabled["disabledAt"] == "2026-01-02T03:04:05.000Z"
    assert disabled.items() <= (await api.get(f"data-target/{target['id']}")).items()
    assert api.hub.changes == [("data_target", target["id"])]


async def test_enabling_forgets_the_failures_and_the_hub_is_told(
    api: Api, target: dict[str, Any]
) -> None:
    path = f"data-target/{target['id']}"
    await api.post(f"{path}/disable", None, 200)

    def fail(transaction: Transaction) -> None:
        at = microseconds(START)
        transaction.execute(
            update(target_health).values(
                breaker="open",
                openings=3,
                open_until=at,
                failures=9,
                failing_since=at,
                last_failure_at=at,
                last_error="It answered 500.",
            )
        )

    await api.database.write(fail)
    failing = await api.get(path)
    assert failing["health"] == {
        "breaker": "open",
        "openUntil": "2026-01-02T03:04:05.000Z",
        "failingSince": "2026-01-02T03:04:05.000Z",
        "failures": 9,
        "lastError": "It answered 500.",
    }
    api.hub.changes.clear()
    enabled = await api.post(f"{path}/enable", None, 200)
    assert (enabled["enabled"], enabled["disabledReason"]) == (True, None)
    assert (enabled["health"]["breaker"], enabled["health"]["failures"]) == ("closed", 0)
    row = await api.database.read(lambda reader: reader.fetch_one(select(target_health)))
    assert row is not None
    assert (row.openings, row.open_until, row.failing_since, row.disabled_at) == (
        0,
        None,
        None,
        None,
    )
    assert api.hub.changes == [("data_target", target["id"])]


async def test_what_was_done_to_a_target_is_in_the_audit_log(
    api: Api, target: dict[str, Any]
) -> None:
    for what in ("disable", "enable", "rotate-secret"):
        await api.post(f"data-target/{target['id']}/{what}", None, 200)
    page = await api.database.read(lambda reader: audit.list_page(reader, EVERYWHERE, Page()))
    assert [row.action for row in page.rows][-3:] == ["DISABLE", "ENABLE", "ROTATE"]
