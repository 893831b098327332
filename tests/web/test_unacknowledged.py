"""Fetching what a data target has not taken, over the API."""

from datetime import timedelta
from typing import Any

import pytest

from tests.support.api_client import START, Api
from tests.support.delivery_rows import put_attempt, put_delivery


class Scene:
    """A target with a device, and a way to leave deliveries waiting for it."""

    def __init__(self, api: Api) -> None:
        self.api = api
        self.position = 0

    async def build(self, **target: Any) -> "Scene":
        self.organization = await self.api.organization()
        application = await self.api.application(self.organization)
        self.device = await self.api.device(application)
        self.target = (await self.api.target(application, **target))["id"]
        self.path = f"data-target/{self.target}"
        return self

    async def put(self, body: bytes = b'{"n":1}', **more: Any) -> str:
        self.position += 1
        return await put_delivery(
            self.api.database,
            self.target,
            organization_id=self.organization,
            body=body,
            **{"position": self.position, "device_id": self.device["id"], **more},
        )

    async def get(self, query: str = "", api: Api | None = None) -> Any:
        return await (api or self.api).get(f"{self.path}/unacknowledged?{query}")

    async def acknowledge(self, body: object, status: int = 200) -> Any:
        return await self.api.post(f"{self.path}/acknowledge", body, status)


@pytest.fixture
async def scene(api: Api) -> Scene:
    return await Scene(api).build()


def ids(page: Any) -> list[str]:
    return [item["id"] for item in page["data"]]


async def test_item_shows_everything_about_a_delivery_with_its_payload_untouched(
    scene: Scene,
) -> None:
    body = b'{"big":12345678901234567890123,  "float":1.50, "\\u00e9":"\xc3\xa9"}'
    delivery_id = await scene.put(body, state="retrying", attempts=2, next_at=5_000_000)
    await put_attempt(scene.api.database, scene.target, delivery_id, error="It was busy.")
    answer = await scene.api.call("GET", f"{scene.path}/unacknowledged")
    assert b'"payload":' + body in answer.raw
    (item,) = answer.json["data"]
    del item["payload"], item["messageId"]
    assert item == {
        "id": delivery_id,
        "device": {"id": scene.device["id"], "name": scene.device["name"]},
        "state": "retrying",
        "generation": 0,
        "attempts": 2,
        "receivedAt": "2026-01-02T03:04:05.000Z",
        "createdAt": "2026-01-02T03:04:05.000Z",
        "expiresAt": "2026-01-05T03:04:05.000Z",
        "nextAttemptAt": "1970-01-01T00:00:05.000Z",
        "leasedUntil": None,
        "lastError": "It was busy.",
        "contentType": "application/json",
    }


async def test_empty_list_has_neither_a_cursor_nor_more(scene: Scene) -> None:
    answer = await scene.api.call("GET", f"{scene.path}/unacknowledged")
    assert answer.json == {"data": [], "cursor": None, "hasMore": False}
    assert answer.headers["tingbro-unacknowledged"] == "0"
    assert "tingbro-oldest-age-seconds" not in answer.headers


async def test_headers_tell_how_much_waits_and_for_how_long(scene: Scene) -> None:
    for _ in range(3):
        await scene.put()
    scene.api.clock.now += timedelta(seconds=90)
    answer = await scene.api.call("GET", f"{scene.path}/unacknowledged?limit=1")
    assert answer.headers["tingbro-unacknowledged"] == "3"
    assert answer.headers["tingbro-oldest-age-seconds"] == "90"


async def test_cursor_leads_through_all_pages(scene: Scene) -> None:
    made = [await scene.put() for _ in range(5)]
    first = await scene.get("limit=2")
    second = await scene.get(f"limit=2&cursor={first['cursor']}")
    third = await scene.get(f"limit=2&cursor={second['cursor']}")
    assert ids(first) + ids(second) + ids(third) == made
    assert [page["hasMore"] for page in (first, second, third)] == [True, True, False]
    beyond = await scene.get(f"cursor={third['cursor']}")
    assert (beyond["data"], beyond["cursor"]) == ([], third["cursor"])


async def test_period_narrows_the_list(scene: Scene) -> None:
    await scene.put()
    assert len((await scene.get("from=2026-01-02T03:04:05Z&to=2026-01-02T03:04:06Z"))["data"]) == 1
    assert (await scene.get("to=2026-01-02T03:04:05Z"))["data"] == []


async def test_target_that_is_only_fetched_from_needs_no_more_than_the_list(scene: Scene) -> None:
    made = [await scene.put() for _ in range(3)]
    page = await scene.get("lease=30s")
    assert ids(page) == made
    assert (await scene.get("lease=30s"))["data"] == []
    done = await scene.acknowledge({"upTo": page["cursor"]})
    assert done == {"acknowledged": 3, "alreadySettled": 0, "unknown": 0}
    assert (await scene.get())["data"] == []
    ((told, named),) = scene.api.hub.withdrawn
    assert (told, sorted(named)) == (scene.target, sorted(made))


