"""OAuth 2.0 client credentials, on a target that pushes over HTTP."""

import asyncio
import gc
import json
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import UTC, datetime

import aiohttp
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from protocols.errors import (
    DeliveryError,
    DeliveryFault,
    DeliveryRefused,
    DeliveryRetryable,
    InvalidInput,
)
from protocols.identifiers import new_delivery_id, new_message_id
from protocols.messages import DeviceId
from protocols.targets import Delivered, Outcome, Push, TargetResources
from protocols.targets._client_credentials import Token
from protocols.targets._name_lookup import NameLookup
from protocols.targets._oauth import TokenCache
from protocols.targets.guard import Guard
from protocols.targets.http_push import HttpPushTarget
from protocols.targets.http_session import http_session
from tests.support import receivers
from tests.support.guards import LOOPBACK_RULES, loopback_guard
from tests.support.receivers import Answer, ReceivedRequest, Receiver
from tests.support.token_endpoint import CLIENT_ID, CLIENT_SECRET, TokenEndpoint


class Clock:
    def __init__(self) -> None:
        self.now_s = 1_000.0

    def __call__(self) -> float:
        return self.now_s


class Scene:
    """A receiver that takes the live tokens of an endpoint, and a target that sends to it."""

    def __init__(self, session: aiohttp.ClientSession, tokens: TokenEndpoint) -> None:
        self.tokens = tokens
        self.clock = Clock()
        self.endpoint = Receiver(tokens)
        self.receiver = Receiver(self._answer)
        self.resources = TargetResources(
            http_session=session, guard=loopback_guard(), monotonic_s=self.clock
        )
        self.target: HttpPushTarget

    def open(self, **more: object) -> None:
        self.target = HttpPushTarget.from_settings(
            {
                "url": self.receiver.url,
                "timeout": 5000,
                "authorizationType": "OAUTH_AUTHORIZATION",
                "tokenEndpoint": self.tokens.url_of(self.endpoint),
                "clientId": CLIENT_ID,
                "clientSecret": CLIENT_SECRET,
                **more,
            },
            self.resources,
        )

    async def push(self) -> Outcome:
        (outcome,) = await self.target.deliver([make_push()])
        return outcome

    async def _answer(self, request: ReceivedRequest, writer: asyncio.StreamWriter) -> None:
        scheme, _, token = request.headers.get("Authorization", "").partition(" ")
        is_welcome = scheme == "Bearer" and self.tokens.is_live(token)
        await receivers.status(200 if is_welcome else 401, token.encode())(request, writer)

    def shown(self) -> list[str]:
        """The tokens that arrived, in order."""
        return [request.headers["Authorization"][7:] for request in self.receiver.requests]


def make_push(body: bytes = b'{"t":1}') -> Push:
    return Push(
        delivery_id=new_delivery_id(),
        message_id=new_message_id(),
        device_id=DeviceId(1),
        attempt=1,
        created_at=datetime(2026, 1, 1, tzinfo=UTC),
        body=body,
    )


@pytest.fixture
async def scene() -> AsyncIterator[Scene]:
    async with http_session(guard=loopback_guard()) as session:
        scene = Scene(session, TokenEndpoint.keycloak())
        async with scene.endpoint, scene.receiver:
            scene.open()
            yield scene
            await scene.target.close()


def failed(outcome: Outcome) -> DeliveryError:
    assert isinstance(outcome, DeliveryError)
    return outcome


async def test_token_is_fetched_once_and_shown_with_every_push(scene: Scene) -> None:
    for _ in range(3):
        assert isinstance(await scene.push(), Delivered)
    assert scene.shown() == scene.tokens.issued * 3
    assert len(scene.tokens.issued) == 1


async def test_pushes_that_wait_share_one_request_for_a_token(scene: Scene) -> None:
    scene.tokens.gate.clear()
    pushes = [asyncio.ensure_future(scene.push()) for _ in range(20)]
    await scene.endpoint.wait_for(1)
    scene.tokens.gate.set()
    assert all(isinstance(outcome, Delivered) for outcome in await asyncio.gather(*pushes))
    assert (len(scene.tokens.issued), len(scene.endpoint.requests)) == (1, 1)


