from datetime import timedelta

import pytest

from storage.repositories import EVERYWHERE, api_keys
from tests.support.api_client import START, Api


async def test_key_is_shown_once_and_stored_hashed(api: Api) -> None:
    organization = await api.organization()
    body = {"name": "export", "organizationId": organization, "levels": ["Read"]}
    made = await api.post("api-key", body)
    key = made.pop("key")
    assert made["organization"]["id"] == organization
    shown = await api.call("GET", f"api-key/{made['id']}")
    listed = await api.call("GET", f"api-key?organizationId={organization}")
    assert shown.json == made
    assert listed.json == {"data": [made], "count": 1}
    assert key.encode() not in shown.raw + listed.raw
    stored = await api.database.read(lambda reader: api_keys.get(reader, EVERYWHERE, made["id"]))
    assert key not in stored.key_hash
    assert len(stored.key_hash) == 64


async def test_key_reads_its_organization(api: Api) -> None:
    organization = await api.organization()
    machine = await api.machine(organization, "Read")
    info = await machine.get("api-key-info/organization")
    assert info["id"] == organization
    assert (await machine.get("application"))["count"] == 0


async def test_person_has_no_organization_of_a_key(api: Api) -> None:
    await api.get("api-key-info/organization", 403)


async def test_key_cannot_manage_keys(api: Api) -> None:
    organization = await api.organization()
    machine = await api.machine(organization, "Read", "OrganizationApplicationAdmin")
    await machine.get("api-key", 403)
    await machine.post("api-key", {"name": "x", "organizationId": organization}, 403)


async def test_key_that_may_write_writes_in_its_organization(api: Api) -> None:
    organization = await api.organization()
    machine = await api.machine(organization, "OrganizationApplicationAdmin")
    application = await machine.application(organization, name="by machine")
    made = await machine.device(application, name="d")
    assert made["createdBy"] is None


async def test_key_ends_when_it_expires(api: Api) -> None:
    body = {
        "name": "short",
        "organizationId": await api.organization(),
        "expiresOn": "2026-01-02T04:00:00.000Z",
    }
    made = await api.post("api-key", body)
    assert made["expiresOn"] == "2026-01-02T04:00:00.000Z"
    machine = api.anonymous()
    machine.headers["X-API-KEY"] = made["key"]
    await machine.get("application")
    api.clock.now = START + timedelta(hours=1)
    refused = await machine.get("application", 401)
    assert refused["message"] == "MESSAGE.API-KEY-EXPIRED"


async def test_deleted_key_opens_nothing(api: Api) -> None:
    machine = await api.machine(await api.organization(), "Read")
    await machine.get("application")
    assert await api.delete("api-key/1") == {"affected": 1}
    refused = await machine.get("application", 401)
    assert refused["message"] == "MESSAGE.API-KEY-AUTH-FAILED"


async def test_changed_levels_count_at_once(api: Api) -> None:
    organization = await api.organization()
    machine = await api.machine(organization, "OrganizationApplicationAdmin")
    await machine.application(organization, name="one")
    await api.put("api-key/1", {"name": "less", "levels": ["Read"]})
    await machine.post("application", {"name": "two", "organizationId": organization}, 403)


async def test_last_use_is_shown(api: Api) -> None:
    machine = await api.machine(await api.organization(), "Read")
    assert (await api.get("api-key/1"))["lastUsedAt"] is None
    await machine.get("application")
    # A write of its own, and not waited for: the next write comes after it.
    await api.organization()
    assert (await api.get("api-key/1"))["lastUsedAt"] == "2026-01-02T03:04:05.000Z"


@pytest.mark.parametrize(
    "levels", [[], ["GlobalAdmin"], ["OrganizationUserAdmin"], ["Read", "Read"]]
)
async def test_key_is_not_given_every_level(api: Api, levels: list[str]) -> None:
    body = {"name": "x", "organizationId": await api.organization(), "levels": levels}
    await api.post("api-key", body, 400)
