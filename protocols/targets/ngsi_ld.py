"""FIWARE: each message is an array of entities that an NGSI-LD context broker creates or replaces.

The body is the decoder's output, byte for byte: never an envelope, never several messages in one.
Where the target has a `context`, it is told in a `Link` header and the body is `application/json`;
where it has none, every entity brings its own and the body is `application/ld+json`. A broker refuses
every other combination. A message that no broker could take is refused before it is sent.

Theory of operation of what a broker takes in part. It answers 207 and lists which entities it has not
taken. Those that it never will take (`BadRequestData` and its like) end the delivery as a refusal,
with their ids and the broker's words as its reason, once nothing else is left to be done. The others
are sent again on the schedule, alone: a message's `Progress` is remembered between its attempts. It is
kept in memory only. An upsert may be repeated, so that a process which has forgotten (it was restarted,
or another one took the target over) may send the whole message again, and comes to the same end; a
column for it would cost every delivery of every kind for what few messages of one kind need, once.

Source: ETSI GS CIM 009 (NGSI-LD API), sections 5.6.8, 6.3.5 and 6.15.3; OS2iot, for the settings.
"""

from collections.abc import Mapping, Sequence
from typing import ClassVar, Final, Self

from aiohttp.hdrs import LINK
from multidict import istr

from protocols.errors import DeliveryError, DeliveryFault, DeliveryRefused, DeliveryRetryable
from protocols.targets._contract import Delivered, Outcome, Push, Target, TargetResources
from protocols.targets.entities.answers import BatchResult, read_batch_result
from protocols.targets.entities.entities import array_of, read_entity_ids, shown
from protocols.targets.entities.progress import (
    MAX_NAMED,
    Listing,
    Progress,
    ProgressMemory,
)
from protocols.targets.entities.settings import NgsiLdSettings, parse_ngsi_ld_settings
from protocols.targets.http.exchange import Answer
from protocols.targets.http.oauth import sender_for
from protocols.targets.http.webhook_headers import WebhookHeaders
from protocols.targets.policy import Ordering
from protocols.targets.setting_names import HTTP_SECRETS, HTTP_SETTINGS

CORE_CONTEXT: Final = "https://uri.etsi.org/ngsi-ld/v1/ngsi-ld-core-context.jsonld"

# An answer names every entity of its request, and says of some what is wrong: room for some 400 of
# them. Where a broker says more, the whole message is sent again. More room would be memory that anybody
# who runs a receiver could make the hub use, for each push that is under way.
_MAX_ANSWER_BYTES: Final = 128 * 1024
_MULTI_STATUS: Final = 207

_TENANT: Final = istr("NGSILD-Tenant")