async def test_pushes_that_wait_share_the_failure_too(scene: Scene) -> None:
    scene.tokens.secret = "another"
    scene.open(clientAuthentication="body")
    scene.tokens.gate.clear()
    pushes = [asyncio.ensure_future(scene.push()) for _ in range(20)]
    await scene.endpoint.wait_for(1)
    scene.tokens.gate.set()
    for outcome in await asyncio.gather(*pushes):
        assert failed(outcome).fault is DeliveryFault.CONFIGURATION
    assert len(scene.endpoint.requests) == 1
    assert scene.receiver.requests == []


async def test_push_that_is_cancelled_leaves_the_request_to_the_others(scene: Scene) -> None:
    scene.tokens.gate.clear()
    first, second = (asyncio.ensure_future(scene.push()) for _ in range(2))
    await scene.endpoint.wait_for(1)
    first.cancel()
    await asyncio.wait([first])
    scene.tokens.gate.set()
    assert isinstance(await second, Delivered)
    assert len(scene.endpoint.requests) == 1


async def test_closing_gives_up_the_request_that_is_under_way(scene: Scene) -> None:
    scene.tokens.gate.clear()
    push = asyncio.ensure_future(scene.push())
    await scene.endpoint.wait_for(1)
    await scene.target.close()
    assert "closed" in str(failed(await push))


async def fail_with_nobody_waiting() -> None:
    loop = asyncio.get_running_loop()
    answer: asyncio.Future[Token] = loop.create_future()
    has_failed = asyncio.Event()

    async def fetch() -> Token:
        try:
            return await answer
        finally:
            loop.call_soon(has_failed.set)

    waiting = asyncio.ensure_future(TokenCache(fetch, loop.time).get())
    await asyncio.sleep(0)
    waiting.cancel()
    await asyncio.wait([waiting])
    answer.set_exception(DeliveryRetryable("The token endpoint answered 500."))
    await has_failed.wait()


async def test_failure_that_nobody_waits_for_any_more_is_no_unseen_error() -> None:
    seen: list[object] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: seen.append(context))
    await fail_with_nobody_waiting()
    gc.collect()
    assert seen == []


@pytest.mark.parametrize(
    ("expires_in", "kept_s"),
    [(3600, 3570), (60, 30), (40, 20), (10, 5), ("3600", 3570), (None, 270), ("soon", 270)],
)
async def test_token_is_kept_until_shortly_before_it_expires(
    scene: Scene, expires_in: object, kept_s: float
) -> None:
    scene.tokens.answer_fields = {"expires_in": expires_in, "token_type": "bearer"}
    await scene.push()
    scene.clock.now_s += kept_s - 0.001
    await scene.push()
    assert len(scene.tokens.issued) == 1
    scene.clock.now_s += 0.002
    await scene.push()
    assert len(scene.tokens.issued) == 2


async def test_token_without_a_word_on_its_life_is_kept_for_a_while(scene: Scene) -> None:
    scene.tokens.answer_fields = {}
    await scene.push()
    await scene.push()
    assert len(scene.tokens.issued) == 1
    scene.clock.now_s += 300
    await scene.push()
    assert len(scene.tokens.issued) == 2


@pytest.mark.parametrize("expires_in", [0, -1])
async def test_token_that_has_expired_already_is_used_and_not_kept(
    scene: Scene, expires_in: int
) -> None:
    scene.tokens.answer_fields = {"expires_in": expires_in}
    for count in (1, 2):
        assert isinstance(await scene.push(), Delivered)
        assert len(scene.tokens.issued) == count


async def test_token_that_is_not_taken_is_renewed_once_and_the_push_sent_again(
    scene: Scene,
) -> None:
    await scene.push()
    scene.tokens.revoke_all()
    assert isinstance(await scene.push(), Delivered)
    first, second = scene.tokens.issued
    assert scene.shown() == [first, first, second]
    before, after = scene.receiver.requests[1:]
    assert (before.body, before.headers["webhook-id"]) == (after.body, after.headers["webhook-id"])


