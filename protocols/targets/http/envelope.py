"""Bodies for receivers that want to be told what they get: `{"type", "timestamp", "data"}`.

`data` is the decoder's output byte for byte, set into the text around it: parsing it and writing it again
would change numbers (21.50 becomes 21.5) and cost more than the push itself.

Source: Standard Webhooks 1.0.0, "Payload structure"; `timestamp` is when the event happened, which for a
delivery is when it was made.
"""

from collections.abc import Sequence
from datetime import datetime
from typing import Final

from protocols.targets._contract import DECODED, Push

CONTENT_TYPE: Final = "application/json"

OVERHEAD_BYTES: Final = 512
"""What an envelope in a batch takes at most besides the body, the comma behind it included: two ids of 36
characters, a number of 19 digits, an instant, a type, and their names."""

_TYPE: Final = DECODED.encode()


def enveloped(push: Push) -> bytes:
    """Return the body of a push that travels alone.

    What is about the hub itself comes complete, and is left as it is.
    """
    if push.event_type != DECODED:
        return push.body
    return b'{"type":"%b","timestamp":"%b","data":%b}' % (
        _TYPE,
        _instant(push.created_at),
        push.body,
    )


def batched(batch: Sequence[Push]) -> bytes:
    """Return one JSON array with an envelope for each push, in their order.

    Each has an `id` to know a repeat by, and names its message and its device. What is about the hub
    itself is among them as it came.
    """
    return b"[%b]" % b",".join([_member(push) for push in batch])


def _member(push: Push) -> bytes:
    if push.event_type != DECODED:
        return push.body
    return (
        b'{"id":"%b","type":"%b","timestamp":"%b","messageId":"%b","deviceId":%d,%b"data":%b}'
        % (
            push.delivery_id.encode(),
            _TYPE,
            _instant(push.created_at),
            push.message_id.encode(),
            push.device_id,
            b'"isReplay":true,' if push.is_replay else b"",
            push.body,
        )
    )


def _instant(at: datetime) -> bytes:
    return at.isoformat(timespec="milliseconds").replace("+00:00", "Z").encode()
