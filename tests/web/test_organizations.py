import pytest

from tests.support.api_client import Api


async def test_organization_is_made_read_renamed_and_deleted(api: Api) -> None:
    made = await api.post("organization", {"name": "Aarhus"})
    assert made == {
        "id": made["id"],
        "createdAt": "2026-01-02T03:04:05.000Z",
        "updatedAt": "2026-01-02T03:04:05.000Z",
        "createdBy": 1,
        "updatedBy": 1,
        "name": "Aarhus",
        "openDataDkRegistered": False,
    }
    path = f"organization/{made['id']}"
    assert (await api.put(path, {"name": "Århus"}))["name"] == "Århus"
    assert await api.get(path) == {**made, "name": "Århus", "applications": []}
    assert await api.delete(path) == {"affected": 1}
    gone = await api.get(path, 404)
    assert gone["message"] == "MESSAGE.ID-DOES-NOT-EXIST"
    assert (gone["statusCode"], gone["error"]) == (404, "Not Found")


async def test_name_of_an_organization_is_taken_once(api: Api) -> None:
    await api.post("organization", {"name": "Aarhus"})
    other = await api.post("organization", {"name": "Vejle"})
    refused = await api.post("organization", {"name": "Aarhus"}, 400)
    assert refused["message"] == "MESSAGE.ORGANIZATION-ALREADY-EXISTS"
    await api.put(f"organization/{other['id']}", {"name": "Aarhus"}, 400)
    await api.put(f"organization/{other['id']}", {"name": "Vejle"})


@pytest.mark.parametrize("name", ["", "  ", "x" * 51, None, 5, ["x"], "a\nb", "a\x00b", "\x1b[2J"])
async def test_bad_name_is_refused_with_its_property(api: Api, name: object) -> None:
    refused = await api.post("organization", {"name": name}, 400)
    assert [problem["property"] for problem in refused["message"]] == ["name"]
    assert refused["message"][0]["constraints"]
    assert "target" not in refused["message"][0]


async def test_organization_is_deleted_with_everything_in_it(api: Api) -> None:
    organization = await api.organization()
    application = await api.application(organization, controlledProperties=["humidity"])
    device = (await api.device(application))["id"]
    target = (await api.target(application))["id"]
    decoder = await api.decoder(organization)
    connection = "iot-device-payload-decoder-data-target-connection"
    await api.post(
        connection,
        {"iotDeviceIds": [device], "payloadDecoderId": decoder, "dataTargetId": target},
    )
    machine = await api.machine(organization, "Read")
    await api.delete(f"organization/{organization}")
    for path in (
        f"application/{application}",
        f"iot-device/{device}",
        f"data-target/{target}",
        f"payload-decoder/{decoder}",
        f"{connection}/1",
    ):
        await api.get(path, 404)
    await machine.get("application", 401)


async def test_id_of_what_was_deleted_is_never_given_out_again(api: Api) -> None:
    first = await api.organization()
    await api.delete(f"organization/{first}")
    assert await api.organization() > first


async def test_minimal_list_has_ids_and_names(api: Api) -> None:
    made = await api.organization()
    found = await api.get("organization/minimal")
    assert found == {"data": [{"id": made, "name": "name 1"}], "count": 1}
