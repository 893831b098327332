"""HTTP push: each message is a POST to an address of the receiver's.

The body is the decoder's output and nothing else. `webhook-id` names the delivery and is the same
on every attempt, `webhook-timestamp` is when this attempt was made, `tingbro-message-id` names the
message, and `tingbro-replay: 1` marks what a person asked to have sent again.

Source: Standard Webhooks 1.0.0, for the `webhook-` headers.
"""

import time
from collections.abc import Mapping, Sequence
from typing import ClassVar, Self

import aiohttp
from aiohttp.hdrs import CONTENT_TYPE
from multidict import istr

from protocols.errors import DeliveryRefused
from protocols.targets._contract import Delivered, Outcome, Push, Target, TargetResources
from protocols.targets._http_answers import error_of_exception, error_of_status
from protocols.targets._http_settings import HttpTargetSettings, parse_http_settings
from protocols.targets.setting_names import HTTP_SECRETS, HTTP_SETTINGS

MAX_BODY_BYTES = 1024 * 1024
MAX_ANSWER_BYTES = 16 * 1024
# 3 s to connect and 5 s for TLS: whoever takes longer is not there.
_CONNECT_TIMEOUT_S = 8.0

# Names that are already folded cost less at every push.
_WEBHOOK_ID = istr("webhook-id")
_WEBHOOK_TIMESTAMP = istr("webhook-timestamp")
_MESSAGE_ID = istr("tingbro-message-id")
_REPLAY = istr("tingbro-replay")


class HttpPushTarget(Target):
    kind: ClassVar[str] = "HTTP_PUSH"
    setting_names: ClassVar[frozenset[str]] = HTTP_SETTINGS | {"envelope", "batchSize"}
    secret_names: ClassVar[frozenset[str]] = HTTP_SECRETS
    batch_size: int = 1

    def __init__(self, settings: HttpTargetSettings, resources: TargetResources) -> None:
        self._settings = settings
        self._url = settings.url
        self._post = resources.http_session.post
        self._clock_s = resources.clock_s
        self._timeout = aiohttp.ClientTimeout(
            total=settings.timeout_s,
            sock_connect=min(settings.timeout_s, _CONNECT_TIMEOUT_S),
            # Kept as it is given: aiohttp would round what is over 5 s up to a whole second.
            ceil_threshold=float("inf"),
        )
        self._constant_headers = {
            istr(name): value for name, value in settings.authorization_headers.items()
        }

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self._url.origin()}>"

    @classmethod
    def from_settings(cls, settings: Mapping[str, object], resources: TargetResources) -> Self:
        return cls(parse_http_settings(settings), resources)

    async def open(self) -> None:
        """Nothing to do: connections are made when they are needed and kept by the session."""

    async def deliver(self, batch: Sequence[Push]) -> Sequence[Outcome]:
        return [await self._push(push) for push in batch]

    async def close(self) -> None:
        """Nothing to do: the session belongs to whoever made it."""

    async def _push(self, push: Push) -> Outcome:
        if len(push.body) > MAX_BODY_BYTES:
            return DeliveryRefused(f"The message is larger than {MAX_BODY_BYTES} bytes.")
        started_s = time.perf_counter()
        try:
            async with self._post(
                self._url,
                data=push.body,
                headers=self._headers(push),
                allow_redirects=False,
                timeout=self._timeout,
            ) as response:
                answer = await _read(response)
        # TimeoutError is an OSError.
        except (aiohttp.ClientError, OSError) as exc:
            return error_of_exception(exc, self._settings.timeout_s)
        if 200 <= response.status < 300:
            return Delivered(
                status_code=response.status, duration_s=time.perf_counter() - started_s
            )
        return error_of_status(
            response.status,
            response.headers,
            answer,
            now_s=self._clock_s(),
            secrets=self._settings.secrets,
        )

    def _headers(self, push: Push) -> dict[istr, str]:
        headers = {
            **self._constant_headers,
            CONTENT_TYPE: push.content_type,
            _WEBHOOK_ID: push.delivery_id,
            _WEBHOOK_TIMESTAMP: str(int(self._clock_s())),
            _MESSAGE_ID: push.message_id,
        }
        if push.is_replay:
            headers[_REPLAY] = "1"
        return headers


async def _read(response: aiohttp.ClientResponse) -> bytes:
    """Return the start of the answer; one that is longer than allowed costs its connection."""
    content = response.content
    if content.is_eof():  # It came in one piece with its head, as nearly all do.
        return content.read_nowait(MAX_ANSWER_BYTES)
    answer = b""
    while not content.at_eof() and len(answer) <= MAX_ANSWER_BYTES:
        answer += await content.read(MAX_ANSWER_BYTES + 1)
    if len(answer) > MAX_ANSWER_BYTES:
        response.close()
    return answer[:MAX_ANSWER_BYTES]