async def test_pushes_that_are_refused_together_renew_the_token_once(scene: Scene) -> None:
    await scene.push()
    scene.tokens.revoke_all()
    outcomes = await asyncio.gather(*(scene.push() for _ in range(8)))
    assert all(isinstance(outcome, Delivered) for outcome in outcomes)
    assert len(scene.tokens.issued) == 2


async def test_refusal_that_comes_late_does_not_cost_the_new_token(scene: Scene) -> None:
    await scene.push()
    scene.tokens.revoke_all()
    may_answer = asyncio.Event()

    async def late(request: ReceivedRequest, writer: asyncio.StreamWriter) -> None:
        await may_answer.wait()
        await receivers.status(401)(request, writer)

    takes_live_tokens = scene.receiver.answer
    scene.receiver.answer = late
    slow = asyncio.ensure_future(scene.push())
    await scene.receiver.wait_for(2)
    scene.receiver.answer = takes_live_tokens
    assert isinstance(await scene.push(), Delivered)
    may_answer.set()
    assert isinstance(await slow, Delivered)
    assert len(scene.tokens.issued) == 2


async def test_new_token_that_is_not_taken_either_ends_the_attempt(scene: Scene) -> None:
    scene.receiver.answer = receivers.status(401)
    error = failed(await scene.push())
    assert (error.status_code, error.fault) == (401, DeliveryFault.CONFIGURATION)
    assert (len(scene.receiver.requests), len(scene.tokens.issued)) == (2, 2)
    scene.receiver.answer = receivers.status(200)
    await scene.push()
    assert len(scene.tokens.issued) == 3


async def test_token_that_was_forbidden_is_renewed_at_the_next_attempt(scene: Scene) -> None:
    scene.receiver.answer = receivers.in_turn(receivers.status(403), receivers.status(200))
    assert failed(await scene.push()).status_code == 403
    assert len(scene.receiver.requests) == 1
    assert isinstance(await scene.push(), Delivered)
    assert len(scene.tokens.issued) == 2


async def test_failure_of_the_receiver_does_not_cost_the_token(scene: Scene) -> None:
    scene.receiver.answer = receivers.status(500)
    for _ in range(3):
        failed(await scene.push())
    assert len(scene.tokens.issued) == 1


async def test_keyrock_is_shown_the_credentials_in_the_header_after_refusing_the_body() -> None:
    async with http_session(guard=loopback_guard()) as session:
        scene = Scene(session, TokenEndpoint.keyrock())
        async with scene.endpoint, scene.receiver:
            scene.open()
            assert isinstance(await scene.push(), Delivered)
            assert scene.tokens.refused == ["invalid_client"]
            scene.clock.now_s += 3600
            assert isinstance(await scene.push(), Delivered)
            # It is remembered which form was taken.
            assert scene.tokens.refused == ["invalid_client"]
            await scene.target.close()


@pytest.mark.parametrize("form", ["body", "basic"])
async def test_form_that_was_chosen_is_the_only_one_tried(scene: Scene, form: str) -> None:
    scene.tokens.takes_body = form == "basic"
    scene.tokens.takes_basic = form == "body"
    scene.open(clientAuthentication=form)
    assert failed(await scene.push()).fault is DeliveryFault.CONFIGURATION
    assert scene.tokens.refused == ["invalid_client"]
    scene.tokens.takes_body = scene.tokens.takes_basic = True
    assert isinstance(await scene.push(), Delivered)


async def test_wrong_secret_is_said_in_a_sentence_that_holds_no_secret(scene: Scene) -> None:
    scene.tokens.secret = "another"
    error = failed(await scene.push())
    assert isinstance(error, DeliveryRetryable)
    assert "token endpoint answered 401: it does not know this `clientId`" in str(error)
    assert error.status_code is None
    assert error.exchange is not None
    assert error.exchange.url == scene.tokens.url_of(scene.endpoint)


async def test_scope_is_asked_for_and_refused_in_its_own_words(scene: Scene) -> None:
    scene.open(scope="email profile")
    assert isinstance(await scene.push(), Delivered)
    assert b"scope=email+profile" in scene.endpoint.requests[0].body
    scene.open(scope="root")
    assert "`scope`" in str(failed(await scene.push()))
    assert scene.tokens.refused == ["invalid_scope"]


