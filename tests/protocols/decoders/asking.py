"""How the decoder tests put their questions."""

import itertools
import json
from datetime import UTC, datetime
from typing import Any

from protocols.decoders import (
    DecodeOutcome,
    DecodeRequest,
    DecoderFunction,
    DecoderPool,
    DecoderSettings,
    DecoderSource,
)

RECEIVED_AT = datetime(2024, 5, 6, 7, 8, 9, 123000, tzinfo=UTC)

_ids = itertools.count(1)


def quick_settings(**changes: Any) -> DecoderSettings:
    """Two workers, no shorter trials and no rests after a strike (`test_rests.py` has those);
    everything else as in production unless a test changes it."""
    settings = {"workers": 2, "trial_limit_s": 60.0, "rest_factor": 0.0}
    return DecoderSettings(**{**settings, **changes})


def source(code: str, decoder_id: int | None = None) -> DecoderSource:
    return DecoderSource(decoder_id=next(_ids) if decoder_id is None else decoder_id, code=code)


def request(
    code: str | DecoderSource,
    payload: Any = None,
    *,
    metadata: Any = None,
    function: DecoderFunction = DecoderFunction.UPLINK,
) -> DecodeRequest:
    return DecodeRequest(
        source=source(code) if isinstance(code, str) else code,
        payload=json.dumps({} if payload is None else payload).encode(),
        metadata=json.dumps({} if metadata is None else metadata).encode(),
        received_at=RECEIVED_AT,
        function=function,
    )


async def ask(pool: DecoderPool, code: str | DecoderSource, payload: Any = None) -> DecodeOutcome:
    return await pool.decode(request(code, payload))


def body_of(outcome: DecodeOutcome) -> Any:
    """The decoded message. Fails the test when there is an error instead."""
    assert outcome.error is None, outcome.error
    assert outcome.body is not None
    return json.loads(outcome.body)
