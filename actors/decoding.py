"""DecodingActor: owns the pool of decoder processes.

Outcomes go straight to whoever asked; when the actor stops or is replaced, the outcomes of the pool
that goes away are dropped, because the messages behind them are still in the journal and would
otherwise be written as failed although nobody has tried them.
"""

from collections.abc import Callable
from functools import partial
from typing import Any

from actors.messages import DecodeUplink
from actors.runtime import Actor
from protocols.decoders import DecodeOutcome, DecoderPool


class DecodingActor(Actor):
    """One for each process; see `protocols.decoders` for what the pool itself guarantees."""

    def __init__(self, *, pool: DecoderPool) -> None:
        super().__init__()
        self._pool = pool
        self._forward = True

    async def on_start(self) -> None:
        await self._pool.start()

    def on_receive(self, message: Any) -> None:
        match message:
            case DecodeUplink():
                self._pool.submit(message.request, partial(self._pass_on, message.on_done))
            case _:
                raise TypeError(f"DecodingActor does not know {type(message).__name__}")

    async def on_stop(self) -> None:
        self._forward = False
        await self._pool.stop(timeout_s=2.0)

    async def on_restart(self, error: Exception | None) -> None:
        await self.on_stop()

    def _pass_on(self, on_done: Callable[[DecodeOutcome], None], outcome: DecodeOutcome) -> None:
        if self._forward:
            on_done(outcome)