FAULTS: dict[str, tuple[Answer, DeliveryFault]] = {
    "gone": (receivers.status(410), DeliveryFault.CONFIGURATION),
    "nothing there": (receivers.status(404), DeliveryFault.CONFIGURATION),
    "redirect": (receivers.redirect("http://127.0.0.1:9/"), DeliveryFault.CONFIGURATION),
    "a page": (receivers.status(200, b"<html>"), DeliveryFault.CONFIGURATION),
    "no token": (receivers.status(200, b"{}"), DeliveryFault.CONFIGURATION),
    "nesting": (receivers.status(200, b"[" * 10_000), DeliveryFault.CONFIGURATION),
    "a token with a line break": (
        receivers.status(200, b'{"access_token":"a\\r\\nb: c"}'),
        DeliveryFault.CONFIGURATION,
    ),
    "a token of another type": (
        receivers.status(200, b'{"access_token":"a","token_type":"mac"}'),
        DeliveryFault.CONFIGURATION,
    ),
    "a token longer than may be read": (
        receivers.status(200, b'{"access_token":"%s"}' % (b"a" * 70_000)),
        DeliveryFault.CONFIGURATION,
    ),
    "asked to disable": (
        receivers.status(404, webhook_delivery="disable"),
        DeliveryFault.CONFIGURATION,
    ),
    "failure": (receivers.status(500), DeliveryFault.RECEIVER),
    "too many": (receivers.status(429, retry_after="90"), DeliveryFault.THROTTLED),
    "a gateway": (receivers.status(502), DeliveryFault.THROTTLED),
    "silence": (receivers.never(), DeliveryFault.THROTTLED),
    "garbage": (receivers.garbage(), DeliveryFault.RECEIVER),
    "body without end": (receivers.endless_body(), DeliveryFault.CONFIGURATION),
    "headers without end": (receivers.endless_headers(), DeliveryFault.RECEIVER),
    "reset": (receivers.resets(), DeliveryFault.RECEIVER),
}


@pytest.mark.parametrize("name", FAULTS)
async def test_endpoint_that_misbehaves_is_named_in_the_error(scene: Scene, name: str) -> None:
    answer, fault = FAULTS[name]
    scene.endpoint.answer = answer
    scene.open(timeout=400)
    error = failed(await scene.push())
    assert isinstance(error, DeliveryRetryable)
    assert error.fault is fault
    assert "token endpoint" in str(error)
    assert "receiver" not in str(error)
    assert str(error).endswith(".")
    assert error.retry_after_s == (90 if name == "too many" else None)
    assert scene.receiver.requests == []
    scene.endpoint.answer = scene.tokens
    assert isinstance(await scene.push(), Delivered)


async def test_endpoint_that_is_not_there_is_named_in_the_error(scene: Scene) -> None:
    await scene.endpoint.stop()
    error = failed(await scene.push())
    assert error.fault is DeliveryFault.CONNECTION
    assert str(error).startswith("The token endpoint cannot be reached")


async def test_receiver_that_never_answers_ends_the_attempt_in_time(scene: Scene) -> None:
    scene.open(timeout=300)
    scene.receiver.answer = receivers.in_turn(receivers.status(401), receivers.never())
    error = failed(await scene.push())
    assert error.fault is DeliveryFault.THROTTLED
    assert "0.3 s" in str(error)


def repeats_what_it_got(status: int) -> Answer:
    async def answering(request: ReceivedRequest, writer: asyncio.StreamWriter) -> None:
        said = f"{request.headers.get('Authorization')} {request.body.decode()} {CLIENT_SECRET}"
        said += json.dumps(CLIENT_SECRET)
        await receivers.status(status, said.encode())(request, writer)

    return answering


def texts_of(scene: Scene, outcome: Outcome) -> str:
    error = failed(outcome)
    return f"{error} {error.response_excerpt} {error.exchange} {error.args!r} {scene.target!r}"


