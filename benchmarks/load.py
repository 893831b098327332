"""The load generator: a process of its own that posts over connections that stay open.

It reads a `Plan` as one JSON object from standard input and prints a `Report` as another. Two ways:

- closed loop (`rate_per_s` is 0): each connection posts as soon as it is answered. Shows how much
  the hub can take; its latencies mean little.
- open loop: a post is due every 1/rate seconds, whatever became of the ones before. Latency counts
  from when a post was due, so that the hub's slowness is not hidden by a patient generator.

`{sent_us}` in a body becomes the time at which it was due, in microseconds of the system's
monotonic clock, which the receiver reads too.
"""

import asyncio
import collections
import itertools
import json
import subprocess
import sys
import time
from dataclasses import asdict, dataclass
from typing import Any, Final, cast

import uvloop

from benchmarks.percentiles import percentile
from tests.support.hub_process import ROOT

SENT_US: Final = "{sent_us}"
_LEEWAY_S: Final = 30.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What to post. `posts` (path, body) are taken in turns. Ends after `count`, if not 0."""

    port: int
    posts: list[tuple[str, str]]
    connections: int = 64
    duration_s: float = 10.0
    count: int = 0
    rate_per_s: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """`started_at_s` is on the system's monotonic clock; `duration_s` ends with the last answer."""

    started_at_s: float
    posted: int
    acked: int
    refused: int
    broken_connections: int
    duration_s: float
    acked_per_s: float
    p50_ms: float
    p99_ms: float
    max_ms: float


async def generate(plan: Plan) -> Report:
    """Run the plan in another process and return what it saw."""
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        __name__,
        cwd=ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    output, _ = await process.communicate(json.dumps(asdict(plan)).encode())
    assert process.returncode == 0, "the load generator failed"
    return Report(**json.loads(output))


class _Connection(asyncio.Protocol):
    """One keep-alive connection with at most one request under way."""

    def __init__(self, generator: "_Generator") -> None:
        self._generator = generator
        self._received = b""
        self._transport: asyncio.Transport | None = None
        self._due_s = 0.0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # uvloop's transports keep the interface without inheriting it.
        self._transport = cast(asyncio.Transport, transport)
        self._generator.on_idle(self)

    def post(self, request: bytes, due_s: float) -> None:
        assert self._transport is not None
        self._due_s = due_s
        self._transport.write(request)

    def data_received(self, data: bytes) -> None:
        self._received += data
        head, separator, rest = self._received.partition(b"\r\n\r\n")
        if not separator or len(rest) < _content_length(head):
            return
        self._received = b""
        self._generator.on_answer(head.startswith(b"HTTP/1.1 204"), self._due_s)
        self._generator.on_idle(self)

    def connection_lost(self, exc: Exception | None) -> None:
        self._generator.on_lost()

    def close(self) -> None:
        if self._transport is not None:
            self._transport.abort()


class _Generator:
    def __init__(self, plan: Plan) -> None:
        self._plan = plan
        self._requests = itertools.cycle(_requests(plan))
        self._idle: collections.deque[_Connection] = collections.deque()
        self._waiting: collections.deque[float] = collections.deque()
        self._latencies_s: list[float] = []
        self._posted = self._acked = self._refused = self._lost = 0
        self._is_over = False
        self._finished = asyncio.Event()

    async def run(self) -> Report:
        loop = asyncio.get_running_loop()
        connections = []
        started_s = time.monotonic()
        for _ in range(self._plan.connections):
            _, connection = await loop.create_connection(
                lambda: _Connection(self), "127.0.0.1", self._plan.port
            )
            connections.append(connection)
        if self._plan.rate_per_s:
            await self._pace()
        elif not self._plan.count:
            loop.call_later(self._plan.duration_s, self._end)
        async with asyncio.timeout(self._plan.duration_s + _LEEWAY_S):
            await self._finished.wait()
        duration_s = time.monotonic() - started_s
        for connection in connections:
            connection.close()
        return self._report(started_s, duration_s)

    def on_idle(self, connection: _Connection) -> None:
        if self._waiting:
            self._post(connection, self._waiting.popleft())
        elif self._plan.rate_per_s or self._is_over:
            self._idle.append(connection)
        else:
            self._post(connection, time.monotonic())
            if self._plan.count and self._posted >= self._plan.count:
                self._end()

    def on_answer(self, is_acked: bool, due_s: float) -> None:
        self._latencies_s.append(time.monotonic() - due_s)
        self._acked += is_acked
        self._refused += not is_acked
        self._finish_when_answered()

    def on_lost(self) -> None:
        self._lost += 1

    async def _pace(self) -> None:
        start_s = time.monotonic()
        total = int(self._plan.rate_per_s * self._plan.duration_s)
        for number in range(total):
            due_s = start_s + number / self._plan.rate_per_s
            pause_s = due_s - time.monotonic()
            if pause_s > 0:
                await asyncio.sleep(pause_s)
            if self._idle:
                self._post(self._idle.popleft(), due_s)
            else:
                self._waiting.append(due_s)
        self._end()

    def _post(self, connection: _Connection, due_s: float) -> None:
        self._posted += 1
        head, before, after = next(self._requests)
        if after is None:
            connection.post(head + before, due_s)
        else:
            # JSON knows no leading zeros; spaces keep the length that the head promised.
            connection.post(head + before + b"%16d" % int(due_s * 1e6) + after, due_s)

    def _end(self) -> None:
        self._is_over = True
        self._finish_when_answered()

    def _finish_when_answered(self) -> None:
        if self._is_over and not self._waiting and self._acked + self._refused >= self._posted:
            self._finished.set()

    def _report(self, started_s: float, duration_s: float) -> Report:
        latencies_ms = [latency_s * 1000 for latency_s in self._latencies_s]
        return Report(
            started_at_s=started_s,
            posted=self._posted,
            acked=self._acked,
            refused=self._refused,
            broken_connections=self._lost,
            duration_s=duration_s,
            acked_per_s=self._acked / duration_s,
            p50_ms=percentile(latencies_ms, 50),
            p99_ms=percentile(latencies_ms, 99),
            max_ms=max(latencies_ms, default=float("nan")),
        )


def _requests(plan: Plan) -> list[tuple[bytes, bytes, bytes | None]]:
    """Each post as head, body up to the stamp, and body after it (None without a stamp)."""
    made: list[tuple[bytes, bytes, bytes | None]] = []
    for path, body in plan.posts:
        before, mark, after = body.partition(SENT_US)
        length = len(before.encode()) + len(after.encode()) + (16 if mark else 0)
        head = (
            f"POST {path} HTTP/1.1\r\nHost: hub\r\nContent-Type: application/json\r\n"
            f"Content-Length: {length}\r\n\r\n"
        )
        made.append((head.encode(), before.encode(), after.encode() if mark else None))
    return made


def _content_length(head: bytes) -> int:
    lowered = head.lower()
    at = lowered.find(b"\r\ncontent-length:")
    return int(lowered[at + 17 :].partition(b"\r\n")[0]) if at >= 0 else 0


def _main() -> None:
    given: dict[str, Any] = json.loads(sys.stdin.read())
    given["posts"] = [tuple(post) for post in given["posts"]]
    report = uvloop.run(_Generator(Plan(**given)).run())
    print(json.dumps(asdict(report)))


if __name__ == "__main__":
    _main()
