"""HTTP push: each message, or each batch of them, is a POST to an address of the receiver's.

By default the body is the decoder's output and nothing else; what names and signs it is in the headers.
With `envelope` the output stands in an object that says what it is, and with `batchSize` up to so many of
these travel together in one array, which names each of them.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar, Self

from protocols.errors import DeliveryError, DeliveryFault, DeliveryRetryable, InvalidInput
from protocols.targets._contract import Delivered, Outcome, Push, Target, TargetResources
from protocols.targets.guarding.guard import Guard
from protocols.targets.http.envelope import CONTENT_TYPE, OVERHEAD_BYTES, batched, enveloped
from protocols.targets.http.exchange import MAX_REQUEST_BYTES, Answer
from protocols.targets.http.oauth import sender_for
from protocols.targets.http.settings import HttpTargetSettings, parse_http_settings
from protocols.targets.http.webhook_headers import WebhookHeaders
from protocols.targets.policy import MAX_BATCH
from protocols.targets.setting_names import HTTP_SECRETS, HTTP_SETTINGS

# Stands for the address of a target without one, which is only pulled from; RFC 2606, section 2.
_NO_ADDRESS = "https://no-address.invalid/"


@dataclass(frozen=True, slots=True, kw_only=True)
class PushForm:
    """In what form messages travel."""

    has_envelope: bool = False
    batch_size: int = 1


class HttpPushTarget(Target):
    kind: ClassVar[str] = "HTTP_PUSH"
    setting_names: ClassVar[frozenset[str]] = HTTP_SETTINGS | {"envelope", "batchSize"}
    secret_names: ClassVar[frozenset[str]] = HTTP_SECRETS
    # The brackets of the array, beside what each push takes.
    max_batch_bytes: int | None = MAX_REQUEST_BYTES - 2
    push_overhead_bytes: int = OVERHEAD_BYTES

    def __init__(
        self, settings: HttpTargetSettings, resources: TargetResources, *, form: PushForm
    ) -> None:
        self._url = settings.url
        self._has_envelope = form.has_envelope
        self._sender = sender_for(settings, resources)
        self._headers = WebhookHeaders(settings.signing_keys, resources.clock_s)
        self.batch_size = form.batch_size
        self.freezes_batches = form.batch_size > 1

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self._url.origin()}>"

    @classmethod
    def from_settings(cls, settings: Mapping[str, object], resources: TargetResources) -> Self:
        problems: list[str] = []
        takes_pushes = settings.get("url") is not None
        try:
            form = _parse_form(settings)
        except InvalidInput as error:
            problems.append(str(error))
        try:
            if takes_pushes:
                http = parse_http_settings(settings, resources.guard)
            else:
                http = parse_http_settings({**settings, "url": _NO_ADDRESS}, Guard())
        except InvalidInput as error:
            problems.append(str(error))
        if problems:
            raise InvalidInput(" ".join(problems))
        target = cls(http, resources, form=form)
        target.takes_pushes = takes_pushes
        return target

    async def open(self) -> None:
        """Nothing to do: connections are made when they are needed and kept by the session."""

    async def deliver(self, batch: Sequence[Push]) -> Sequence[Outcome]:
        if self.freezes_batches:
            return [await self._push_together(batch)] * len(batch)
        return [await self._push(push) for push in batch]

    async def close(self) -> None:
        """Connections stay: they are the session's, which belongs to whoever made it."""
        await self._sender.close()

    async def _push(self, push: Push) -> Outcome:
        body, content_type = push.body, push.content_type
        if self._has_envelope:
            body, content_type = enveloped(push), CONTENT_TYPE
        headers, key_ids = self._headers.of(push, body, content_type)
        try:
            answer = await self._sender.post(body, headers, key_ids=key_ids)
        except DeliveryError as error:
            return error
        return self._outcome(answer, push) if answer.is_success else self._sender.error_of(answer)

    async def _push_together(self, batch: Sequence[Push]) -> Outcome:
        body = batched(batch)
        headers, key_ids = self._headers.of_batch(batch, body, CONTENT_TYPE)
        try:
            answer = await self._sender.post(body, headers, key_ids=key_ids)
        except DeliveryError as error:
            return error
        if answer.is_success:
            return self._outcome(answer, batch[0])
        failure = self._sender.error_of(answer)
        if answer.status_code == 413 and len(batch) > 1:
            # It says nothing about any one of them, and they cannot all be too large.
            return DeliveryRetryable(
                f"The receiver answered 413: {len(batch)} messages at once are more than it takes; "
                "lower `batchSize`.",
                fault=DeliveryFault.CONFIGURATION,
                status_code=failure.status_code,
                retry_after_s=failure.retry_after_s,
                response_excerpt=failure.response_excerpt,
                exchange=failure.exchange,
            )
        return failure

    def _outcome(self, answer: Answer, push: Push) -> Delivered:
        return Delivered(
            status_code=answer.status_code,
            duration_s=answer.duration_s,
            exchange=self._sender.exchange_of(answer) if push.is_test else None,
        )


def _parse_form(settings: Mapping[str, object]) -> PushForm:
    """Read how messages are to travel.

    Raises:
        InvalidInput: one sentence for each setting that cannot be used.
    """
    problems: list[str] = []
    has_envelope, batch_size = settings.get("envelope"), settings.get("batchSize")
    if not isinstance(has_envelope, bool | None):
        problems.append("`envelope` must be true or false.")
    if batch_size is None:
        batch_size = 1
    if (
        isinstance(batch_size, bool)
        or not isinstance(batch_size, int)
        or not 1 <= batch_size <= MAX_BATCH
    ):
        problems.append(f"`batchSize` must be a whole number from 1 to {MAX_BATCH}.")
        batch_size = 1
    if batch_size > 1 and not has_envelope:
        problems.append(
            "`batchSize` above 1 needs `envelope`: in a batch each message has to say what it is."
        )
    if problems:
        raise InvalidInput(" ".join(problems))
    return PushForm(has_envelope=bool(has_envelope), batch_size=batch_size)