@pytest.mark.parametrize("form", ["body", "basic"])
async def test_secret_that_the_endpoint_repeats_is_shown_nowhere(scene: Scene, form: str) -> None:
    scene.open(clientAuthentication=form)
    for status in (200, 400):
        scene.endpoint.answer = repeats_what_it_got(status)
        shown = texts_of(scene, await scene.push())
        sent = scene.endpoint.requests[-1]
        secrets = [
            CLIENT_SECRET,
            json.dumps(CLIENT_SECRET)[1:-1],
            sent.headers.get("Authorization", "-" * 99).removeprefix("Basic "),
        ]
        if form == "body":
            secrets.append(sent.body.decode().partition("client_secret=")[2])
        assert not any(secret in shown for secret in secrets)


async def test_what_looks_like_no_token_is_not_shown_either(scene: Scene) -> None:
    scene.endpoint.answer = receivers.status(200, b'{"jwt":"abc.def.ghi"}')
    assert "abc.def.ghi" not in texts_of(scene, await scene.push())


async def test_token_that_the_receiver_repeats_is_shown_nowhere(scene: Scene) -> None:
    for status in (401, 500):
        scene.receiver.answer = repeats_what_it_got(status)
        outcome = await scene.push()
        assert "[secret]" in str(failed(outcome).response_excerpt)
        assert not any(token in texts_of(scene, outcome) for token in scene.tokens.issued)


@pytest.mark.parametrize(
    ("named", "settings_"),
    [
        ("`tokenEndpoint`", {"tokenEndpoint": None}),
        ("`tokenEndpoint`", {"tokenEndpoint": "ftp://127.0.0.1/"}),
        ("`tokenEndpoint`", {"tokenEndpoint": "http://me:pw@127.0.0.1:8080/"}),
        ("`tokenEndpoint`", {"tokenEndpoint": "http://10.0.0.1:8080/"}),
        ("`clientId`", {"clientId": ""}),
        ("`clientSecret`", {"clientSecret": 7}),
        ("`clientSecret`", {"clientSecret": "a\nb"}),
        ("`scope`", {"scope": ["email"]}),
        ("`scope`", {"scope": 'a "b"'}),
        ("`clientAuthentication`", {"clientAuthentication": "jwt"}),
    ],
)
async def test_setting_that_cannot_be_used_is_named(
    scene: Scene, named: str, settings_: dict[str, object]
) -> None:
    with pytest.raises(InvalidInput, match=named):
        scene.open(**settings_)


async def test_endpoint_whose_name_stands_for_a_forbidden_address_is_not_asked(
    scene: Scene,
) -> None:
    guard = Guard(LOOPBACK_RULES, lookup=NameLookup(lambda _: ["10.0.0.1"]))
    async with http_session(guard=guard) as session:
        scene.resources = replace(scene.resources, http_session=session, guard=guard)
        scene.open(tokenEndpoint="http://tokens.example:8080/")
        outcome = await scene.push()
    assert isinstance(outcome, DeliveryRefused)
    assert "token endpoint" in str(outcome)
    assert scene.receiver.requests == []


async def test_token_endpoint_alone_is_used_as_existing_clients_expect(scene: Scene) -> None:
    scene.open(authorizationType=None, authorizationHeader="Bearer old")
    assert isinstance(await scene.push(), Delivered)
    assert scene.shown() == scene.tokens.issued


@settings(
    max_examples=100,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(
    answer=st.one_of(
        st.binary(max_size=200).map(receivers.raw_then_close),
        st.binary(max_size=200).map(lambda body: receivers.status(200, body)),
        st.sampled_from([b'{"error":1}', b'{"error":"invalid_client"}', b"[]", b"null"]).map(
            lambda body: receivers.status(400, body)
        ),
        st.one_of(st.floats(), st.text(), st.integers(), st.just([1])).map(
            lambda value: receivers.status(
                200, f'{{"access_token":"a","expires_in":{value!r}}}'.encode(errors="replace")
            )
        ),
    )
)
async def test_whatever_an_endpoint_answers_there_is_an_outcome(
    scene: Scene, answer: Answer
) -> None:
    scene.endpoint.answer = answer
    scene.receiver.answer = receivers.status(200)
    scene.open()
    assert isinstance(await scene.push(), Delivered | DeliveryRetryable)
