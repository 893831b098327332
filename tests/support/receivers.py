"""Receivers of HTTP pushes, good and bad, on loopback ports that the system picks.

    async with Receiver(in_turn(status(500), status(200))) as receiver:
        ...  # have something pushed to receiver.url
        await receiver.wait_for(2)
        assert receiver.requests[0].headers["webhook-id"] == ...

A receiver is strict about what it is sent: a request that is not plain HTTP/1.1 with a
`Content-Length` is answered 400 and written down in `violations`, which leaving the block asserts
to be empty. What it answers is its one argument: any of the answers below, or a function like them.
"""

import asyncio
import gzip
import ssl
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Self

from multidict import CIMultiDict, CIMultiDictProxy
from yarl import URL

_BYTES_A_MEGABYTE = 1024 * 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class ReceivedRequest:
    method: str
    target: str
    """As it stood in the request line: path and query, nothing decoded."""

    headers: CIMultiDictProxy[str]
    body: bytes
    connection: int
    """Counts the connections of a receiver from 1."""

    @property
    def query(self) -> dict[str, str]:
        return dict(URL(self.target, encoded=True).query)


Answer = Callable[[ReceivedRequest, asyncio.StreamWriter], Awaitable[None]]
"""Answers one request. The connection is closed if the answer closed the writer."""


class Violation(Exception):
    """The sender broke HTTP, or what this receiver accepts of it."""


class Receiver:
    """Listens while its block runs; keeps every request it got, in `requests`."""

    def __init__(
        self,
        answer: Answer | None = None,
        *,
        port: int = 0,
        host: str = "127.0.0.1",
        tls: ssl.SSLContext | None = None,
    ) -> None:
        self.answer: Answer = answer or status(200)
        self.requests: list[ReceivedRequest] = []
        self.violations: list[str] = []
        self.connections = 0
        self.server_names: list[str | None] = []
        """What each TLS handshake asked for (SNI), as it was asked."""
        self._port = port
        self._host = host
        self._tls = tls
        if tls is not None:
            tls.sni_callback = lambda _, name, __: self.server_names.append(name)
        self._server: asyncio.Server | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self._arrived = asyncio.Condition()

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(
            self._accept, self._host, self._port, ssl=self._tls
        )
        self._port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.stop()
        assert self.violations == []

    @property
    def port(self) -> int:
        return self._port

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._port}/receive"

    async def wait_for(self, count: int) -> None:
        """Return when `count` requests have arrived since the start."""
        async with self._arrived:
            await self._arrived.wait_for(lambda: len(self.requests) >= count)

    async def stop(self) -> None:
        """Stop listening and cut every connection; `port` stays known for a successor."""
        if self._server is not None:
            self._server.close()
            self._server = None
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        self.connections += 1
        try:
            await self._serve(reader, writer, self.connections)
        except Violation as exc:
            self.violations.append(str(exc))
            writer.write(b"HTTP/1.1 400 Bad Request\r\ncontent-length: 0\r\n\r\n")
        except (ConnectionError, asyncio.CancelledError):
            pass
        finally:
            writer.transport.abort() if writer.is_closing() else writer.close()
            with suppress(ConnectionError, asyncio.CancelledError):
                await writer.wait_closed()
            self._tasks.discard(task)

    async def _serve(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, connection: int
    ) -> None:
        while not writer.is_closing():
            request = await read_request(reader, connection)
            if request is None:
                return
            async with self._arrived:
                self.requests.append(request)
                self._arrived.notify_all()
            await self.answer(request, writer)
            if not writer.is_closing():
                await writer.drain()


async def read_request(reader: asyncio.StreamReader, connection: int) -> ReceivedRequest | None:
    """Return the next request of a connection, or None when it ended between two requests.

    Raises:
        Violation: it is not what a well-behaved sender sends.
    """
    try:
        head = await reader.readuntil(b"\r\n\r\n")
    except asyncio.IncompleteReadError as exc:
        if exc.partial:
            raise ConnectionResetError from exc
        return None
    request_line, *lines = head[:-4].decode("ascii").split("\r\n")
    method, target, version = request_line.split(" ")
    headers: CIMultiDict[str] = CIMultiDict()
    for line in lines:
        name, colon, value = line.partition(": ")
        if not colon or name in headers:
            raise Violation(f"header malformed or repeated: {line}")
        headers[name] = value
    if version != "HTTP/1.1" or "Host" not in headers or "Transfer-Encoding" in headers:
        raise Violation(f"not a plain request of HTTP/1.1: {request_line}")
    if not headers.get("Content-Length", "").isdigit():
        raise Violation("no Content-Length")
    try:
        body = await reader.readexactly(int(headers["Content-Length"]))
    except asyncio.IncompleteReadError as exc:
        raise ConnectionResetError from exc
    return ReceivedRequest(
        method=method,
        target=target,
        headers=CIMultiDictProxy(headers),
        body=body,
        connection=connection,
    )


