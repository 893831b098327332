"""The headers by which a receiver knows a push: the same for every kind that speaks HTTP.

`webhook-id` names the delivery, or the batch, and is the same on every attempt; `webhook-timestamp` is
when this attempt was made, and `webhook-signature` signs both and the body. `tingbro-message-id` names
the message, and `tingbro-replay: 1` marks what a person asked to have sent again.

Source: Standard Webhooks 1.0.0, for the `webhook-` headers.
"""

from collections.abc import Callable, Sequence

from aiohttp.hdrs import CONTENT_TYPE
from multidict import istr

from protocols.targets._contract import Push
from protocols.targets.http.signing import Signer, SigningKey

# Names that are already folded cost less at every push.
_WEBHOOK_ID = istr("webhook-id")
_WEBHOOK_TIMESTAMP = istr("webhook-timestamp")
_WEBHOOK_SIGNATURE = istr("webhook-signature")
_MESSAGE_ID = istr("tingbro-message-id")
_REPLAY = istr("tingbro-replay")


class WebhookHeaders:
    """Makes those of one target, with the keys that are valid at each attempt."""

    def __init__(self, keys: Sequence[SigningKey], clock_s: Callable[[], float]) -> None:
        self._signer = Signer(keys)
        self._clock_s = clock_s

    def of(
        self, push: Push, body: bytes, content_type: str
    ) -> tuple[dict[istr, str], tuple[str, ...]]:
        """Return the headers of `body`, which carries this push alone, and which keys have signed it."""
        headers, key_ids = self._signed(push.batch_id or push.delivery_id, body, content_type)
        headers[_MESSAGE_ID] = push.message_id
        if push.is_replay:
            headers[_REPLAY] = "1"
        return headers, key_ids

    def of_batch(
        self, batch: Sequence[Push], body: bytes, content_type: str
    ) -> tuple[dict[istr, str], tuple[str, ...]]:
        """Return the same for a `body` that carries all of `batch`, and in it what names each."""
        first = batch[0]
        headers, key_ids = self._signed(first.batch_id or first.delivery_id, body, content_type)
        if all(push.is_replay for push in batch):
            headers[_REPLAY] = "1"
        return headers, key_ids

    def _signed(
        self, push_id: str, body: bytes, content_type: str
    ) -> tuple[dict[istr, str], tuple[str, ...]]:
        timestamp_s = int(self._clock_s())
        signature, key_ids = self._signer.sign(push_id, timestamp_s, body)
        headers = {
            CONTENT_TYPE: content_type,
            _WEBHOOK_ID: push_id,
            _WEBHOOK_TIMESTAMP: str(timestamp_s),
        }
        if signature is not None:
            headers[_WEBHOOK_SIGNATURE] = signature
        return headers, key_ids
