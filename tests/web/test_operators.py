import pytest

from tests.support.api_client import Api


async def test_health_names_the_actor_that_is_the_cause(anonymous: Api) -> None:
    assert (await anonymous.get("/healthz"))["status"] == "ok"
    assert (await anonymous.call("GET", "healthcheck")).raw == b"OK"
    anonymous.hub.failing = ("/hub/writer", "it restarts again and again")
    answer = await anonymous.get("/healthz", 503)
    assert answer["actor"] == "/hub/writer"
    assert (await anonymous.call("GET", "healthcheck")).status == 500


async def test_readiness_says_what_is_missing(anonymous: Api) -> None:
    assert (await anonymous.get("/readyz"))["status"] == "ready"
    anonymous.hub.is_ready = False
    answer = await anonymous.get("/readyz", 503)
    assert answer["checks"] == [{"name": "storage", "ok": False, "detail": "can be written"}]


async def test_tree_and_single_actors_are_shown(api: Api) -> None:
    api.hub.actors["/hub/targets/17"] = {"path": "/hub/targets/17"}
    assert (await api.get("actors"))["path"] == "/hub"
    assert (await api.get("actors/hub/targets/17"))["path"] == "/hub/targets/17"
    await api.get("actors/hub/nothing", 404)


async def test_actors_are_shown_in_the_names_of_the_api(api: Api) -> None:
    child = {"path": "/hub/targets", "mailbox_length": 3, "children": []}
    api.hub.actors["/hub"] = {"path": "/hub", "last_error_at": None, "children": [child]}
    assert await api.get("actors") == {
        "path": "/hub",
        "lastErrorAt": None,
        "children": [{"path": "/hub/targets", "mailboxLength": 3, "children": []}],
    }
    api.hub.actors["/hub/targets"] = child
    assert (await api.get("actors/hub/targets"))["mailboxLength"] == 3


async def test_actor_is_restarted_by_an_administrator(api: Api) -> None:
    api.hub.actors["/hub/targets/17"] = {"path": "/hub/targets/17"}
    answer = await api.call("POST", "actors/hub/targets/17/restart")
    assert answer.status == 202
    assert api.hub.restarted == ["/hub/targets/17"]
    assert (await api.call("POST", "actors/hub/nothing/restart")).status == 404
    assert (await api.call("POST", "actors/hub/targets/17")).status == 405


async def test_actors_are_not_for_keys(api: Api) -> None:
    machine = await api.machine(await api.organization(), "Read")
    await machine.get("actors", 403)
    await machine.get("ledger")


async def test_metrics_show_the_hub_and_the_api(anonymous: Api) -> None:
    await anonymous.get("no-such-thing", 404)
    answer = await anonymous.call("GET", "/metrics")
    assert answer.headers["Content-Type"].startswith("text/plain; version=0.0.4")
    text = answer.raw.decode()
    assert "tingbro_fake 42.0" in text
    assert 'tingbro_http_api_requests_total{method="GET",route="unknown",status="404"} 1.0' in text


@pytest.mark.parametrize("path", ["/", "/api/v1"])
async def test_root_says_where_to_look(anonymous: Api, path: str) -> None:
    assert b"/api/v1/docs" in (await anonymous.call("GET", path)).raw
