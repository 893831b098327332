"""HTTP push: each message is a POST to an address of the receiver's.

The body is the decoder's output and nothing else. `webhook-id` names the delivery and is the same
on every attempt, `webhook-timestamp` is when this attempt was made, `tingbro-message-id` names the
message, and `tingbro-replay: 1` marks what a person asked to have sent again.

Source: Standard Webhooks 1.0.0, for the `webhook-` headers.
"""

from collections.abc import Mapping, Sequence
from typing import ClassVar, Self

from aiohttp.hdrs import CONTENT_TYPE
from multidict import istr

from protocols.errors import DeliveryError
from protocols.targets._contract import Delivered, Outcome, Push, Target, TargetResources
from protocols.targets._http_settings import HttpTargetSettings, parse_http_settings
from protocols.targets._oauth import sender_for
from protocols.targets.setting_names import HTTP_SECRETS, HTTP_SETTINGS

# Names that are already folded cost less at every push.
_WEBHOOK_ID = istr("webhook-id")
_WEBHOOK_TIMESTAMP = istr("webhook-timestamp")
_MESSAGE_ID = istr("tingbro-message-id")
_REPLAY = istr("tingbro-replay")


# Stands for the address of a target without one, which is only pulled from; RFC 2606, section 2.
_NO_ADDRESS = "https://no-address.invalid/"


class HttpPushTarget(Target):
    kind: ClassVar[str] = "HTTP_PUSH"
    setting_names: ClassVar[frozenset[str]] = HTTP_SETTINGS | {"envelope", "batchSize"}
    secret_names: ClassVar[frozenset[str]] = HTTP_SECRETS
    batch_size: int = 1

    def __init__(self, settings: HttpTargetSettings, resources: TargetResources) -> None:
        self._url = settings.url
        self._sender = sender_for(settings, resources)
        self._clock_s = resources.clock_s

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self._url.origin()}>"

    @classmethod
    def from_settings(cls, settings: Mapping[str, object], resources: TargetResources) -> Self:
        if settings.get("url") is not None:
            return cls(parse_http_settings(settings, resources.guard), resources)
        without = {**settings, "url": _NO_ADDRESS}
        target = cls(parse_http_settings(without, resources.guard), resources)
        target.takes_pushes = False
        return target

    async def open(self) -> None:
        """Nothing to do: connections are made when they are needed and kept by the session."""

    async def deliver(self, batch: Sequence[Push]) -> Sequence[Outcome]:
        return [await self._push(push) for push in batch]

    async def close(self) -> None:
        """Connections stay: they are the session's, which belongs to whoever made it."""
        await self._sender.close()

    async def _push(self, push: Push) -> Outcome:
        try:
            answer = await self._sender.post(push.body, self._headers(push))
        except DeliveryError as error:
            return error
        if not answer.is_success:
            return self._sender.error_of(answer)
        return Delivered(
            status_code=answer.status_code,
            duration_s=answer.duration_s,
            exchange=self._sender.exchange_of(answer) if push.is_test else None,
        )

    def _headers(self, push: Push) -> dict[istr, str]:
        headers = {
            CONTENT_TYPE: push.content_type,
            _WEBHOOK_ID: push.delivery_id,
            _WEBHOOK_TIMESTAMP: str(int(self._clock_s())),
            _MESSAGE_ID: push.message_id,
        }
        if push.is_replay:
            headers[_REPLAY] = "1"
        return headers
