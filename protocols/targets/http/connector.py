"""Connections that only go where the guard lets them.

The client's own connector looks names up, trusts what it finds, keeps it for a while, and asks nobody
about an address that is written out. This one asks the guard for every connection and connects to the
addresses that it has judged; the name goes on in `Host`, in SNI and in the check of the certificate.
A connection that is kept goes where it went when it was judged: what its name stands for meanwhile
cannot redirect it. It is given up after seconds without use, and after a minute in any case, so that a
receiver that has moved, or may not be reached any more, is noticed under the steadiest traffic too.

Addresses are not remembered: each new connection asks anew.
"""

import asyncio
import errno
import os
import socket
import ssl
import time
from collections.abc import Awaitable, Sequence
from typing import Final

import aiohappyeyeballs
import aiohttp
from aiohttp.client_proto import ResponseHandler
from aiohttp.connector import Connection
from aiohttp.tracing import Trace

from protocols.targets.guarding.guard import Guard
from protocols.targets.http.wire_record import WireRecord, current_record

# Whoever takes longer is not there. For all addresses of a name together.
CONNECT_TIMEOUT_S: Final = 3.0
TLS_TIMEOUT_S: Final = 5.0
# RFC 8305, section 8: how long one address has to itself before the next is tried beside it.
_NEXT_ADDRESS_S: Final = 0.25
# Many servers drop a connection that was idle for 5 s (Node's default, for one). A POST sent into
# that moment is lost and may not be repeated blindly, so idle connections are given up before.
_KEEPALIVE_S: Final = 4.0
MAX_AGE_S: Final = 60.0


class _Protocol(ResponseHandler):
    """Knows where it is connected to, which a transport that has ended does not."""

    def __init__(self, loop: asyncio.AbstractEventLoop, address: str, *, ends_at_s: float) -> None:
        """It carries no further request once `time.monotonic` has reached `ends_at_s`."""
        super().__init__(loop)
        self.address = address
        self._ends_at_s = ends_at_s

    @property
    def should_close(self) -> bool:
        return super().should_close or time.monotonic() >= self._ends_at_s