def status(code: int, body: bytes = b"", **headers: str) -> Answer:
    """Answers properly; write headers with underscores: `retry_after="3"`."""
    fields = "".join(f"{name.replace('_', '-')}: {value}\r\n" for name, value in headers.items())
    head = f"HTTP/1.1 {code} Status\r\ncontent-length: {len(body)}\r\n{fields}\r\n"
    return raw(head.encode() + body)


def raw(answer: bytes) -> Answer:
    """Answers with exactly these bytes and waits for the next request."""

    async def answering(_: ReceivedRequest, writer: asyncio.StreamWriter) -> None:
        writer.write(answer)

    return answering


def raw_then_close(answer: bytes) -> Answer:
    """Answers with exactly these bytes and closes the connection."""

    async def answering(_: ReceivedRequest, writer: asyncio.StreamWriter) -> None:
        writer.write(answer)
        await writer.drain()
        writer.close()

    return answering


def in_turn(*answers: Answer) -> Answer:
    """Gives each answer once, and the last one for ever after."""
    left = list(answers)

    async def answering(request: ReceivedRequest, writer: asyncio.StreamWriter) -> None:
        await (left.pop(0) if len(left) > 1 else left[0])(request, writer)

    return answering


def once(event: asyncio.Event, answer: Answer) -> Answer:
    """Takes the request and answers when it is time."""

    async def answering(request: ReceivedRequest, writer: asyncio.StreamWriter) -> None:
        await event.wait()
        await answer(request, writer)

    return answering


def garbage() -> Answer:
    return raw_then_close(b"\x00\xff garbage, not HTTP \r\n\r\n" * 10)


def never() -> Answer:
    """Takes the request and never says a word."""

    async def answering(_: ReceivedRequest, writer: asyncio.StreamWriter) -> None:
        await asyncio.get_running_loop().create_future()

    return answering


def slowly(answer: bytes, *, interval_s: float = 1.0) -> Answer:
    """Sends `answer` a byte at a time."""

    async def answering(_: ReceivedRequest, writer: asyncio.StreamWriter) -> None:
        for byte in answer:
            writer.write(bytes([byte]))
            await writer.drain()
            await asyncio.sleep(interval_s)

    return answering


def endlessly(start: bytes, piece: bytes) -> Answer:
    """Sends `start` and then `piece` again and again, for as long as it is read."""

    async def answering(_: ReceivedRequest, writer: asyncio.StreamWriter) -> None:
        writer.write(start)
        while True:
            writer.write(piece)
            await writer.drain()
            await asyncio.sleep(0)

    return answering


def endless_headers() -> Answer:
    return endlessly(b"HTTP/1.1 200 OK\r\n", b"x-more: " + b"a" * 200 + b"\r\n")


def endless_header_line() -> Answer:
    return endlessly(b"HTTP/1.1 200 OK\r\nx-long: ", b"a" * 1000)


def endless_interim_answers() -> Answer:
    return endlessly(b"", b"HTTP/1.1 100 Continue\r\n\r\n")


def endless_body(code: int = 200) -> Answer:
    return endlessly(
        f"HTTP/1.1 {code} Status\r\ntransfer-encoding: chunked\r\n\r\n".encode(),
        b"1000\r\n" + b"x" * 4096 + b"\r\n",
    )


def huge_body(code: int = 200, size_bytes: int = 8 * _BYTES_A_MEGABYTE) -> Answer:
    return status(code, b"x" * size_bytes)


def huge_header(size_bytes: int = _BYTES_A_MEGABYTE) -> Answer:
    return status(200, x_huge="a" * size_bytes)


def gzip_bomb(code: int = 200) -> Answer:
    """A few kilobytes that unpack to 16 megabytes."""
    return status(code, gzip.compress(b"\0" * 16 * _BYTES_A_MEGABYTE), content_encoding="gzip")


def truncated_body() -> Answer:
    return raw_then_close(b"HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\nnot a hundred bytes")


def contradictory_length() -> Answer:
    return raw(b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\ncontent-length: 6\r\n\r\nhello!")


def more_than_announced() -> Answer:
    """A complete answer, followed by bytes that belong to nothing."""
    return raw(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok and something else")


def redirect(location: str, code: int = 307) -> Answer:
    return status(code, location=location)


def closes() -> Answer:
    """Takes the request and closes the connection without a word."""
    return raw_then_close(b"")


def closes_mid_way() -> Answer:
    """Closes within the headers of its answer."""
    return raw_then_close(b"HTTP/1.1 200 OK\r\ncontent-le")


def resets() -> Answer:
    """Cuts the connection hard, as a crashed server does."""

    async def answering(_: ReceivedRequest, writer: asyncio.StreamWriter) -> None:
        writer.transport.abort()

    return answering
