"""A decoder pool in the test's hand: it answers when and what the test says.

It keeps the real pool's promises (each `on_done` once, on the loop, never inside `submit`), so that
what holds with it holds with worker processes.
"""

import asyncio
from collections.abc import Callable

from protocols.decoders import (
    DecodeOutcome,
    DecodeRequest,
    DecoderPool,
    DecoderSettings,
    DecoderStatistics,
)
from protocols.errors import DecodeError

OnDone = Callable[[DecodeOutcome], None]


class StubPool(DecoderPool):
    """Decodes at once, except the decoders in `held`, which wait for `let_go`."""

    def __init__(self) -> None:
        super().__init__(DecoderSettings(workers=1))
        self.held: set[int] = set()
        self.errors: dict[int, DecodeError] = {}
        self.requests: list[DecodeRequest] = []
        self._waiting: list[tuple[DecodeRequest, OnDone]] = []
        self._has_grown = asyncio.Event()

    async def start(self) -> None:
        """Nothing to start."""

    async def stop(self, *, timeout_s: float) -> None:
        self._waiting.clear()

    def submit(self, request: DecodeRequest, on_done: OnDone) -> None:
        self.requests.append(request)
        if request.source.decoder_id in self.held:
            self._waiting.append((request, on_done))
            self._has_grown.set()
        else:
            asyncio.get_running_loop().call_soon(on_done, self._outcome(request))

    async def holds(self, requests: int) -> None:
        """Return once so many requests wait for `let_go`."""
        while len(self._waiting) < requests:
            self._has_grown.clear()
            await self._has_grown.wait()

    def let_go(self, decoder_id: int) -> None:
        """Answer what is held of this decoder, oldest first, and hold it no longer."""
        self.held.discard(decoder_id)
        waiting, self._waiting = self._waiting, []
        for request, on_done in waiting:
            self.submit(request, on_done)

    def release(self, decoder_id: int) -> None:
        self.errors.pop(decoder_id, None)

    def all_statistics(self) -> list[DecoderStatistics]:
        return []

    def _outcome(self, request: DecodeRequest) -> DecodeOutcome:
        error = self.errors.get(request.source.decoder_id)
        return DecodeOutcome(
            decoder_id=request.source.decoder_id,
            version=request.source.version,
            body=None if error else b'{"decoded":' + request.payload + b"}",
            error=error,
        )
