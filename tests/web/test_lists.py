"""Paging, sorting and counting, which all lists have in common."""

import pytest

from tests.support.api_client import Api

NAMES = ["delta", "alpha", "echo", "bravo", "charlie"]


@pytest.fixture
async def filled(api: Api) -> Api:
    for name in NAMES:
        await api.post("organization", {"name": name})
    return api


async def names(api: Api, query: str) -> list[str]:
    return [row["name"] for row in (await api.get(f"organization?{query}"))["data"]]


async def test_list_is_sorted_over_the_whole_set_before_it_is_cut(filled: Api) -> None:
    assert await names(filled, "orderOn=name&limit=2") == ["alpha", "bravo"]
    assert await names(filled, "orderOn=name&limit=2&offset=2") == ["charlie", "delta"]
    assert await names(filled, "orderOn=name&sort=desc&limit=1") == ["echo"]
    assert await names(filled, "sort=DESC&limit=1&orderOn=id") == [NAMES[-1]]


async def test_without_order_the_oldest_is_first(filled: Api) -> None:
    assert await names(filled, "") == NAMES


async def test_count_is_that_of_the_whole_list(filled: Api) -> None:
    page = await filled.get("organization?limit=2&offset=4")
    assert (len(page["data"]), page["count"]) == (1, 5)
    assert (await filled.get("organization?limit=0")) == {"data": [], "count": 5}
    assert (await filled.get("organization?offset=100")) == {"data": [], "count": 5}


@pytest.mark.parametrize("query", ["limit=null&offset=null", "limit=&offset=", "limit=1000"])
async def test_null_and_nothing_are_taken_as_not_said(filled: Api, query: str) -> None:
    assert len((await filled.get(f"organization?{query}"))["data"]) == 5


@pytest.mark.parametrize(
    "query",
    ["limit=x", "limit=-1", "limit=10001", "offset=-1", "sort=UP", "offset=99999999999999999999"],
)
async def test_bad_query_is_refused(filled: Api, query: str) -> None:
    refused = await filled.get(f"organization?{query}", 400)
    assert refused["message"][0]["property"] == query.partition("=")[0]


@pytest.mark.parametrize(
    "path",
    [
        "organization",
        "application",
        "payload-decoder",
        "data-target",
        "iot-device-payload-decoder-data-target-connection",
        "api-key",
    ],
)
async def test_unknown_order_is_refused_by_every_list(api: Api, path: str) -> None:
    refused = await api.get(f"{path}?orderOn=password_hash", 400)
    assert isinstance(refused["message"], str)
    assert "id" in refused["message"]


async def test_ties_are_broken_by_id(api: Api) -> None:
    organization = await api.organization()
    application = await api.application(organization)
    ids = [(await api.device(application, name="same"))["id"] for _ in range(4)]
    path = f"application/{application}/iot-devices?orderOn=name&limit=2"
    first, second = await api.get(path), await api.get(f"{path}&offset=2")
    assert [row["id"] for row in (*first["data"], *second["data"])] == ids
