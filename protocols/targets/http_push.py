"""HTTP push: each message is a POST to an address of the receiver's.

The body is the decoder's output and nothing else; what names and signs it is in the headers.
"""

from collections.abc import Mapping, Sequence
from typing import ClassVar, Self

from protocols.errors import DeliveryError
from protocols.targets._contract import Delivered, Outcome, Push, Target, TargetResources
from protocols.targets._http_settings import HttpTargetSettings, parse_http_settings
from protocols.targets._oauth import sender_for
from protocols.targets._webhook_headers import WebhookHeaders
from protocols.targets.setting_names import HTTP_SECRETS, HTTP_SETTINGS

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
        self._headers = WebhookHeaders(settings.signing_keys, resources.clock_s)

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
            headers, key_ids = self._headers.of(push, push.body, push.content_type)
            answer = await self._sender.post(push.body, headers, key_ids=key_ids)
        except DeliveryError as error:
            return error
        if not answer.is_success:
            return self._sender.error_of(answer)
        return Delivered(
            status_code=answer.status_code,
            duration_s=answer.duration_s,
            exchange=self._sender.exchange_of(answer) if push.is_test else None,
        )
