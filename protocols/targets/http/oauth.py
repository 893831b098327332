"""OAuth 2.0 client credentials: the token that a data target shows its receiver.

Theory of operation. A token is asked for when the first push needs one and kept until shortly
before it expires. However many pushes wait, one request is under way, and its answer, good or bad,
is the answer to all of them: an endpoint that fails is asked once by each round of pushes, and not
once by each push. Whoever is answered 401 drops the token it used and asks again, once; the others,
which used the same one, find it dropped already and share that request. A 403 drops it too, because
a right that was granted since shows in a new token only, but is not tried again at once.

Lifetimes are counted by the monotonic clock: a time of day that jumps neither keeps a dead token nor
throws living ones away.
"""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import replace
from typing import Final

from aiohttp.hdrs import AUTHORIZATION
from multidict import istr

from protocols.errors import DeliveryError, DeliveryFault, DeliveryRetryable
from protocols.exchange import Exchange
from protocols.targets._contract import TargetResources
from protocols.targets.http.client_credentials import (
    ClientAuthentication,
    ClientCredentials,
    Token,
    error_code_of,
    parse_token,
    refusal,
    wants_other_form,
)
from protocols.targets.http.exchange import MAX_ANSWER_BYTES, Answer, HttpSender
from protocols.targets.http.settings import HttpTargetSettings

# Tokens that name many roles are long; no server takes one of this length in a header.
_MAX_TOKEN_ANSWER_BYTES: Final = 64 * 1024
_MARGIN_S: Final = 30.0
# Of the time for an attempt, what asking for a token may take, so that there is some left for the push.
_SHARE_OF_TOKEN: Final = 0.5
# A push that is still under way may have been sent with one that was replaced since.
_TOKENS_REDACTED: Final = 4

_OTHER: Final = {
    ClientAuthentication.BODY: ClientAuthentication.BASIC,
    ClientAuthentication.BASIC: ClientAuthentication.BODY,
}


def sender_for(
    settings: HttpTargetSettings,
    resources: TargetResources,
    *,
    max_answer_bytes: int = MAX_ANSWER_BYTES,
) -> HttpSender:
    """Return what sends with the authorization that `settings` ask for, of whatever kind."""
    if settings.credentials is None:
        return HttpSender(settings, resources, max_answer_bytes=max_answer_bytes)
    return TokenSender(settings, settings.credentials, resources, max_answer_bytes=max_answer_bytes)


class TokenSender(HttpSender):
    """Shows a token with each request. Whoever made it closes it."""

    def __init__(
        self,
        settings: HttpTargetSettings,
        credentials: ClientCredentials,
        resources: TargetResources,
        *,
        max_answer_bytes: int = MAX_ANSWER_BYTES,
    ) -> None:
        super().__init__(settings, resources, max_answer_bytes=max_answer_bytes)
        endpoint = TokenEndpoint(credentials, resources, settings.timeout_s * _SHARE_OF_TOKEN)
        self._tokens = TokenCache(endpoint.fetch, resources.monotonic_s)

    async def post(
        self, body: bytes, headers: Mapping[istr, str], *, key_ids: tuple[str, ...] = ()
    ) -> Answer:
        """Send `body`, and once more with a new token if the receiver does not take the first.

        Raises:
            DeliveryError: as `HttpSender.post`, or there was no token to be had.
        """
        try:
            async with asyncio.timeout(self._settings.timeout_s):
                answer, token = await self._post_with_token(body, headers, key_ids)
                if answer.status_code == 401:
                    self._tokens.drop(token)
                    answer, token = await self._post_with_token(body, headers, key_ids)
        except TimeoutError:
            raise self._took_too_long(len(body)) from None
        if answer.status_code in (401, 403):
            self._tokens.drop(token)
        return answer

    async def close(self) -> None:
        await self._tokens.close()

    async def _post_with_token(
        self, body: bytes, headers: Mapping[istr, str], key_ids: tuple[str, ...]
    ) -> tuple[Answer, str]:
        token = await self._tokens.get()
        shown = {**headers, AUTHORIZATION: f"Bearer {token}"}
        return await super().post(body, shown, key_ids=key_ids), token

    def _secrets(self) -> tuple[str, ...]:
        return (*self._tokens.latest, *super()._secrets())

    def _took_too_long(self, sent_bytes: int) -> DeliveryRetryable:
        timeout_s = self._settings.timeout_s
        return DeliveryRetryable(
            f"The receiver had not answered completely after {timeout_s:g} s, the time to get a token "
            "included.",
            fault=DeliveryFault.THROTTLED,
            exchange=Exchange(
                url=self._settings.shown_url, sent_bytes=sent_bytes, total_s=timeout_s
            ),
        )


