from datetime import timedelta
from typing import Any

import pytest

from storage.database import Transaction
from storage.instants import microseconds
from storage.tables.pipeline import device_state
from tests.support.api_client import START, Api

FULL = {
    "description": "What it is\nfor",
    "status": "IN-OPERATION",
    "startDate": "2026-01-01T00:00:00.000Z",
    "endDate": "2027-01-01T12:30:00.500Z",
    "category": "c",
    "owner": "o",
    "contactPerson": "p",
    "contactEmail": "a@example.org",
    "contactPhone": "+4512345678",
    "personalData": True,
    "hardware": "h",
}


async def test_application_keeps_all_its_fields(api: Api) -> None:
    organization = await api.organization()
    body = {
        "name": "Indoor climate",
        "organizationId": organization,
        **FULL,
        "controlledProperties": ["temperature", "gasComsumption"],
        "deviceTypes": ["GENERIC_HTTP", "OTHER"],
        "permissionIds": [3],
    }
    made = await api.post("application", body)
    assert {name: made[name] for name in FULL} == FULL
    assert made["belongsTo"] == {"id": organization, "name": "name 1"}
    assert made["controlledProperties"] == [{"type": "temperature"}, {"type": "gasComsumption"}]
    assert made["deviceTypes"] == [{"type": "GENERIC_HTTP"}, {"type": "OTHER"}]
    assert (made["iotDevices"], made["dataTargets"], made["statusCheck"]) == ([], [], "alert")
    assert await api.get(f"application/{made['id']}") == made
    assert (await api.get("application"))["data"] == [made]


async def test_update_replaces_what_was_there(api: Api) -> None:
    organization = await api.organization()
    application = await api.application(organization, **FULL, controlledProperties=["depth"])
    changed = await api.put(f"application/{application}", {"name": "new"})
    assert changed["name"] == "new"
    assert {changed[name] for name in FULL} == {None}
    assert changed["controlledProperties"] == []
    assert changed["belongsTo"]["id"] == organization


async def test_name_is_unique_over_all_organizations(api: Api) -> None:
    first, second = await api.organization(), await api.organization()
    await api.application(first, name="same")
    refused = await api.post("application", {"name": "same", "organizationId": second}, 400)
    assert refused["message"] == "MESSAGE.NAME-INVALID-OR-ALREADY-IN-USE"


async def test_application_needs_an_organization_that_exists(api: Api) -> None:
    refused = await api.post("application", {"name": "x", "organizationId": 99}, 400)
    assert refused["message"] == "MESSAGE.ORGANIZATION-DOES-NOT-EXISTS"


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("description", "x" * 1025),
        ("status", "BROKEN"),
        ("startDate", "yesterday"),
        ("startDate", "0001-01-01T00:00:00+01:00"),
        ("endDate", "9999-12-31T23:59:59-01:00"),
        ("contactEmail", "nobody"),
        ("contactPhone", "12345"),
        ("contactPhone", "phone number"),
        ("personalData", "yes"),
        ("controlledProperties", ["magic"]),
        ("controlledProperties", ["depth", "depth"]),
        ("deviceTypes", "OTHER"),
        ("organizationId", 0),
        ("organizationId", True),
        ("organizationId", 2**40),
    ],
)
async def test_field_outside_its_rule_is_refused(api: Api, field: str, value: Any) -> None:
    body = {"name": "x", "organizationId": 1, field: value}
    refused = await api.post("application", body, 400)
    assert [problem["property"] for problem in refused["message"]] == [field]


async def test_list_is_filtered_by_every_filter(api: Api) -> None:
    first, second = await api.organization(), await api.organization()
    one = await api.application(first, status="PROJECT", owner="Anna")
    two = await api.application(second, status="PROTOTYPE", owner="Bo")
    for query, expected in (
        (f"organizationId={first}", [one]),
        ("status=PROTOTYPE", [two]),
        ("owner=Anna", [one]),
        ("owner=null&status=null&statusCheck=null", [one, two]),
        ("owner=nobody", []),
    ):
        page = await api.get(f"application?{query}")
        assert [row["id"] for row in page["data"]] == expected, query
        assert page["count"] == len(expected)


async def heard(api: Api, device_id: int, ago: timedelta) -> None:
    def unit(transaction: Transaction) -> None:
        transaction.insert(
            device_state,
            {"device_id": device_id, "last_message_at": microseconds(START - ago)},
        )

    await api.database.write(unit)


async def test_status_check_is_computed_and_filtered_over_the_whole_list(api: Api) -> None:
    organization = await api.organization()
    applications = [await api.application(organization) for _ in range(4)]
    devices = [(await api.device(application))["id"] for application in applications]
    for application in applications[:3]:
        await api.target(application)
    await heard(api, devices[0], timedelta(hours=23))
    await heard(api, devices[1], timedelta(hours=25))
    await heard(api, devices[3], timedelta(hours=1))
    rows = (await api.get("application"))["data"]
    assert [row["statusCheck"] for row in rows] == ["stable", "alert", "alert", "alert"]
    stable = await api.get("application?statusCheck=stable&limit=1")
    assert ([row["id"] for row in stable["data"]], stable["count"]) == (applications[:1], 1)
    alerting = await api.get("application?statusCheck=alert&limit=1&offset=1")
    assert ([row["id"] for row in alerting["data"]], alerting["count"]) == (applications[2:3], 3)
    dashboard = await api.get(f"application/{organization}/application-dashboard-data")
    assert dashboard == {"total": 4, "withError": 3, "totalDevices": 4}


async def test_list_shows_when_each_device_was_last_heard_of(api: Api) -> None:
    application = await api.application(await api.organization())
    device = (await api.device(application))["id"]
    await heard(api, device, timedelta(milliseconds=500))
    shown = (await api.get(f"application/{application}"))["iotDevices"]
    assert shown[0]["id"] == device
    assert shown[0]["latestReceivedMessage"]["sentTime"] == "2026-01-02T03:04:04.500Z"


async def test_owners_are_listed_once_each(api: Api) -> None:
    organization = await api.organization()
    for owner in ("Bo", "Anna", "Bo", None, ""):
        await api.application(organization, owner=owner)
    found = await api.get(f"application/{organization}/filter-information")
    assert found == {"owners": ["Anna", "Bo"]}


async def test_application_moves_to_another_organization_with_its_devices(api: Api) -> None:
    first, second = await api.organization(), await api.organization()
    application = await api.application(first)
    device = (await api.device(application))["id"]
    path = f"application/updateApplicationOrganization/{application}"
    moved = await api.put(path, {"organizationId": second, "permissionIds": []})
    assert moved["belongsTo"]["id"] == second
    shown = await api.get(f"iot-device/{device}")
    assert shown["application"]["belongsTo"]["id"] == second


async def test_deleting_an_application_takes_its_devices_and_targets_along(api: Api) -> None:
    application = await api.application(await api.organization())
    device = (await api.device(application))["id"]
    target = (await api.target(application))["id"]
    assert await api.delete(f"application/{application}") == {"affected": 1}
    await api.get(f"iot-device/{device}", 404)
    await api.get(f"data-target/{target}", 404)


async def test_paths_are_matched_without_regard_to_case(api: Api) -> None:
    application = await api.application(await api.organization())
    assert (await api.get("Application"))["count"] == 1
    assert (await api.get(f"/API/V1/APPLICATION/{application}/"))["id"] == application
