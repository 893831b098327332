"""`tingbro listen`: a small receiver that shows what is pushed to it.

For the tour, for integrators who want to see what will reach them, and with `--quiet` as the
counting end of a load test. It can be told to fail, to be slow and to want an authorization, so
that retries and their unchanging `webhook-id` can be watched.
"""

import argparse
import asyncio
import hmac
import json
import signal
import sys
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import TextIO, TypeVar

from aiohttp import web

DEFAULT_PORT = 9000
# Ids beyond these are forgotten, the oldest first: about 100 MB.
_REMEMBERED_IDS = 1_000_000
_FAILING_STATUS = 503

_Number = TypeVar("_Number", int, float)


@dataclass(slots=True)
class Totals:
    received: int = 0
    accepted: int = 0
    deliveries: int = 0
    """Different ids among the accepted."""
    repeats: int = 0
    """Accepted again, under an id that had been accepted before."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add what `listen` understands to the parser of its command."""
    add = parser.add_argument
    add("--host", default="127.0.0.1", help="address to listen on (default: %(default)s)")
    add(
        "--port",
        type=_number(int, 0, 65_535),
        default=DEFAULT_PORT,
        help="port to listen on; 0 picks a free one (default: %(default)s)",
    )
    add(
        "--fail-first",
        metavar="N",
        type=_number(int, 0),
        default=0,
        help=f"answer the first N pushes with {_FAILING_STATUS}",
    )
    add(
        "--status",
        metavar="CODE",
        type=_number(int, 200, 599),
        default=204,
        help="what to answer (default: %(default)s)",
    )
    add(
        "--delay",
        metavar="S",
        type=_number(float, 0),
        default=0.0,
        help="seconds to wait before every answer",
    )
    add("--authorization", metavar="VALUE", help="answer 401 unless Authorization is VALUE")
    add("--json", action="store_true", help="print one line of JSON for each push")
    add("--quiet", action="store_true", help="only count, and print the totals at the end")


async def listen(options: argparse.Namespace) -> None:
    """Receive until SIGINT or SIGTERM, then print the totals.

    Raises:
        OSError: the address cannot be listened on.
    """
    listener = Listener(options, sys.stdout)
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop.set)
    runner = web.ServerRunner(web.Server(listener.answer), access_log=None)
    await runner.setup()
    try:
        site = web.TCPSite(runner, options.host, options.port, shutdown_timeout=1)
        await site.start()
        host, port = runner.addresses[0][:2]
        listener.announce(f"http://{f'[{host}]' if ':' in host else host}:{port}/")
        await stop.wait()
    finally:
        await runner.cleanup()
        listener.conclude()


class Listener:
    """Answers pushes as `options` say and writes what it sees to `out`."""

    def __init__(
        self,
        options: argparse.Namespace,
        out: TextIO,
        now: Callable[[], datetime] = lambda: datetime.now().astimezone(),
    ) -> None:
        self.totals = Totals()
        self._options = options
        self._out = out
        self._now = now
        self._attempts: dict[str, int] = {}
        self._accepted: dict[str, None] = {}

    def announce(self, url: str) -> None:
        if self._options.json:
            self._write(json.dumps({"listening": url}))
        else:
            self._write(f"Listening on {url} (stop with Ctrl-C)")

    async def answer(self, request: web.BaseRequest) -> web.StreamResponse:
        """Take one push in, show it and answer it."""
        body = await request.read()
        if self._options.delay:
            await asyncio.sleep(self._options.delay)
        status = self._judge(request.headers.get("Authorization"))
        attempt = self._count(request.headers.get("webhook-id"), status)
        if not self._options.quiet:
            show = self._show_json if self._options.json else self._show
            show(request, body, status, attempt)
        return web.Response(status=status)

    def conclude(self) -> None:
        if self._options.json:
            self._write(json.dumps({"totals": asdict(self.totals)}))
        else:
            self._write(
                "Received {received}, accepted {accepted}: {deliveries} deliveries and "
                "{repeats} repeats.".format(**asdict(self.totals))
            )

    def _judge(self, authorization: str | None) -> int:
        self.totals.received += 1
        wanted: str | None = self._options.authorization
        if wanted is not None and not hmac.compare_digest(
            wanted.encode(errors="replace"), (authorization or "").encode(errors="replace")
        ):
            return 401
        if self.totals.received <= self._options.fail_first:
            return _FAILING_STATUS
        status: int = self._options.status
        return status

    def _count(self, delivery_id: str | None, status: int) -> int:
        """Return which attempt at its delivery this is, as far as is remembered."""
        is_accepted = 200 <= status < 300
        self.totals.accepted += is_accepted
        if delivery_id is None:
            self.totals.deliveries += is_accepted
            return 1
        if is_accepted:
            is_repeat = delivery_id in self._accepted
            self.totals.repeats += is_repeat
            self.totals.deliveries += not is_repeat
            self._accepted[delivery_id] = None
            _forget_oldest(self._accepted)
        attempt = self._attempts.get(delivery_id, 0) + 1
        self._attempts[delivery_id] = attempt
        _forget_oldest(self._attempts)
        return attempt

    def _show(self, request: web.BaseRequest, body: bytes, status: int, attempt: int) -> None:
        lines = [
            f"{self._now():%H:%M:%S.%f}"[:-3] + f"  {request.method} {request.raw_path} -> {status}"
        ]
        if "webhook-id" in request.headers:
            mark = f"  (attempt {attempt})" if attempt > 1 else ""
            lines.append(f"  webhook-id          {request.headers['webhook-id']}{mark}")
        lines += [
            f"  {name:<19} {request.headers[name]}"
            for name in ("tingbro-message-id", "tingbro-replay")
            if name in request.headers
        ]
        lines += [f"  {line}" for line in _readable(body).splitlines()]
        self._write("\n".join([*map(_harmless, lines), ""]))

    def _show_json(self, request: web.BaseRequest, body: bytes, status: int, attempt: int) -> None:
        push = {
            "receivedAt": self._now().isoformat(timespec="milliseconds"),
            "method": request.method,
            "path": request.raw_path,
            "status": status,
            "attempt": attempt,
            "headers": {name.lower(): value for name, value in request.headers.items()},
            "body": body.decode(errors="replace"),
        }
        with suppress(ValueError):
            push["json"] = json.loads(body)
        self._write(json.dumps(push))

    def _write(self, text: str) -> None:
        self._out.write(text + "\n")
        self._out.flush()


def _readable(body: bytes) -> str:
    try:
        return json.dumps(json.loads(body), indent=2, ensure_ascii=False)
    except (ValueError, RecursionError):
        return body.decode(errors="replace") or "(no body)"


def _harmless(line: str) -> str:
    """Keep what a sender wrote from steering the terminal."""
    return "".join(character if character.isprintable() else "\ufffd" for character in line)


def _forget_oldest(remembered: dict[str, int] | dict[str, None]) -> None:
    if len(remembered) > _REMEMBERED_IDS:
        del remembered[next(iter(remembered))]


def _number(
    kind: type[_Number], lowest: _Number, highest: _Number | None = None
) -> Callable[[str], _Number]:
    def parse(text: str) -> _Number:
        value = kind(text)
        if not lowest <= value <= (value if highest is None else highest):
            limits = f"at least {lowest}" if highest is None else f"from {lowest} to {highest}"
            raise argparse.ArgumentTypeError(f"{text} is not {limits}")
        return value

    parse.__name__ = "number"
    return parse
