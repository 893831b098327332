"""The HTTP server: aiohttp's, with deadlines for those who open a connection and dawdle.

A connection whose first request head does not arrive in time is closed, and one that idles between
requests too; that a head arrives byte by byte later on counts as idling. Bodies have a deadline of
their own (`web/body.py`). What is not HTTP is answered in the API's shape, without a trace.
"""

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from http import HTTPStatus
from typing import Any

import orjson
import structlog
from aiohttp import hdrs
from aiohttp.web import BaseRequest, RequestHandler, Response, Server, StreamResponse

from web.events import REQUEST_MALFORMED

_log = structlog.get_logger()

# What was refused unread is read and dropped for so long, so that the answer gets through.
_LINGERING_S = 2.0
# Who answers; left alone, aiohttp names itself and the versions of itself and of Python.
_SERVER_NAME = "Tingbro"


class HubServer(Server):
    """Make it on a running loop; `aiohttp.web.ServerRunner(server)` runs it."""

    def __init__(
        self,
        handler: Callable[[BaseRequest], Awaitable[StreamResponse]],
        *,
        head_timeout_s: float,
        keep_alive_s: float,
    ) -> None:
        super().__init__(handler)
        self._head_timeout_s = head_timeout_s
        self._keep_alive_s = keep_alive_s

    def __call__(self) -> RequestHandler:
        return _Connection(
            self, head_timeout_s=self._head_timeout_s, keep_alive_s=self._keep_alive_s
        )


class _Connection(RequestHandler):
    __slots__ = ("_head_timeout_s", "_head_timer")

    def __init__(self, server: Server, *, head_timeout_s: float, keep_alive_s: float) -> None:
        super().__init__(
            server,
            loop=asyncio.get_running_loop(),
            keepalive_timeout=keep_alive_s,
            # The metrics tell what an access log would, at a tenth of its cost.
            access_log=None,  # type: ignore[arg-type]  # None switches it off, which aiohttp does not declare
            lingering_time=_LINGERING_S,
            # A compressed body is refused; it must not have been blown up before that.
            auto_decompress=False,
        )
        self._head_timeout_s = head_timeout_s
        self._head_timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        loop = asyncio.get_running_loop()
        self._head_timer = loop.call_later(self._head_timeout_s, self._close_if_silent)

    def connection_lost(self, exc: BaseException | None) -> None:
        if self._head_timer is not None:
            self._head_timer.cancel()
        super().connection_lost(exc)

    def _close_if_silent(self) -> None:
        # aiohttp counts the heads it has read and shows the count to subclasses only.
        if self._request_count == 0:
            self.force_close()

    def finish_response(
        self, request: BaseRequest, resp: StreamResponse, start_time: float | None
    ) -> Coroutine[Any, Any, tuple[StreamResponse, bool]]:
        resp.headers[hdrs.SERVER] = _SERVER_NAME
        return super().finish_response(request, resp, start_time)

    def handle_error(
        self,
        request: BaseRequest,
        status: int = 500,
        exc: BaseException | None = None,
        message: str | None = None,
    ) -> StreamResponse:
        """Answer what the parser could not make sense of."""
        _log.debug(REQUEST_MALFORMED, address=request.remote, status=status)
        if request.writer.output_size > 0:
            raise ConnectionError("A part of the answer has been sent already.")
        body = {
            "statusCode": status,
            "message": "This is not an HTTP request that can be understood.",
            "error": HTTPStatus(status).phrase,
        }
        response = Response(status=status, body=orjson.dumps(body), content_type="application/json")
        response.force_close()
        return response
