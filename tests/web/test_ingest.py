import asyncio
from pathlib import Path

import pytest

from protocols.errors import HubFull, StorageUnavailable
from tests.support.api_client import Answer, Api, running_api

KEY = "5002d70f-6499-44af-8546-9555004e1a1a"
PATH = f"/api/v1/receive-data?apiKey={KEY}"


@pytest.fixture
def hub_with_device(anonymous: Api) -> Api:
    anonymous.hub.keys.add(KEY)
    return anonymous


async def send(
    api: Api, body: bytes = b'{"a": 1}', path: str = PATH, headers: dict[str, str] | None = None
) -> Answer:
    return await api.call(
        "POST", path, data=body, headers={"Content-Type": "application/json", **(headers or {})}
    )


async def test_message_is_acknowledged_without_content(hub_with_device: Api) -> None:
    answer = await send(hub_with_device)
    assert (answer.status, answer.raw) == (204, b"")
    assert hub_with_device.hub.accepted == [(KEY, b'{"a": 1}', None)]


async def test_name_that_a_sender_gives_its_message_is_handed_on(hub_with_device: Api) -> None:
    await send(hub_with_device, headers={"Idempotency-Key": "abc"})
    assert hub_with_device.hub.accepted[0][2] == "abc"


@pytest.mark.parametrize(
    "path",
    [
        f"/API/v1/Receive-Data?apiKey={KEY}",
        f"/api/v1/receive-data/?apiKey={KEY}",
        f"/api/v1/receive-data?x=1&apiKey={KEY}",
        f"/api/v1/receive-data?apiKey={KEY.upper()}",
        f"/api/v1/receive-data?apiKey=%35{KEY[1:]}",
    ],
)
async def test_path_and_query_are_read_as_clients_write_them(
    hub_with_device: Api, path: str
) -> None:
    assert (await send(hub_with_device, path=path)).status == 204


@pytest.mark.parametrize("query", ["", "?apiKey=", "?apiKey=x", f"?apiKey={KEY[:-1]}0", "?apikey"])
async def test_unknown_or_missing_key_is_refused_with_the_known_code(
    hub_with_device: Api, query: str
) -> None:
    answer = await send(hub_with_device, path=f"/api/v1/receive-data{query}")
    assert answer.status == 403
    assert answer.json["message"] == "MESSAGE.DEVICE-DOES-NOT-EXIST"
    assert answer.json["error"] == "Forbidden"


async def test_body_that_is_no_json_is_refused_with_a_sentence(hub_with_device: Api) -> None:
    answer = await send(hub_with_device, b"{")
    assert answer.status == 400
    assert answer.json["message"].endswith(".")


async def test_other_content_type_is_refused(hub_with_device: Api) -> None:
    answer = await send(hub_with_device, headers={"Content-Type": "text/plain"})
    assert answer.status == 415


async def test_compressed_body_is_refused_unread(hub_with_device: Api) -> None:
    answer = await send(hub_with_device, headers={"Content-Encoding": "gzip"})
    assert answer.status == 415
    assert hub_with_device.hub.accepted == []


@pytest.mark.parametrize("method", ["GET", "PUT", "DELETE", "PATCH"])
async def test_other_method_is_refused_and_the_right_one_named(
    hub_with_device: Api, method: str
) -> None:
    answer = await hub_with_device.call(method, PATH)
    assert answer.status == 405
    assert answer.headers["Allow"] == "POST, OPTIONS"


async def test_browser_may_ask_before_it_sends(hub_with_device: Api) -> None:
    answer = await hub_with_device.call("OPTIONS", PATH)
    assert answer.status == 204
    assert answer.headers["Access-Control-Allow-Origin"] == "*"


async def test_full_hub_says_when_to_come_back(hub_with_device: Api) -> None:
    hub_with_device.hub.refusal = HubFull("Too much.", retry_after_s=7)
    answer = await send(hub_with_device)
    assert answer.status == 503
    assert answer.headers["Retry-After"] == "7"


async def test_database_that_cannot_be_written_is_no_secret_told(hub_with_device: Api) -> None:
    hub_with_device.hub.refusal = StorageUnavailable("disk full at /var/lib/secret")
    answer = await send(hub_with_device)
    assert answer.status == 503
    assert b"/var/lib" not in answer.raw


