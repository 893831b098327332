"""Everything that devices and clients may do wrong costs nobody but themselves."""

import asyncio
import json
from typing import Any

import pytest

from tests.support.city import City
from tests.support.hub_client import Device, HubClient
from tests.support.hub_process import HubProcess
from tests.support.receivers import Receiver

UNKNOWN_KEY = "00000000-0000-4000-8000-000000000000"
MAX_BODY_BYTES = 1024 * 1024
RAW_TIMEOUT_S = 10


@pytest.fixture
async def device(city: City) -> Device:
    return await city.device()


def nested(depth: int) -> bytes:
    return b"[" * depth + b"]" * depth


def assert_tells_no_secrets(body: object) -> None:
    """A client learns what it did wrong, and nothing about the code."""
    text = json.dumps(body)
    for hint in ("Traceback", ".py", "line ", "Error("):
        assert hint not in text, text


async def raw_exchange(hub: HubProcess, *pieces: bytes) -> bytes:
    """Send the pieces as they are and return what comes until the hub closes or answers."""
    reader, writer = await asyncio.open_connection("127.0.0.1", hub.port)
    try:
        for piece in pieces:
            writer.write(piece)
            await writer.drain()
        async with asyncio.timeout(RAW_TIMEOUT_S):
            return await reader.read(65536)
    except ConnectionError:
        return b""
    finally:
        writer.close()


def head(device: Device, *lines: str) -> bytes:
    return "\r\n".join(
        (
            f"POST /api/v1/receive-data?apiKey={device.api_key} HTTP/1.1",
            "Host: hub",
            *lines,
            "",
            "",
        )
    ).encode()


@pytest.mark.parametrize("api_key", [UNKNOWN_KEY, "", "not-a-uuid", "%00", "1' OR '1'='1"])
async def test_unknown_key_is_refused_with_the_code_that_clients_know(
    client: HubClient, api_key: str
) -> None:
    answer = await client.post(api_key, b"{}")
    assert answer.status == 403
    assert answer.body["message"] == "MESSAGE.DEVICE-DOES-NOT-EXIST"


async def test_missing_key_is_refused(client: HubClient) -> None:
    answer = await client.request("POST", "/api/v1/receive-data", json={})
    assert answer.status == 403


BAD_BODIES = {
    "empty": b"",
    "not JSON": b"hello",
    "cut short": b'{"a": 1',
    "two values": b"{} {}",
    "a number": b"42",
    "a string": b'"text"',
    "null": b"null",
    "NaN": b'{"a": NaN}',
    "Infinity": b'{"a": -Infinity}',
    "65 levels": nested(65),
    "a million levels": b"[" * 1_000_000,
    "lone high surrogate": b'{"a": "\\ud800"}',
    "lone low surrogate": b'{"a": "\\udc00"}',
    "surrogate in a key": b'{"\\ud800": 1}',
    "invalid UTF-8": b'{"a": "\xff"}',
    "UTF-16": '{"a": 1}'.encode("utf-16"),
    "trailing comma": b'{"a": 1,}',
    "comment": b'{"a": 1} // no',
    "control character": b'{"a": "\x01"}',
}


@pytest.mark.parametrize("name", BAD_BODIES)
async def test_body_that_is_no_acceptable_json_is_refused_with_a_sentence(
    client: HubClient, device: Device, name: str
) -> None:
    answer = await client.post(device.api_key, BAD_BODIES[name])
    assert answer.status == 400
    assert isinstance(answer.body["message"], str)
    assert len(answer.body["message"].split()) > 2
    assert_tells_no_secrets(answer.body)


GOOD_BODIES = {
    "64 levels": nested(64),
    "empty object": b"{}",
    "paired surrogates": b'{"a": "\\ud83d\\ude00"}',
    "big numbers": b'{"a": 1e308, "b": 123456789012345678901234567890}',
    "whitespace": b' \r\n\t{"a" : [ 1 , 2 ] } \n',
    "repeated key": b'{"a": 1, "a": 2}',
    "prototype": b'{"__proto__": {"a": 1}, "constructor": 1}',
}


@pytest.mark.parametrize("name", GOOD_BODIES)
async def test_unusual_but_valid_json_is_taken(
    client: HubClient, device: Device, name: str
) -> None:
    assert (await client.post(device.api_key, GOOD_BODIES[name])).status == 204


async def test_body_of_exactly_the_limit_is_taken(client: HubClient, device: Device) -> None:
    body = b'["' + b"x" * (MAX_BODY_BYTES - 4) + b'"]'
    assert (await client.post(device.api_key, body)).status == 204


async def test_body_over_the_limit_is_refused(client: HubClient, device: Device) -> None:
    body = b'["' + b"x" * MAX_BODY_BYTES + b'"]'
    assert (await client.post(device.api_key, body)).status == 413


async def test_announced_size_over_the_limit_is_refused_before_the_body_is_sent(
    hub: HubProcess, client: HubClient, device: Device
) -> None:
    lines = ("Content-Type: application/json", f"Content-Length: {1 << 40}")
    answer = await raw_exchange(hub, head(device, *lines))
    assert answer.startswith(b"HTTP/1.1 413 ")


async def test_endless_chunks_are_cut_off_at_the_limit(
    hub: HubProcess, client: HubClient, device: Device
) -> None:
    lines = ("Content-Type: application/json", "Transfer-Encoding: chunked")
    chunk = b"10000\r\n" + b" " * 0x10000 + b"\r\n"
    answer = await raw_exchange(hub, head(device, *lines), *[chunk] * 64)
    assert answer == b"" or answer.startswith(b"HTTP/1.1 413 ")


