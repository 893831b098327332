"""What listens in place of the hub while its database is away at the start.

Devices and load balancers are told to come back instead of being refused the connection, which for many
of them means that the address is wrong.
"""

import contextlib
import socket
import ssl
from collections.abc import AsyncIterator, Sequence
from datetime import UTC, datetime
from typing import Final

from aiohttp.web import BaseRequest, ServerRunner, SockSite, StreamResponse

from protocols.errors import StorageUnavailable
from web.answers import error_answer, json_response
from web.server import HubServer

# Who waits for an answer here has it at once, and nobody waits for the end of it.
_SHUTDOWN_TIMEOUT_S: Final = 1.0
_HEAD_TIMEOUT_S: Final = 10.0
_KEEP_ALIVE_S: Final = 5.0


@contextlib.asynccontextmanager
async def waiting_room(
    reason: str, sockets: Sequence[socket.socket], *, ssl_context: ssl.SSLContext | None
) -> AsyncIterator[None]:
    """Listen on `sockets`, which stay open, and answer everything with 503 until the block is left.

    The hub may begin to listen on them before that: nobody is refused in between.
    """

    async def turn_away(request: BaseRequest) -> StreamResponse:
        match request.path:
            case "/readyz":
                check = {"name": "database", "ok": False, "detail": reason}
                return json_response({"status": "not ready", "checks": [check]}, status=503)
            case "/healthz":
                body = {"status": "failing", "actor": None, "reason": reason}
                return json_response(body, status=503)
            case _:
                return error_answer(request, StorageUnavailable(reason), datetime.now(UTC))

    server = HubServer(turn_away, head_timeout_s=_HEAD_TIMEOUT_S, keep_alive_s=_KEEP_ALIVE_S)
    runner = ServerRunner(server, shutdown_timeout=_SHUTDOWN_TIMEOUT_S)
    await runner.setup()
    try:
        for bound in sockets:
            # Whoever listens closes what it has listened on.
            await SockSite(runner, bound.dup(), ssl_context=ssl_context).start()
        yield
    finally:
        await runner.cleanup()
