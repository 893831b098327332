"""One POST to a receiver, and what there is to know of it: shared by every kind that speaks HTTP.

A kind says what is to be sent and what an answer means to it. That an exchange ends in time, reads no
more than it should, follows nobody elsewhere and can be looked at afterwards is seen to here.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Final

import aiohttp
from multidict import CIMultiDictProxy, istr

from protocols.errors import DeliveryError, DeliveryFault, DeliveryRefused
from protocols.exchange import Exchange
from protocols.targets._contract import TargetResources
from protocols.targets.http.answers import (
    CONTROL,
    DISABLE,
    error_of_answer,
    error_of_exception,
    excerpt_of,
    redacted,
    shown_headers,
    shown_request,
)
from protocols.targets.http.settings import HttpTargetSettings
from protocols.targets.http.wire_record import WireRecord, record_wire

MAX_REQUEST_BYTES: Final = 1024 * 1024
MAX_ANSWER_BYTES: Final = 16 * 1024


# Not frozen, and made by position: that costs a third, and one is made for every push.
@dataclass(slots=True)
class Answer:
    """What a receiver answered, whatever the status. Not to be changed."""

    status_code: int
    headers: CIMultiDictProxy[str]
    body: bytes
    """As far as it was read; never decompressed."""
    duration_s: float
    record: WireRecord = field(repr=False)
    """For `HttpSender.exchange_of`."""

    @property
    def is_success(self) -> bool:
        """Whether the receiver has taken the request over and wants to go on."""
        return 200 <= self.status_code < 300 and self.headers.get(CONTROL) != DISABLE


class HttpSender:
    """Sends POSTs to the one address of `settings`, with its authorization and within its timeout.

    May be used from several tasks at once. Keeps nothing between two requests but what the session
    keeps, which is connections.
    """

    def __init__(
        self,
        settings: HttpTargetSettings,
        resources: TargetResources,
        *,
        max_answer_bytes: int = MAX_ANSWER_BYTES,
    ) -> None:
        self._settings = settings
        self._url = settings.url
        self._post = resources.http_session.post
        self._clock_s = resources.clock_s
        self._max_answer_bytes = max_answer_bytes
        self._timeout = aiohttp.ClientTimeout(
            total=settings.timeout_s,
            # Kept as it is given: aiohttp would round what is over 5 s up to a whole second.
            ceil_threshold=float("inf"),
        )
        # Names that are already folded cost less at every push.
        self._constant_headers = {
            istr(name): value for name, value in settings.authorization_headers.items()
        }

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self._url.origin()}>"

    async def post(
        self, body: bytes, headers: Mapping[istr, str], *, key_ids: tuple[str, ...] = ()
    ) -> Answer:
        """Send `body` once and return the answer, of whatever status.

        `headers` stand beside those of the authorization and win over them.

        Args:
            key_ids: which keys have signed `headers`, for the record.

        Raises:
            DeliveryRefused: nothing was sent, nor will be: the body is too large, or the address
                may not be reached.
            DeliveryRetryable: there was no complete answer.
        """
        record = WireRecord(len(body), key_ids)
        if len(body) > MAX_REQUEST_BYTES:
            raise DeliveryRefused(
                f"The message is larger than {MAX_REQUEST_BYTES} bytes.",
                fault=DeliveryFault.MESSAGE,
                exchange=self._exchange(record),
            )
        record_wire(record)
        record.headers, record.body = headers, body
        try:
            response = await self._post(
                self._url,
                data=body,
                headers={**self._constant_headers, **headers},
                allow_redirects=False,
                timeout=self._timeout,
            )
            record.head_arrived()
            if response.content.is_eof():
                # It came in one piece with its head, as nearly all do, and has let go of its
                # connection by itself.
                answer = response.content.read_nowait(self._max_answer_bytes)
            else:
                answer = await self._read(response)
        except DeliveryError as error:  # From the guard: there was nobody to send to.
            error.exchange = self._exchange(record)
            raise
        # TimeoutError is an OSError.
        except (aiohttp.ClientError, OSError) as exc:
            failure = error_of_exception(
                exc, timeout_s=self._settings.timeout_s, was_connected=record.is_connected
            )
            failure.exchange = self._exchange(record)
            raise failure from exc
        return Answer(response.status, response.headers, answer, record.ended(), record)

    def error_of(self, answer: Answer) -> DeliveryError:
        """Return what an answer that is no success amounts to."""
        error = error_of_answer(
            answer.status_code,
            answer.headers,
            answer.body,
            now_s=self._clock_s(),
            secrets=self._secrets(),
        )
        error.exchange = self.exchange_of(answer)
        return error

    def exchange_of(self, answer: Answer) -> Exchange:
        """Return how this answer came about, without secrets, for people to look at."""
        secrets = self._secrets()
        return replace(
            self._exchange(answer.record),
            response_headers=shown_headers(answer.headers, secrets),
            response_excerpt=excerpt_of(answer.headers, answer.body, secrets),
        )

    def redacted(self, text: str) -> str:
        """Return `text`, which is the receiver's, without the secrets that it was shown."""
        return redacted(text, self._secrets())

    async def close(self) -> None:
        """Let go of what is under way beside the requests themselves: nothing here."""

    def _secrets(self) -> tuple[str, ...]:
        return self._settings.secrets

    def _exchange(self, record: WireRecord) -> Exchange:
        record.ended()
        headers = {**self._constant_headers, **record.headers}
        shown, body = shown_request(headers, record.body, self._secrets())
        exchange = record.exchange(self._settings.shown_url)
        return replace(exchange, request_headers=shown, request_body=body)

    async def _read(self, response: aiohttp.ClientResponse) -> bytes:
        """Return the start of the answer; one that is longer than allowed costs its connection."""
        limit = self._max_answer_bytes
        content = response.content
        answer = b""
        try:
            while not content.at_eof() and len(answer) <= limit:
                answer += await content.read(limit + 1)
        finally:
            response.release()
        return answer[:limit]
