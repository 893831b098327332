"""A network between a client and a server on this machine that can be slow, cut, or silent.

Runs on the test's event loop. What it does to a connection it does at named moments: a test says with
`when` which request of the client it waits for, and how the connection is then lost.
"""

import asyncio
import contextlib
from asyncio import StreamReader, StreamWriter
from collections.abc import Callable
from enum import Enum, auto
from typing import Self


class Loss(Enum):
    """What becomes of a request when its connection is lost."""

    OF_REQUEST = auto()
    """The server never sees it, and learns of the loss."""
    OF_ANSWER = auto()
    """The server answers it, and the client is told nothing."""
    LATE = auto()
    """Only the client learns of the loss; the request is on its way until `deliver_late`."""


class LoopbackProxy:
    """Listens on a port of its own and passes on to `target_port`, until told otherwise."""

    def __init__(self, target_port: int, *, port: int = 0) -> None:
        """`port` is where to listen; 0 for any."""
        self._target_port = target_port
        self._wanted_port = port
        self._server: asyncio.Server | None = None
        self._links: set[_Link] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self._passing = asyncio.Event()
        self._passing.set()
        self.delay_s = 0.0
        """How long every piece of data takes, each way."""
        self.is_reachable = True
        """Where False, a new connection is closed at once."""
        self.distort: Callable[[bytes, bytes], bytes | None] = _as_it_is
        """What the client gets, for the last that it sent and what the server answers; None ends the
        connection."""
        self.connections = 0
        self.lost = asyncio.Event()
        """Set when the loss that was asked for has happened."""
        self._is_meant: Callable[[bytes], bool] | None = None
        self._loss = Loss.OF_REQUEST
        self._late: list[tuple[_Link, bytes]] = []

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", self._wanted_port)
        return self

    async def __aexit__(self, *_error: object) -> None:
        assert self._server is not None
        self._server.close()
        self.thaw()
        self.cut()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    @property
    def port(self) -> int:
        assert self._server is not None
        return int(self._server.sockets[0].getsockname()[1])

    def when(self, is_meant: Callable[[bytes], bool], loss: Loss) -> None:
        """Lose the connection at the next data from a client that are meant."""
        self.lost.clear()
        self._is_meant, self._loss = is_meant, loss

    def cut(self) -> None:
        """End every connection, both ways, at once."""
        for link in list(self._links):
            link.end()

    def freeze(self) -> None:
        """Pass nothing on any more; connections stay open."""
        self._passing.clear()

    def thaw(self) -> None:
        self._passing.set()

    async def deliver_late(self) -> None:
        """Let the requests arrive that were on their way when their client was lost."""
        for link, data in self._late:
            with contextlib.suppress(OSError):
                link.to_server.write(data)
                await link.to_server.drain()
        self._late.clear()

    async def _accept(self, from_client: StreamReader, to_client: StreamWriter) -> None:
        self.connections += 1
        if not self.is_reachable:
            to_client.transport.abort()
            return
        try:
            from_server, to_server = await asyncio.open_connection("127.0.0.1", self._target_port)
        except OSError:
            to_client.transport.abort()
            return
        link = _Link(to_client, to_server)
        self._links.add(link)
        for coroutine in (self._requests(link, from_client), self._answers(link, from_server)):
            task = asyncio.create_task(coroutine)
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def _requests(self, link: "_Link", source: StreamReader) -> None:
        while data := await self._next(source):
            if self._is_meant is not None and self._is_meant(data):
                self._is_meant = None
                if self._loss is Loss.LATE:
                    self._late.append((link, data))
                    link.to_client.transport.abort()
                    self.lost.set()
                    return
                if self._loss is Loss.OF_REQUEST:
                    break
                link.is_deaf = True
            link.asked = data
            await _send(link.to_server, data)
        if not any(late is link for late, _ in self._late):
            self._end(link)

    async def _answers(self, link: "_Link", source: StreamReader) -> None:
        while data := await self._next(source):
            distorted = self.distort(link.asked, data)
            if link.is_deaf or distorted is None:
                break
            await _send(link.to_client, distorted)
        self._end(link)

    async def _next(self, source: StreamReader) -> bytes:
        try:
            data = await source.read(1 << 16)
        except OSError:
            return b""
        await self._passing.wait()
        if self.delay_s:
            await asyncio.sleep(self.delay_s)
        return data

    def _end(self, link: "_Link") -> None:
        link.end()
        self._links.discard(link)
        self.lost.set()


class _Link:
    """One connection through the proxy."""

    def __init__(self, to_client: StreamWriter, to_server: StreamWriter) -> None:
        self.to_client = to_client
        self.to_server = to_server
        self.is_deaf = False
        self.asked = b""
        """What the client has sent last."""

    def end(self) -> None:
        self.to_client.transport.abort()
        self.to_server.transport.abort()


def _as_it_is(_asked: bytes, answer: bytes) -> bytes:
    return answer


async def _send(writer: StreamWriter, data: bytes) -> None:
    with contextlib.suppress(OSError):
        writer.write(data)
        await writer.drain()
