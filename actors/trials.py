"""Trials of decoders: a script that somebody is writing, run on one payload."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime

from protocols.decoders import DecodeRequest, DecoderPool, DecoderSource
from protocols.errors import HubFull

# Each holds its script and payload until a worker has run it.
_LIMIT = 32


@dataclass(frozen=True, slots=True, kw_only=True)
class DecoderTrial:
    """What became of one trial of a decoder; exactly one of `body` and `error` is None."""

    body: bytes | None
    error: str | None
    warnings: tuple[str, ...]
    logs: tuple[str, ...]


class DecoderTrials:
    """Runs them on a pool that has been started, a limited number at a time."""

    def __init__(self, pool: DecoderPool, now: Callable[[], datetime]) -> None:
        self._pool = pool
        self._now = now
        self._waiting = 0

    async def run(self, code: str, payload: bytes, metadata: bytes) -> DecoderTrial:
        """Run a script on a payload without keeping anything and without blaming anybody.

        Raises: HubFull when too many trials wait already.
        """
        if self._waiting >= _LIMIT:
            raise HubFull("Too many decoders are being tried at once.")
        request = DecodeRequest(
            source=DecoderSource(decoder_id=0, code=code),
            payload=payload,
            metadata=metadata,
            received_at=self._now(),
        )
        self._waiting += 1
        try:
            outcome = await self._pool.test(request)
        finally:
            self._waiting -= 1
        return DecoderTrial(
            body=outcome.body,
            error=None if outcome.error is None else str(outcome.error),
            warnings=outcome.warnings,
            logs=outcome.logs,
        )