class NgsiLdTarget(Target):
    kind: ClassVar[str] = "FIWARE"
    setting_names: ClassVar[frozenset[str]] = HTTP_SETTINGS | {"tenant", "context"}
    secret_names: ClassVar[frozenset[str]] = HTTP_SECRETS
    ordering: ClassVar[Ordering | None] = Ordering.PER_DEVICE
    """An upsert replaces: an older one that overtakes would put old values in the place of new."""

    def __init__(self, settings: NgsiLdSettings, resources: TargetResources) -> None:
        self._settings = settings
        self._sender = sender_for(settings.http, resources, max_answer_bytes=_MAX_ANSWER_BYTES)
        self._webhook_headers = WebhookHeaders(settings.http.signing_keys, resources.clock_s)
        self._constant_headers = _headers_of(settings)
        self._has_context = settings.context is not None
        self._content_type = "application/json" if self._has_context else "application/ld+json"
        self._memory = ProgressMemory()
        self.sample = _sample(self._has_context)

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self._settings.http.url.origin()}>"

    @classmethod
    def from_settings(cls, settings: Mapping[str, object], resources: TargetResources) -> Self:
        return cls(parse_ngsi_ld_settings(settings, resources.guard), resources)

    async def open(self) -> None:
        """Nothing to do: connections are made when they are needed and kept by the session."""

    async def deliver(self, batch: Sequence[Push]) -> Sequence[Outcome]:
        return [await self._push(push) for push in batch]

    async def close(self) -> None:
        """Connections stay: they are the session's, which belongs to whoever made it."""
        await self._sender.close()

    async def _push(self, push: Push) -> Outcome:
        try:
            ids = read_entity_ids(push.body, has_context=self._has_context)
            progress = self._memory.get(push.delivery_id)
            if progress is None:
                progress = Progress(tuple(range(len(ids))), Listing())
                body = push.body
            else:
                body = array_of(push.body, progress.left)
            named, key_ids = self._webhook_headers.of(push, body, self._content_type)
            headers = {**named, **self._constant_headers}
            answer = await self._sender.post(body, headers, key_ids=key_ids)
        except DeliveryError as error:
            return error
        if not answer.is_success:
            return self._sender.error_of(answer)
        return self._judge(push, ids, progress, answer)

    def _judge(self, push: Push, ids: Sequence[str], before: Progress, answer: Answer) -> Outcome:
        """Return what an answer that tells of success, or of success in part, means."""
        result = None
        if answer.status_code in (200, _MULTI_STATUS):
            result = read_batch_result(answer.body)
        if result is None and answer.status_code == _MULTI_STATUS:
            return self._failed(
                answer, "The broker answered 207 without saying which entities it has not taken."
            )
        waiting, progress = Listing(), Progress((), before.refused)
        if result is not None and result.has_errors:
            waiting, progress = self._progress(ids, before, result)
        if progress.left:
            self._memory.keep(push.delivery_id, progress)
            return self._in_part(answer, len(ids), before, progress, waiting)
        self._memory.forget(push.delivery_id)
        if progress.refused.count:
            return self._refused(answer, len(ids), progress.refused)
        return Delivered(
            status_code=answer.status_code,
            duration_s=answer.duration_s,
            exchange=self._sender.exchange_of(answer) if push.is_test else None,
        )

    def _progress(
        self, ids: Sequence[str], before: Progress, result: BatchResult
    ) -> tuple[Listing, Progress]:
        """Return what is said of the entities that are left, and how far the message has come."""
        left: list[int] = []
        refused: list[int] = []
        for place in before.left:
            if ids[place] not in result.taken:
                error = result.errors.get(ids[place])
                (refused if error is not None and error.is_final else left).append(place)

        def listed(places: list[int]) -> Listing:
            told = (self._told(ids[place], result) for place in places[:MAX_NAMED])
            return Listing(len(places), tuple(told))

        return listed(left), Progress(tuple(left), before.refused.plus(listed(refused)))

    def _told(self, entity_id: str, result: BatchResult) -> str:
        error = result.errors.get(entity_id)
        title = "" if error is None else shown(self._sender.redacted(error.title))
        return f"{shown(entity_id)} ({title or 'no reason given'})"

    def _in_part(
        self, answer: Answer, count: int, before: Progress, progress: Progress, waiting: Listing
    ) -> DeliveryRetryable:
        sentence = (
            f"The broker has not taken {len(progress.left)} of {count} entities yet, and they are "
            f"sent again: {waiting}."
        )
        if progress.refused.count:
            sentence += f" It will not take: {progress.refused}."
        # As long as it takes anything it is in order, and other messages have nothing to fear.
        has_taken = len(progress.left) < len(before.left)
        return self._failed(
            answer, sentence, DeliveryFault.MESSAGE if has_taken else DeliveryFault.RECEIVER
        )

    def _refused(self, answer: Answer, count: int, refused: Listing) -> DeliveryRefused:
        error = self._sender.error_of(answer)
        return DeliveryRefused(
            f"The broker has not taken {refused.count} of {count} entities, and never will: {refused}.",
            fault=DeliveryFault.MESSAGE,
            status_code=_MULTI_STATUS,
            response_excerpt=error.response_excerpt,
            exchange=error.exchange,
        )

    def _failed(
        self, answer: Answer, sentence: str, fault: DeliveryFault = DeliveryFault.RECEIVER
    ) -> DeliveryRetryable:
        error = self._sender.error_of(answer)
        return DeliveryRetryable(
            sentence,
            fault=fault,
            status_code=answer.status_code,
            retry_after_s=error.retry_after_s,
            response_excerpt=error.response_excerpt,
            exchange=error.exchange,
        )


def _headers_of(settings: NgsiLdSettings) -> dict[istr, str]:
    """Return what is the same in every request."""
    headers: dict[istr, str] = {}
    if settings.context is not None:
        headers[LINK] = (
            f'<{settings.context}>; rel="http://www.w3.org/ns/json-ld#context"; '
            'type="application/ld+json"'
        )
    if settings.tenant is not None:
        headers[_TENANT] = settings.tenant
    return headers


def _sample(has_context: bool) -> bytes:
    context = "" if has_context else f'"@context":"{CORE_CONTEXT}",'
    return f'[{{{context}"id":"urn:ngsi-ld:TingbroTest:1","type":"TingbroTest"}}]'.encode()
