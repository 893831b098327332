"""What people say of the data that they publish."""

from datetime import timedelta
from typing import Any

import pytest

from tests.support.api_client import Api
from tests.support.open_data_scene import DATASET, Scene


@pytest.fixture
async def scene(api: Api) -> Scene:
    return await Scene(api).laid()


async def test_data_set_is_shown_with_its_data_target(scene: Scene) -> None:
    shown = await scene.api.get(f"data-target/{scene.target['id']}")
    assert shown["openDataDkDataset"] == scene.target["openDataDkDataset"]
    assert (shown["type"], shown["openDataDkDataset"].items() >= DATASET.items()) == (
        "OPENDATADK",
        True,
    )
    (application,) = (await scene.api.get("application"))["data"]
    assert application["dataTargets"][0]["openDataDkDataset"] == shown["openDataDkDataset"]


async def test_data_target_of_another_type_may_publish_too(scene: Scene) -> None:
    made = await scene.api.target(scene.application, openDataDkDataset=DATASET)
    found = (await scene.fetch(scene.catalog)).json["dataset"]
    assert len(found) == 2
    assert found[1]["identifier"].endswith(f"/data/{made['openDataDkDataset']['id']}")


async def test_data_set_that_is_read_and_written_back_stays_the_same(scene: Scene) -> None:
    scene.api.clock.now += timedelta(minutes=30)
    same = await scene.api.put(f"data-target/{scene.target['id']}", _body(scene.target))
    assert same["openDataDkDataset"] == scene.target["openDataDkDataset"]
    changed = await scene.api.put(
        f"data-target/{scene.target['id']}",
        {**_body(scene.target), "openDataDkDataset": {**DATASET, "keywords": None}},
    )
    assert changed["openDataDkDataset"]["id"] == scene.target["openDataDkDataset"]["id"]
    assert changed["openDataDkDataset"]["keywords"] == []


@pytest.mark.parametrize("more", [{"openDataDkDataset": None}, {}])
async def test_data_target_that_is_written_without_a_data_set_publishes_nothing(
    scene: Scene, more: dict[str, Any]
) -> None:
    body = _body(scene.target)
    del body["openDataDkDataset"]
    changed = await scene.api.put(f"data-target/{scene.target['id']}", {**body, **more})
    assert changed["openDataDkDataset"] is None
    assert (await scene.fetch(scene.catalog)).json["dataset"] == []
    assert (await scene.fetch(scene.data)).status == 404


def _body(target: dict[str, Any]) -> dict[str, Any]:
    return {**target, "applicationId": target["application"]["id"]}


WRONG: list[dict[str, Any]] = [
    *({name: ""} for name in DATASET if name != "keywords"),
    *({name: None} for name in DATASET if name != "keywords"),
    {"name": " "},
    {"description": "\n"},
    {"license": "CC-BY"},
    {"license": "ftp://example.org/licence"},
    {"license": "javascript:alert(1)"},
    {"license": "https://example.org/a b"},
    {"license": "https://example.org/<a>"},
    {"authorEmail": "ada"},
    {"authorEmail": "ada@example.org\r\nX: y"},
    {"keywords": "indeklima"},
    {"keywords": ["a"]},
    {"keywords": ["indeklima, CO2"]},
    {"keywords": ["twice", "twice"]},
    {"keywords": [None]},
    {"keywords": [f"tag {number}" for number in range(101)]},
]


async def test_data_set_that_no_portal_could_use_is_refused(scene: Scene) -> None:
    path = f"data-target/{scene.target['id']}"
    for wrong in WRONG:
        body = {**_body(scene.target), "openDataDkDataset": {**DATASET, **wrong}}
        (problem,) = (await scene.api.put(path, body, 400))["message"]
        assert problem["property"] == "openDataDkDataset"
        assert [child["property"] for child in problem["children"]] == list(wrong), wrong
    shown = await scene.api.get(path)
    assert shown["openDataDkDataset"] == scene.target["openDataDkDataset"]


async def test_organization_is_registered_by_those_who_may_change_it(scene: Scene) -> None:
    asked = f"data-target/getOpenDataDkRegistered/{scene.organization}"
    told = f"data-target/updateOpenDataDkRegistered/{scene.organization}"
    reader = await scene.api.machine(scene.organization, "Read")
    assert await reader.get(asked) is False
    assert (await reader.call("PUT", told)).status == 403
    assert (await scene.api.call("PUT", told)).json is True
    assert await reader.get(asked) is True
    assert (await scene.api.get(f"organization/{scene.organization}"))["openDataDkRegistered"]


async def test_registration_of_another_organization_does_not_exist(scene: Scene) -> None:
    other = await scene.api.organization()
    machine = await scene.api.machine(other, "Read", "OrganizationApplicationAdmin")
    path = f"OpenDataDkRegistered/{scene.organization}"
    assert (await machine.call("GET", f"data-target/get{path}")).status == 404
    assert (await machine.call("PUT", f"data-target/update{path}")).status == 404


async def test_mail_to_the_portal_is_not_available_and_says_what_to_do(scene: Scene) -> None:
    answer = await scene.api.post("data-target/sendOpenDataDkMail", {}, 501)
    assert "info@opendata.dk" in answer["message"]