async def test_target_without_address_and_disabled_is_fetched_from_like_any_other(
    api: Api,
) -> None:
    scene = await Scene(api).build(url=None)
    await api.post(f"{scene.path}/disable", {}, 200)
    made, dead = await scene.put(), await scene.put(state="dead")
    page = await scene.get("lease=30s")
    assert ids(page) == [made]
    assert (await scene.acknowledge({"upTo": page["cursor"]}))["acknowledged"] == 1
    assert ids(await api.get(f"{scene.path}/dead-letters")) == [dead]
    assert (await api.post(f"{scene.path}/replay", {"sinceFailure": True}, 202))["estimate"] == 1


async def test_lease_that_has_ended_gives_its_items_back(scene: Scene) -> None:
    made = await scene.put()
    await scene.get("lease=2m")
    assert (await scene.get())["data"][0]["leasedUntil"] == "2026-01-02T03:06:05.000Z"
    scene.api.clock.now += timedelta(seconds=119)
    assert (await scene.get("lease=30s"))["data"] == []
    scene.api.clock.now += timedelta(seconds=1)
    assert ids(await scene.get("lease=30s")) == [made]


async def test_ids_are_acknowledged_once(scene: Scene) -> None:
    made = [await scene.put() for _ in range(2)]
    unknown = "019b7d7e-0000-7000-8000-000000000000"
    named = {"ids": [made[0].upper(), unknown]}
    done = await scene.acknowledge(named)
    assert done == {"acknowledged": 1, "alreadySettled": 0, "unknown": 1}
    done = await scene.acknowledge(named)
    assert done == {"acknowledged": 0, "alreadySettled": 1, "unknown": 1}
    assert ids(await scene.get()) == [made[1]]
    assert len(scene.api.hub.withdrawn) == 1


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"ids": []},
        {"ids": ["1"]},
        {"ids": [None]},
        {"ids": ["019b7d7e-0000-7000-8000-000000000000"] * 1001},
        {"ids": ["019b7d7e-0000-7000-8000-000000000000"], "upTo": "x"},
        {"upTo": "nonsense"},
        {"upTo": ""},
    ],
)
async def test_acknowledgement_that_names_nothing_is_refused(scene: Scene, body: object) -> None:
    await scene.acknowledge(body, 400)


async def test_cursor_without_lease_acknowledges_nothing_and_says_why(scene: Scene) -> None:
    await scene.put()
    cursor = (await scene.get())["cursor"]
    refused = await scene.acknowledge({"upTo": cursor}, 400)
    assert "without lease" in refused["message"]
    assert len((await scene.get())["data"]) == 1


@pytest.mark.parametrize(
    "query",
    [
        "cursor=nonsense",
        "cursor=AAAA",
        "limit=0",
        "limit=1001",
        "lease=30",
        "lease=0s",
        "lease=61m",
    ],
)
async def test_query_that_makes_no_sense_is_refused(scene: Scene, query: str) -> None:
    await scene.api.get(f"{scene.path}/unacknowledged?{query}", 400)


async def test_who_may_only_read_may_look_but_neither_lease_nor_acknowledge(scene: Scene) -> None:
    made = await scene.put()
    reader = await scene.api.machine(scene.organization, "Read")
    assert ids(await scene.get(api=reader)) == [made]
    assert (await reader.call("GET", f"{scene.path}/unacknowledged?lease=30s")).status == 403
    body = {"ids": [made]}
    assert (await reader.call("POST", f"{scene.path}/acknowledge", body)).status == 403
    assert (await scene.get())["data"][0]["leasedUntil"] is None


async def test_admin_elsewhere_who_reads_here_can_do_no_more_than_read(scene: Scene) -> None:
    made = await scene.put()
    key = await scene.api.machine(
        await scene.api.organization(), "Read", "OrganizationApplicationAdmin"
    )
    for method, path, body in (
        ("GET", "unacknowledged", None),
        ("POST", "acknowledge", {"ids": [made]}),
    ):
        assert (await key.call(method, f"{scene.path}/{path}", body)).status == 404


async def test_page_of_large_payloads_is_cut_where_it_would_grow_too_large(scene: Scene) -> None:
    large = b'"' + b"x" * 1024 * 1000 + b'"'
    made = [await scene.put(large) for _ in range(10)]
    page = await scene.get("limit=10")
    assert 1 < len(page["data"]) < 10
    assert page["hasMore"]
    rest = await scene.get(f"limit=10&cursor={page['cursor']}")
    assert ids(page) + ids(rest) == made


async def test_expired_delivery_is_not_shown_even_before_it_is_swept(scene: Scene) -> None:
    await scene.put()
    scene.api.clock.now = START + timedelta(hours=72)
    scene.api.sign_in()
    answer = await scene.api.call("GET", f"{scene.path}/unacknowledged")
    assert (answer.json["data"], answer.headers["tingbro-unacknowledged"]) == ([], "0")