class GuardedConnector(aiohttp.BaseConnector):
    """Belongs to one session. The number of connections is bounded by whoever sends: here a target
    that holds many would starve another."""

    def __init__(
        self, guard: Guard, *, tls: ssl.SSLContext | None = None, max_age_s: float = MAX_AGE_S
    ) -> None:
        super().__init__(limit=0, keepalive_timeout=_KEEPALIVE_S)
        self._guard = guard
        self._tls = tls
        self._max_age_s = max_age_s
        # What is not allowed as an address is not allowed in a request either.
        self.allowed_protocol_schema_set = frozenset(
            {"http", "https"} if guard.rules.allow_http else {"https"}
        )

    def close(self, *, abort_ssl: bool = True) -> Awaitable[None]:
        """Let go of all connections, without waiting for anybody to say goodbye."""
        return super().close(abort_ssl=abort_ssl)

    async def connect(
        self, req: aiohttp.ClientRequest, traces: list[Trace], timeout: aiohttp.ClientTimeout
    ) -> Connection:
        connection = await super().connect(req, traces, timeout)
        if (record := current_record()) is not None:
            protocol = connection.protocol
            record.connected(protocol.address if isinstance(protocol, _Protocol) else None)
        return connection

    async def _create_connection(
        self, req: aiohttp.ClientRequest, traces: list[Trace], timeout: aiohttp.ClientTimeout
    ) -> ResponseHandler:
        """Open a connection for `req`. Time and size of the whole are limited by the request.

        Raises:
            DeliveryError: the guard does not let it through, or there is no such name.
            aiohttp.ClientConnectorError: the other end is not there, or is not who it should be.
            TimeoutError: it did not come about in time.
        """
        if req.proxy is not None:
            raise ValueError("A proxy would connect to what no guard has judged.")
        host, port = req.url.raw_host, req.url.port
        assert host is not None
        assert port is not None
        record = current_record() or WireRecord(0)
        try:
            addresses = await self._resolve(host, port, record)
            context = await self._context(req) if req.is_ssl() else None
            connected = await self._reach(addresses, port, record)
            protocol = await self._speak(connected, context, host, record)
        except (ssl.SSLCertVerificationError, ssl.CertificateError) as exc:
            raise aiohttp.ClientConnectorCertificateError(req.connection_key, exc) from exc
        except (ssl.SSLEOFError, ssl.SSLZeroReturnError) as exc:
            reset = ConnectionResetError(errno.ECONNRESET, os.strerror(errno.ECONNRESET))
            raise aiohttp.ClientConnectorError(req.connection_key, reset) from exc
        except ssl.SSLError as exc:
            raise aiohttp.ClientConnectorSSLError(req.connection_key, exc) from exc
        except TimeoutError as exc:
            if exc.errno is None:
                raise
            raise aiohttp.ClientConnectorError(req.connection_key, exc) from exc
        except OSError as exc:
            raise aiohttp.ClientConnectorError(req.connection_key, exc) from exc
        return protocol

    async def _resolve(self, host: str, port: int, record: WireRecord) -> Sequence[str]:
        began_s = time.perf_counter()
        try:
            addresses = await self._guard.resolve(host, port)
        finally:
            record.dns_s = time.perf_counter() - began_s
        record.address = ", ".join(addresses)
        return addresses

    async def _reach(
        self, addresses: Sequence[str], port: int, record: WireRecord
    ) -> socket.socket:
        began_s = time.perf_counter()
        try:
            async with asyncio.timeout(CONNECT_TIMEOUT_S):
                connected = await aiohappyeyeballs.start_connection(
                    [_address_info(address, port) for address in addresses],
                    happy_eyeballs_delay=_NEXT_ADDRESS_S,
                )
        except RuntimeError as exc:  # uvloop's word for a socket that was closed under it.
            raise ConnectionError(errno.ECONNABORTED, os.strerror(errno.ECONNABORTED)) from exc
        finally:
            record.connect_s = time.perf_counter() - began_s
        try:
            record.address = str(connected.getpeername()[0])
        except OSError:  # Reset in the same moment.
            connected.close()
            raise
        return connected

    async def _speak(
        self,
        connected: socket.socket,
        context: ssl.SSLContext | None,
        host: str,
        record: WireRecord,
    ) -> ResponseHandler:
        began_s = time.perf_counter()
        try:
            async with asyncio.timeout(TLS_TIMEOUT_S):
                _, protocol = await asyncio.get_running_loop().create_connection(
                    lambda: _Protocol(
                        self._loop,
                        record.address or host,
                        ends_at_s=time.monotonic() + self._max_age_s,
                    ),
                    sock=connected,
                    ssl=context,
                    server_hostname=None if context is None else host,
                )
        finally:
            if context is not None:
                record.tls_s = time.perf_counter() - began_s
        return protocol

    async def _context(self, req: aiohttp.ClientRequest) -> ssl.SSLContext:
        """Return what the other end has to prove itself by; a request may bring its own."""
        if isinstance(req.ssl, ssl.SSLContext):
            return req.ssl
        if self._tls is None:
            # Reads all authorities of the system from disk, which nobody needs who sends no https.
            self._tls = await asyncio.to_thread(_system_tls)
        return self._tls


def _system_tls() -> ssl.SSLContext:
    context = ssl.create_default_context()
    context.set_alpn_protocols(["http/1.1"])
    return context


def _address_info(
    address: str, port: int
) -> tuple[int, int, int, str, tuple[str, int] | tuple[str, int, int, int]]:
    if ":" in address:
        target: tuple[str, int, int, int] = (address, port, 0, 0)
        return socket.AF_INET6, socket.SOCK_STREAM, socket.IPPROTO_TCP, "", target
    return socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP, "", (address, port)