class TokenCache:
    """Holds the current token of one data target."""

    def __init__(
        self, fetch: Callable[[], Awaitable[Token]], monotonic_s: Callable[[], float]
    ) -> None:
        """`fetch` asks for a new token; it raises DeliveryError."""
        self._fetch = fetch
        self._monotonic_s = monotonic_s
        self._token: str | None = None
        self._usable_until_s = 0.0
        self._renewal: asyncio.Task[str] | None = None
        self.latest: deque[str] = deque(maxlen=_TOKENS_REDACTED)
        """What must not be shown to anybody."""

    async def get(self) -> str:
        """Return a token that is still good for a while.

        Raises:
            DeliveryError: the token endpoint gave none.
        """
        if self._token is not None and self._monotonic_s() < self._usable_until_s:
            return self._token
        renewal = self._renewal or self._begin_renewal()
        # Not awaited itself: a push that is cancelled must not cancel it for the others.
        await asyncio.wait([renewal])
        if renewal.cancelled():
            raise DeliveryRetryable(
                "The data target was closed before the token endpoint answered."
            )
        return renewal.result()

    def drop(self, token: str) -> None:
        """Give `token` to nobody any more: the receiver does not take it."""
        if token == self._token:
            self._token = None

    async def close(self) -> None:
        """Forget the token, and give up a request that is under way."""
        self._token = None
        if (renewal := self._renewal) is not None:
            renewal.cancel()
            await asyncio.wait([renewal])

    def _begin_renewal(self) -> asyncio.Task[str]:
        self._renewal = asyncio.create_task(self._renew())
        self._renewal.add_done_callback(self._end_renewal)
        return self._renewal

    def _end_renewal(self, renewal: asyncio.Task[str]) -> None:
        self._renewal = None
        if not renewal.cancelled():
            # Whoever waited may be gone, and asyncio complains of errors that nobody has looked at.
            renewal.exception()

    async def _renew(self) -> str:
        self._token = None
        asked_s = self._monotonic_s()
        token = await self._fetch()
        # Of a token that lives shorter than a minute half its life is left as the margin.
        usable_s = max(token.lifetime_s - _MARGIN_S, token.lifetime_s / 2)
        self._token, self._usable_until_s = token.value, asked_s + usable_s
        self.latest.append(token.value)
        return token.value


class TokenEndpoint:
    """Asks for tokens, over the session that the receivers are reached by and as guarded as they."""

    def __init__(
        self, credentials: ClientCredentials, resources: TargetResources, timeout_s: float
    ) -> None:
        self._credentials = credentials
        self._form = credentials.authentication or ClientAuthentication.BODY
        url = credentials.token_endpoint
        settings = HttpTargetSettings(
            url=url, shown_url=str(url), timeout_s=timeout_s, secrets=credentials.secrets
        )
        self._sender = HttpSender(settings, resources, max_answer_bytes=_MAX_TOKEN_ANSWER_BYTES)

    async def fetch(self) -> Token:
        """Return a new token.

        Raises:
            DeliveryError: there is none; the text says that it was the token endpoint, and holds
                nothing of what it said.
        """
        form = self._form
        answer = await self._ask(form)
        if self._credentials.authentication is None and _wants_other_form(answer):
            form = _OTHER[form]
            answer = _more_telling(answer, await self._ask(form))
        if not 200 <= answer.status_code < 300:
            raise self._refusal(answer)
        try:
            token = parse_token(answer.body)
        except DeliveryError as error:
            # Without the excerpt: what looks like no token here may still be one.
            shown = self._sender.exchange_of(answer)
            error.exchange = replace(shown, response_excerpt=None)
            raise
        self._form = form
        return token

    async def _ask(self, form: ClientAuthentication) -> Answer:
        headers, body = self._credentials.request(form)
        try:
            return await self._sender.post(body, {istr(name): headers[name] for name in headers})
        except DeliveryError as error:
            raise _about_endpoint(error) from error

    def _refusal(self, answer: Answer) -> DeliveryRetryable:
        fault, sentence = refusal(answer.status_code, answer.body)
        error = self._sender.error_of(answer)
        return DeliveryRetryable(
            sentence,
            fault=fault,
            retry_after_s=error.retry_after_s,
            response_excerpt=error.response_excerpt,
            exchange=error.exchange,
        )


def _wants_other_form(answer: Answer) -> bool:
    return wants_other_form(answer.status_code, answer.body)


def _more_telling(first: Answer, second: Answer) -> Answer:
    """Return the answer that decides: a token, or else what says that the credentials are wrong."""
    if second.status_code >= 300 and error_code_of(first.body) == "invalid_client":
        return first
    return second


def _about_endpoint(error: DeliveryError) -> DeliveryError:
    """Return the same failure, said of the token endpoint and not of the receiver."""
    sentence = str(error).replace("receiver", "token endpoint")
    if "token endpoint" not in sentence:
        sentence = f"The token endpoint cannot be asked: {sentence}"
    return type(error)(sentence, fault=error.fault, exchange=error.exchange)
