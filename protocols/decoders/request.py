"""What the pool is asked and what it answers."""

import hashlib
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum

from protocols.errors import DecodeError


class DecoderFunction(StrEnum):
    """Which of a script's functions to call."""

    UPLINK = "uplink"
    """Device to hub: whichever uplink convention the script follows."""
    ENCODE_DOWNLINK = "encodeDownlink"
    DECODE_DOWNLINK = "decodeDownlink"


class Convention(StrEnum):
    """The function that ran. Its name is the name of the convention."""

    DECODE_UPLINK = "decodeUplink"
    DECODE_PAYLOAD = "decode"
    DECODER = "Decoder"
    DECODE = "Decode"
    ENCODE_DOWNLINK = "encodeDownlink"
    DECODE_DOWNLINK = "decodeDownlink"


@dataclass(frozen=True, slots=True, kw_only=True)
class DecoderSource:
    """A decoder's script. Build it once per version and keep it: `version` is a hash of the code."""

    decoder_id: int
    code: str
    version: str = field(init=False)
    code_bytes: bytes = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        code_bytes = self.code.encode("utf-8", "replace")
        object.__setattr__(self, "code_bytes", code_bytes)
        object.__setattr__(self, "version", hashlib.sha256(code_bytes).hexdigest()[:16])


@dataclass(frozen=True, slots=True, kw_only=True)
class DecodeRequest:
    """One message for one decoder.

    `payload` and `metadata` are JSON texts in UTF-8; `metadata` is an object (its `variables`, if an
    object, are the LoRaWAN `variables`) and must hold no secrets: the script sees all of it.
    For ENCODE_DOWNLINK the payload is what to encode, or `{"data": what to encode, "fPort": n}`.
    """

    source: DecoderSource
    payload: bytes
    metadata: bytes
    received_at: datetime
    function: DecoderFunction = DecoderFunction.UPLINK


@dataclass(frozen=True, slots=True, kw_only=True)
class DecodeOutcome:
    """What became of one request: either `body` or `error` is None, never both.

    `body` is compact JSON in UTF-8 that strict parsers accept: not null, no lone surrogates, at most
    64 levels deep. `logs` are the last 50 lines the script wrote to its console. `convention` is
    None when no function was called. `wall_s` and `cpu_s` are the script's own, loading included.
    """

    decoder_id: int
    version: str
    body: bytes | None
    warnings: tuple[str, ...] = ()
    logs: tuple[str, ...] = ()
    error: DecodeError | None = None
    cpu_s: float = 0.0
    wall_s: float = 0.0
    convention: Convention | None = None
