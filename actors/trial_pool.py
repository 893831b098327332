"""TrialPoolActor: decoder processes for trials only, started by the first one.

A process that takes messages in decodes none. Most of its life nobody tries a decoder out there.
"""

from dataclasses import dataclass
from typing import Any

from actors.runtime import Actor
from protocols.decoders import DecoderPool


@dataclass(frozen=True, slots=True)
class StartDecoders:
    """Answered when the decoder processes are there. Raises: DecoderUnavailable."""


class TrialPoolActor(Actor):
    """Owns the pool; trials themselves are run by `DecoderTrials`."""

    def __init__(self, *, pool: DecoderPool) -> None:
        super().__init__()
        self._pool = pool
        self._is_started = False

    async def on_receive(self, message: Any) -> None:
        match message:
            case StartDecoders():
                if not self._is_started:
                    await self._pool.start()
                    self._is_started = True
            case _:
                raise TypeError(f"TrialPoolActor does not know {type(message).__name__}")

    async def on_stop(self) -> None:
        await self._pool.stop(timeout_s=1.0)

    async def on_restart(self, error: Exception | None) -> None:
        await self.on_stop()
