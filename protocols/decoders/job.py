"""One request on its way through the pool."""

from collections.abc import Callable
from typing import TYPE_CHECKING

from protocols.decoders.request import DecodeOutcome, DecodeRequest

if TYPE_CHECKING:
    from protocols.decoders.record import DecoderRecord


class Job:
    """`losses` counts the workers that died with it unanswered. `record` is None for a test."""

    __slots__ = (
        "is_trial",
        "isolated",
        "losses",
        "on_done",
        "outcome",
        "received_ms",
        "record",
        "request",
        "sequence",
        "standing",
        "version_key",
    )

    def __init__(
        self,
        sequence: int,
        request: DecodeRequest,
        on_done: Callable[[DecodeOutcome], None],
        record: "DecoderRecord | None",
    ) -> None:
        self.sequence = sequence
        self.request = request
        self.on_done = on_done
        self.record = record
        self.version_key = (request.source.decoder_id, request.source.version)
        self.standing = None if record is None else record.standing(self.version_key[1])
        self.received_ms = int(request.received_at.timestamp() * 1000)
        self.losses = 0
        self.outcome: DecodeOutcome | None = None
        # A worker died while this ran or for unknown reasons: it travels alone from then on.
        self.isolated = False
        # The first call of its version, with a shorter limit.
        self.is_trial = False
