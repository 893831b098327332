"""The receiver: a process of its own that counts pushes and times them.

A push is answered 204 at once, but below `/busy` with 429, and below `/mute` not at all. `GET /report?path=/x` says what was pushed to a path so far, and
`DELETE /` forgets everything. The number after `"sent_us":` in a body is when its post was due.
"""

import asyncio
import json
import re
import subprocess
import sys
import time
from collections import defaultdict
from dataclasses import asdict, dataclass, field
from typing import Any, Final, Self, cast

import aiohttp
import uvloop

from benchmarks.percentiles import percentile
from tests.support.hub_process import ROOT

_SENT: Final = re.compile(rb'"sent_us":\s*(\d+)')
_BUSY: Final = b"HTTP/1.1 429 Too Many Requests\r\nRetry-After: 60\r\nContent-Length: 0\r\n\r\n"
_NO_CONTENT: Final = b"HTTP/1.1 204 No Content\r\n\r\n"
_POLL_S: Final = 0.05


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """What came to one path: all pushes, those with a new id, and their age on arrival."""

    pushes: int
    deliveries: int
    first_at_s: float
    last_at_s: float
    p50_ms: float
    p99_ms: float
    max_ms: float


class ReceiverProcess:
    """Runs while its block runs; pushes to any path below `url` are counted by path."""

    def __init__(self) -> None:
        self.url = ""
        self._process: subprocess.Popen[str] | None = None

    def __enter__(self) -> Self:
        self._process = subprocess.Popen(
            [sys.executable, "-m", __name__], cwd=ROOT, stdout=subprocess.PIPE, text=True
        )
        assert self._process.stdout is not None
        self.url = f"http://127.0.0.1:{int(self._process.stdout.readline())}"
        return self

    def __exit__(self, *_: object) -> None:
        assert self._process is not None
        self._process.terminate()
        self._process.communicate(timeout=10)

    async def report(self, path: str) -> Report:
        async with (
            aiohttp.ClientSession() as session,
            session.get(f"{self.url}/report", params={"path": path}) as response,
        ):
            return Report(**json.loads(await response.read()))

    async def forget(self) -> None:
        async with aiohttp.ClientSession() as session, session.delete(f"{self.url}/"):
            pass

    async def wait_for(self, path: str, deliveries: int, *, timeout_s: float) -> Report:
        """The report when so many different deliveries have arrived at the path."""
        async with asyncio.timeout(timeout_s):
            # Another process counts: it can only be asked, again and again.
            while (report := await self.report(path)).deliveries < deliveries:  # noqa: ASYNC110
                await asyncio.sleep(_POLL_S)
        return report


@dataclass(slots=True)
class _Seen:
    pushes: int = 0
    ids: set[bytes] = field(default_factory=set)
    first_at_s: float = 0.0
    last_at_s: float = 0.0
    ages_ms: list[float] = field(default_factory=list)

    def add(self, webhook_id: bytes, body: bytes) -> None:
        now_s = time.monotonic()
        self.pushes += 1
        self.first_at_s = self.first_at_s or now_s
        self.last_at_s = now_s
        if webhook_id in self.ids:
            return
        self.ids.add(webhook_id)
        sent = _SENT.search(body)
        if sent:
            self.ages_ms.append(now_s * 1e3 - int(sent[1]) / 1e3)

    def report(self) -> Report:
        return Report(
            pushes=self.pushes,
            deliveries=len(self.ids),
            first_at_s=self.first_at_s,
            last_at_s=self.last_at_s,
            p50_ms=percentile(self.ages_ms, 50),
            p99_ms=percentile(self.ages_ms, 99),
            max_ms=max(self.ages_ms, default=float("nan")),
        )


class _Connection(asyncio.Protocol):
    """Reads plain requests with a Content-Length; everything else does not come from a hub."""

    def __init__(self, seen: dict[str, _Seen]) -> None:
        self._seen = seen
        self._received = b""
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # uvloop's transports keep the interface without inheriting it.
        self._transport = cast(asyncio.Transport, transport)

    def data_received(self, data: bytes) -> None:
        self._received += data
        while True:
            head, separator, rest = self._received.partition(b"\r\n\r\n")
            length = int(_header(head, b"content-length") or 0)
            if not separator or len(rest) < length:
                return
            self._received = rest[length:]
            self._answer(head, rest[:length])

    def _answer(self, head: bytes, body: bytes) -> None:
        assert self._transport is not None
        method, target, _ = head.partition(b"\r\n")[0].decode().split(" ")
        path, _, query = target.partition("?path=")
        if method == "POST":
            self._seen[path].add(_header(head, b"webhook-id"), body)
            if path.startswith("/busy"):
                self._transport.write(_BUSY)
            elif not path.startswith("/mute"):
                self._transport.write(_NO_CONTENT)
        elif method == "GET":
            text = json.dumps(asdict(self._seen[query.replace("%2F", "/")].report())).encode()
            self._transport.write(
                b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s" % (len(text), text)
            )
        else:
            self._seen.clear()
            self._transport.write(_NO_CONTENT)


def _header(head: bytes, name: bytes) -> bytes:
    at = head.lower().find(b"\r\n" + name + b":")
    if at < 0:
        return b""
    return head[at + len(name) + 3 :].partition(b"\r\n")[0].strip()


async def _serve() -> None:
    seen: dict[str, Any] = defaultdict(_Seen)
    loop = asyncio.get_running_loop()
    server = await loop.create_server(lambda: _Connection(seen), "127.0.0.1", 0)
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()


if __name__ == "__main__":
    uvloop.run(_serve())
