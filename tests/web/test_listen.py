import argparse
import asyncio
import io
import json
import signal
import sys
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import Any

import aiohttp
import pytest
from aiohttp.test_utils import BaseTestServer, RawTestServer

from web.listen import Listener, add_arguments

ID = "017f22e2-79b0-7cc3-98c4-dc0c0c07398f"
PUSH = {"webhook-id": ID, "tingbro-message-id": "message-1", "Content-Type": "application/json"}
RUN = """
import argparse, asyncio
from web.listen import add_arguments, listen
parser = argparse.ArgumentParser()
add_arguments(parser)
asyncio.run(listen(parser.parse_args()))
"""


def options(*arguments: str) -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    add_arguments(parser)
    return parser.parse_args(arguments)


class Running:
    def __init__(self, listener: Listener, out: io.StringIO, server: BaseTestServer) -> None:
        self.listener = listener
        self._out = out
        self._url = server.make_url("/hook?a=b")

    @property
    def shown(self) -> str:
        return self._out.getvalue()

    async def push(self, body: bytes = b"{}", headers: Mapping[str, str] = PUSH) -> int:
        async with (
            aiohttp.ClientSession() as session,
            session.post(self._url, data=body, headers=headers) as response,
        ):
            return response.status


@asynccontextmanager
async def listening(*arguments: str) -> AsyncIterator[Running]:
    out = io.StringIO()
    at = datetime(2026, 1, 2, 3, 4, 5, 678_000, tzinfo=UTC)
    listener = Listener(options(*arguments), out, now=lambda: at)
    async with RawTestServer(listener.answer, host="127.0.0.1") as server:
        yield Running(listener, out, server)


async def test_push_is_shown_with_its_ids_and_its_body_laid_out() -> None:
    async with listening() as running:
        assert await running.push('{"temperature":21.5,"place":"Århus"}'.encode()) == 204
    assert running.shown.splitlines() == [
        "03:04:05.678  POST /hook?a=b -> 204",
        f"  webhook-id          {ID}",
        "  tingbro-message-id  message-1",
        "  {",
        '    "temperature": 21.5,',
        '    "place": "Århus"',
        "  }",
        "",
    ]


async def test_repeat_is_marked_and_counted_once_as_a_delivery() -> None:
    async with listening() as running:
        await running.push()
        await running.push()
        await running.push(headers={"webhook-id": "another"})
    assert running.shown.count(f"{ID}\n") == 1
    assert f"{ID}  (attempt 2)" in running.shown
    totals = running.listener.totals
    assert (totals.received, totals.accepted, totals.deliveries, totals.repeats) == (3, 3, 2, 1)


async def test_first_pushes_fail_when_told_so_and_their_retry_is_no_repeat() -> None:
    async with listening("--fail-first", "2", "--status", "201") as running:
        assert [await running.push() for _ in range(3)] == [503, 503, 201]
    totals = running.listener.totals
    assert (totals.received, totals.accepted, totals.deliveries, totals.repeats) == (3, 1, 1, 0)
    assert f"{ID}  (attempt 3)" in running.shown


async def test_missing_or_wrong_authorization_is_answered_401() -> None:
    async with listening("--authorization", "Bearer abc") as running:
        assert await running.push() == 401
        assert await running.push(headers={"Authorization": "Bearer abd"}) == 401
        assert await running.push(headers={"Authorization": "Bearer abc"}) == 204


async def test_json_lines_hold_everything_a_script_needs() -> None:
    async with listening("--json") as running:
        await running.push(b'{"a":1}')
        await running.push(b"\xff", headers={})
        running.listener.conclude()
    first, second, last = map(json.loads, running.shown.splitlines())
    assert (first["json"], first["body"], first["attempt"]) == ({"a": 1}, '{"a":1}', 1)
    assert (first["headers"]["webhook-id"], first["path"]) == (ID, "/hook?a=b")
    assert "json" not in second
    assert last["totals"] == {"received": 2, "accepted": 2, "deliveries": 2, "repeats": 0}


async def test_quiet_shows_nothing_but_the_totals() -> None:
    async with listening("--quiet") as running:
        await running.push()
        assert running.shown == ""
        running.listener.conclude()
    assert running.shown == "Received 1, accepted 1: 1 deliveries and 0 repeats.\n"


async def test_sender_cannot_steer_the_terminal() -> None:
    async with listening() as running:
        await running.push(b"\x1b[2Jgone", headers={"tingbro-message-id": "\x9b2J"})
        await running.push(b'{"a": "\xc2\x9b2J"}')
    assert all(line.isprintable() for line in running.shown.splitlines())
    assert "[2Jgone" in running.shown


@pytest.mark.parametrize(
    "arguments",
    [
        ("--port", "65536"),
        ("--status", "99"),
        ("--delay", "-1"),
        ("--delay", "nan"),
        ("--fail-first", "x"),
    ],
)
def test_arguments_that_make_no_sense_are_refused(
    arguments: tuple[str, ...], capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit):
        options(*arguments)
    assert arguments[0] in capsys.readouterr().err


@pytest.mark.parametrize("stop", [signal.SIGINT, signal.SIGTERM])
async def test_process_says_where_it_listens_and_prints_totals_when_it_is_stopped(
    stop: signal.Signals,
) -> None:
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", RUN, "--port", "0", "--json", stdout=asyncio.subprocess.PIPE
    )
    assert process.stdout is not None

    async def line(stream: asyncio.StreamReader) -> Any:
        return json.loads(await stream.readline())

    async with asyncio.timeout(30):
        url = (await line(process.stdout))["listening"]
        async with aiohttp.ClientSession() as session, session.post(url, json=[1]) as response:
            assert response.status == 204
        assert (await line(process.stdout))["json"] == [1]
        process.send_signal(stop)
        assert (await line(process.stdout))["totals"]["received"] == 1
        assert await process.wait() == 0
