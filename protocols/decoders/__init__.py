"""Payload decoders: JavaScript, run in processes that may be killed.

The hub hands a `DecoderPool` requests and gets outcomes. It never runs a script itself and never
imports the engine: a hostile script may loop in native code, eat memory or crash the engine, and
then costs one worker process and the messages of its own device.

What a script may look like (the first that fits decides, see `Convention`):

- LoRaWAN: `decodeUplink({bytes, fPort, recvTime, variables})` returning `{data, errors, warnings}`;
- OS2iot: `decode(payload, metadata)` returning the decoded message. It also decides when its own
  text calls one of the others (a wrapper round a vendor's script), and does not when `Decoder` or
  `Decode` call it (a helper);
- older LoRaWAN: `Decoder(bytes, port)`, `Decode(fPort, bytes, variables)`, returning the message.

`encodeDownlink` and `decodeDownlink` are called when a request asks for them. Functions count
however they are defined: declared, assigned to a variable, or exported through `module.exports`.
"""

from protocols.decoders.events import PoolEvent
from protocols.decoders.pool import DecoderPool, PoolHealth
from protocols.decoders.request import (
    Convention,
    DecodeOutcome,
    DecodeRequest,
    DecoderFunction,
    DecoderSource,
)
from protocols.decoders.settings import DecoderSettings
from protocols.decoders.statistics import DecoderStatistics

__all__ = [
    "Convention",
    "DecodeOutcome",
    "DecodeRequest",
    "DecoderFunction",
    "DecoderPool",
    "DecoderSettings",
    "DecoderSource",
    "DecoderStatistics",
    "PoolEvent",
    "PoolHealth",
]
