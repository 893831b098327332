"""What every route of the API has in common on the wire."""

import asyncio
from collections.abc import Callable
from ipaddress import ip_network
from pathlib import Path

import pytest
from aiohttp import hdrs
from aiohttp.test_utils import make_mocked_request

import web.call
from protocols.errors import Conflict
from storage.database import Transaction
from tests.support.api_client import Api, running_api
from web.client_address import client_address
from web.errors import answer_of, problems_of


async def test_unknown_path_is_answered_in_the_known_shape(anonymous: Api) -> None:
    assert await anonymous.get("nothing", 404) == {
        "statusCode": 404,
        "message": "Cannot GET /api/v1/nothing",
        "error": "Not Found",
    }


async def test_method_that_a_path_does_not_take_is_refused_with_those_it_takes(
    anonymous: Api,
) -> None:
    answer = await anonymous.call("PATCH", "organization/1")
    assert answer.status == 405
    assert answer.headers["Allow"] == "DELETE, GET, HEAD, PUT"


async def test_number_in_a_path_must_be_one(api: Api) -> None:
    for number in ("abc", "1.5", "-1", "١"):
        refused = await api.get(f"organization/{number}", 400)
        assert refused["message"] == "Validation failed (numeric string is expected)"
    await api.get("organization/99999999999999999999999", 404)


async def test_browser_may_ask_before_it_calls(anonymous: Api) -> None:
    answer = await anonymous.call("OPTIONS", "organization")
    assert answer.status == 204
    assert answer.headers["Access-Control-Allow-Methods"] == "GET, HEAD, POST"
    assert "X-API-KEY" in answer.headers["Access-Control-Allow-Headers"]
    assert (await anonymous.call("OPTIONS", "nothing")).status == 404


async def test_answers_and_errors_may_be_read_from_everywhere(api: Api) -> None:
    for path in ("organization", "nothing", "/healthz"):
        answer = await api.call("GET", path)
        assert answer.headers["Access-Control-Allow-Origin"] == "*"


async def test_answers_do_not_tell_what_the_hub_is_made_of(anonymous: Api) -> None:
    for path in ("organization", "nothing", "/healthz", "receive-data"):
        assert (await anonymous.call("GET", path)).headers["Server"] == "Tingbro"


async def test_head_is_get_without_the_body(api: Api) -> None:
    answer = await api.call("HEAD", "organization")
    assert (answer.status, answer.raw) == (200, b"")


@pytest.mark.parametrize(
    ("body", "content_type", "status"),
    [
        (b"{", "application/json", 400),
        (b"", "application/json", 400),
        (b'{"name": NaN}', "application/json", 400),
        (b'{"name": "\xff"}', "application/json", 400),
        (b'{"name": "\\ud800"}', "application/json", 400),
        (b"[" * 100_000, "application/json", 400),
        (b"[1]", "application/json", 400),
        (b"null", "application/json", 400),
        (b"name=x", "application/x-www-form-urlencoded", 415),
        (b"{}", "text/plain", 415),
    ],
)
async def test_body_that_is_no_json_object_is_refused(
    api: Api, body: bytes, content_type: str, status: int
) -> None:
    headers = {"Content-Type": content_type}
    answer = await api.call("POST", "organization", data=body, headers=headers)
    assert answer.status == status
    assert answer.json["statusCode"] == status


async def test_rejected_body_is_not_repeated(api: Api) -> None:
    body = {"name": 5, "authorizationHeader": "s3cr3t", "type": "HTTP_PUSH", "password": ["s3cr3t"]}
    answer = await api.call("POST", "data-target", body)
    assert answer.status == 400
    assert b"s3cr3t" not in answer.raw


async def test_unknown_fields_are_ignored(api: Api) -> None:
    await api.post("organization", {"name": "x", "unknown": {"a": 1}})


async def test_large_body_is_refused_unread(tmp_path: Path) -> None:
    async with running_api(tmp_path, max_body_bytes=100) as api:
        api.sign_in()
        answer = await api.call("POST", "organization", {"name": "x" * 200})
        assert answer.status == 413