async def test_defect_is_answered_with_an_id_and_no_trace(
    hub_with_device: Api, capsys: pytest.CaptureFixture[str]
) -> None:
    hub_with_device.hub.refusal = RuntimeError("the flux capacitor")
    answer = await send(hub_with_device)
    assert answer.status == 500
    assert b"flux" not in answer.raw
    assert answer.json["errorId"] in capsys.readouterr().out


async def test_announced_size_over_the_limit_is_refused_before_the_body_is_there(
    tmp_path: Path,
) -> None:
    async with running_api(tmp_path, max_body_bytes=1000) as api:
        head = request_head("Content-Length: 1001")
        assert (await exchange(api, head)).startswith(b"HTTP/1.1 413 ")


async def test_chunks_are_counted_and_cut_off_at_the_limit(tmp_path: Path) -> None:
    async with running_api(tmp_path, max_body_bytes=1000) as api:
        head = request_head("Transfer-Encoding: chunked")
        chunk = b"1f4\r\n" + b" " * 500 + b"\r\n"
        assert (await exchange(api, head, chunk, chunk, chunk)).startswith(b"HTTP/1.1 413 ")
        assert api.hub.accepted == []


async def test_body_of_exactly_the_limit_is_taken(tmp_path: Path) -> None:
    async with running_api(tmp_path, max_body_bytes=1000) as api:
        api.hub.keys.add(KEY)
        assert (await send(api, b'"' + b"x" * 998 + b'"')).status == 400
        assert (await send(api, b'["' + b"x" * 996 + b'"]')).status == 204


async def test_body_that_does_not_arrive_in_time_is_given_up(tmp_path: Path) -> None:
    async with running_api(tmp_path, body_timeout_s=0.05) as api:
        answer = await exchange(api, request_head("Content-Length: 10"), b"{")
        assert answer.startswith(b"HTTP/1.1 408 ")


async def test_connection_without_a_request_is_closed(tmp_path: Path) -> None:
    async with running_api(tmp_path, head_timeout_s=0.05) as api:
        assert await exchange(api) == b""
        assert await exchange(api, b"POST /api/v1/receive-data HT") == b""


async def test_idle_connection_is_closed_after_a_while(tmp_path: Path) -> None:
    async with running_api(tmp_path, keep_alive_s=0.05) as api:
        api.hub.keys.add(KEY)
        answer = await exchange(api, request_head("Content-Length: 2"), b"{}")
        assert answer.startswith(b"HTTP/1.1 204 ")


async def test_client_that_asks_first_is_told_to_go_on(hub_with_device: Api) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", hub_with_device.port)
    writer.write(request_head("Content-Length: 2", "Expect: 100-continue"))
    assert (await reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 100 ")
    writer.write(b"{}")
    assert (await reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 204 ")
    writer.close()


@pytest.mark.parametrize(
    "nonsense", [b"\x16\x03\x01\x02", b"hello\r\n\r\n", b"GET / HTTP/9.9\r\n\r\n"]
)
async def test_what_is_no_http_gets_a_plain_answer(hub_with_device: Api, nonsense: bytes) -> None:
    async with asyncio.timeout(5):
        answer = await exchange(hub_with_device, nonsense + b"\r\n\r\n")
    assert answer == b"" or answer.startswith((b"HTTP/1.1 400", b"HTTP/1.0 400"))
    assert b"Traceback" not in answer


async def test_every_answer_is_counted(hub_with_device: Api) -> None:
    await send(hub_with_device)
    await send(hub_with_device, b"{")
    text = (await hub_with_device.call("GET", "/metrics")).raw.decode()
    assert 'tingbro_http_ingest_requests_total{status="204"} 1.0' in text
    assert 'tingbro_http_ingest_requests_total{status="400"} 1.0' in text


def request_head(*lines: str) -> bytes:
    fixed = (f"POST {PATH} HTTP/1.1", "Host: hub", "Content-Type: application/json")
    return "\r\n".join((*fixed, *lines, "", "")).encode()


async def exchange(api: Api, *pieces: bytes) -> bytes:
    """Send the pieces and return what comes until the hub closes the connection."""
    reader, writer = await asyncio.open_connection("127.0.0.1", api.port)
    for piece in pieces:
        writer.write(piece)
        await writer.drain()
    try:
        async with asyncio.timeout(10):
            return await reader.read()
    finally:
        writer.close()