@pytest.mark.parametrize("content_type", ["text/plain", "application/xml", "multipart/form-data"])
async def test_other_content_type_is_refused(
    client: HubClient, device: Device, content_type: str
) -> None:
    answer = await client.post(device.api_key, b"{}", content_type)
    assert answer.status == 415
    assert_tells_no_secrets(answer.body)


async def test_content_type_with_charset_is_taken(client: HubClient, device: Device) -> None:
    answer = await client.post(device.api_key, b"{}", "application/json; charset=utf-8")
    assert answer.status == 204


@pytest.mark.parametrize("method", ["GET", "PUT", "DELETE", "PATCH"])
async def test_other_method_is_refused(client: HubClient, device: Device, method: str) -> None:
    answer = await client.request(method, f"/api/v1/receive-data?apiKey={device.api_key}")
    assert answer.status == 405
    assert "POST" in answer.headers["Allow"]


@pytest.mark.parametrize(
    "request_bytes",
    [
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
        b"hello\r\n\r\n",
        b"GET / HTTP/9.9\r\n\r\n",
        b"POST /api/v1/receive-data HTTP/1.1\r\nContent-Length: -5\r\n\r\n",
        b"POST /api/v1/receive-data HTTP/1.1\r\nContent-Length: 3\r\nContent-Length: 4\r\n\r\n{}",
        b"GET / HTTP/1.1\r\nX: " + b"a" * 100_000 + b"\r\n\r\n",
        b"GET /" + b"a" * 100_000 + b" HTTP/1.1\r\n\r\n",
        b"GET /%ff%00 HTTP/1.1\r\nHost: x\r\n\r\n",
    ],
    ids=["TLS", "words", "version", "negative", "two lengths", "header", "target", "escapes"],
)
async def test_request_that_is_no_http_harms_nobody(
    hub: HubProcess, client: HubClient, request_bytes: bytes
) -> None:
    answer = await raw_exchange(hub, request_bytes)
    assert answer == b"" or answer[:10] in (b"HTTP/1.1 4", b"HTTP/1.0 4")
    assert b"Traceback" not in answer
    assert (await client.request("GET", "/readyz")).status == 200


async def test_client_that_leaves_mid_body_leaves_no_message(
    hub: HubProcess, client: HubClient, city: City
) -> None:
    async with Receiver() as receiver:
        device = await city.connected_device(receiver.url)
        _, writer = await asyncio.open_connection("127.0.0.1", hub.port)
        lines = ("Content-Type: application/json", "Content-Length: 100")
        writer.write(head(device, *lines) + b'{"n": ')
        await writer.drain()
        writer.transport.abort()
        await client.send(device, {"n": 2})
        async with asyncio.timeout(RAW_TIMEOUT_S):
            await receiver.wait_for(1)
        assert json.loads(receiver.requests[0].body) == {"n": 2}


async def test_slow_clients_do_not_keep_others_waiting(
    hub: HubProcess, client: HubClient, device: Device
) -> None:
    writers = []
    for _ in range(100):
        _, writer = await asyncio.open_connection("127.0.0.1", hub.port)
        writer.write(head(device, "Content-Type: application/json", "Content-Length: 2") + b"{")
        writers.append(writer)
    async with asyncio.timeout(2):
        await client.send(device, {})
    for writer in writers:
        writer.transport.abort()


API_MISTAKES: dict[str, tuple[str, str, Any, int]] = {
    "no such route": ("GET", "no-such-thing", None, 404),
    "no such organization": ("GET", "organization/999999", None, 404),
    "id is no number": ("GET", "organization/abc", None, 400),
    "body is no object": ("POST", "organization", [1], 400),
    "name is missing": ("POST", "organization", {}, 400),
    "name is no text": ("POST", "organization", {"name": {"a": 1}}, 400),
    "limit is no number": ("GET", "organization?limit=many", None, 400),
    "unknown device type": (
        "POST",
        "iot-device",
        {"name": "x", "type": "TELEPATHY", "applicationId": 1},
        400,
    ),
}


@pytest.mark.parametrize("name", API_MISTAKES)
async def test_mistake_in_the_api_is_answered_in_the_shape_that_clients_know(
    client: HubClient, name: str
) -> None:
    method, path, body, expected = API_MISTAKES[name]
    answer = await client.request(method, f"/api/v1/{path}", json=body)
    assert answer.status == expected, answer
    assert answer.body["statusCode"] == expected
    assert "message" in answer.body
    assert_tells_no_secrets(answer.body)


@pytest.mark.parametrize("path", ["organization", "actors", "ledger", "iot-device/1"])
async def test_caller_without_login_is_refused(
    hub_client_without_login: HubClient, path: str
) -> None:
    answer = await hub_client_without_login.request("GET", f"/api/v1/{path}")
    assert answer.status == 401


async def test_wrong_password_and_unknown_user_are_answered_alike(
    hub_client_without_login: HubClient,
) -> None:
    answers = [
        await hub_client_without_login.request(
            "POST", "/api/v1/auth/login", json={"username": name, "password": "wrong password"}
        )
        for name in ("admin@example.org", "nobody@example.org")
    ]
    assert [answer.status for answer in answers] == [401, 401]
    assert answers[0].body["statusCode"] == answers[1].body["statusCode"]