async def test_big_answers_are_compressed_for_those_who_can_take_it(api: Api) -> None:
    small = await api.call("GET", "organization")
    assert "Content-Encoding" not in small.headers
    for _ in range(60):
        await api.organization()
    big = await api.call("GET", "organization", headers={"Accept-Encoding": "gzip"})
    assert big.headers["Content-Encoding"] == "gzip"
    plain = await api.call("GET", "organization", headers={"Accept-Encoding": "identity"})
    assert "Content-Encoding" not in plain.headers
    assert plain.raw == big.raw


async def test_defect_of_a_handler_is_answered_with_an_id_and_no_trace(
    api: Api, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def break_down() -> None:
        raise RuntimeError("the flux capacitor")

    monkeypatch.setattr(api.hub, "actor_tree", break_down)
    answer = await api.call("GET", "actors")
    assert answer.status == 500
    assert b"flux" not in answer.raw
    assert answer.json["errorId"] in capsys.readouterr().out


def test_sentence_of_the_database_stays_inside() -> None:
    answer = answer_of(Conflict("UNIQUE constraint failed: user_account.email"))
    assert answer is not None
    assert answer.status == 409
    assert "user_account" not in str(answer.body())


def test_errors_of_nested_fields_become_children() -> None:
    assert problems_of({"a": {0: {"b": ["bad", "worse"]}}}) == [
        {
            "property": "a",
            "children": [
                {
                    "property": "0",
                    "children": [
                        {
                            "property": "b",
                            "constraints": {"isValid": "bad", "isValid2": "worse"},
                            "children": [],
                        }
                    ],
                }
            ],
        }
    ]


TRUSTED = (ip_network("10.0.0.0/8"),)


@pytest.mark.parametrize(
    ("peer", "forwarded", "expected"),
    [
        ("192.0.2.1", "1.2.3.4", "192.0.2.1"),
        ("10.0.0.1", "1.2.3.4", "1.2.3.4"),
        ("10.0.0.1", "6.6.6.6, 1.2.3.4", "1.2.3.4"),
        ("10.0.0.1", "1.2.3.4, 10.0.0.2", "1.2.3.4"),
        ("10.0.0.1", "nonsense", "10.0.0.1"),
        ("10.0.0.1", "", "10.0.0.1"),
    ],
)
def test_address_is_taken_from_proxies_that_are_trusted_only(
    peer: str, forwarded: str, expected: str
) -> None:
    request = make_mocked_request("GET", "/", headers={hdrs.X_FORWARDED_FOR: forwarded})
    assert client_address(request.clone(remote=peer), TRUSTED) == expected


async def test_document_describes_every_route(anonymous: Api) -> None:
    document = await anonymous.get("docs-json")
    assert document["openapi"].startswith("3.")
    assert document["info"]["version"] == "1.2.3"
    device = document["paths"]["/api/v1/iot-device/{id}"]
    assert set(device) == {"get", "put", "delete"}
    assert device["put"]["requestBody"]["content"]["application/json"]["schema"]
    assert "/api/v1/actors/{path}/restart" in document["paths"]
    assert "/api/v1/receive-data" in document["paths"]
    for path, operations in document["paths"].items():
        for operation in operations.values():
            assert operation["summary"], path
            assert operation["responses"], path
    assert document["components"]["schemas"]["Device"]["properties"]["createdAt"] == {
        "type": "string",
        "format": "date-time",
    }


async def test_page_of_the_documentation_needs_nothing_from_elsewhere(anonymous: Api) -> None:
    answer = await anonymous.call("GET", "docs")
    assert answer.headers["Content-Type"].startswith("text/html")
    page = answer.raw.decode()
    assert "http://" not in page
    assert "https://" not in page
    assert "docs-json" in page


async def test_change_that_is_stored_too_late_is_still_announced(
    api: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    room = asyncio.Event()
    write = api.database.write

    async def wait_for_room(unit: Callable[[Transaction], object]) -> object:
        await room.wait()
        return await write(unit)

    monkeypatch.setattr(api.database, "write", wait_for_room)
    monkeypatch.setattr(web.call, "COMMIT_TIMEOUT_S", 0.02)
    answer = await api.call("POST", "organization", {"name": "late"})
    assert answer.status == 503
    assert answer.headers["Retry-After"]
    assert api.hub.changes == []
    room.set()
    async with asyncio.timeout(5):
        await api.hub.changed.wait()
    assert api.hub.changes == [("organization", 1)]
