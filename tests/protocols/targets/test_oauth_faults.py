"""Token endpoints that refuse or misbehave, and what is shown of them."""

import asyncio
import json
from collections.abc import AsyncIterator
from dataclasses import replace

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from protocols.errors import DeliveryFault, DeliveryRefused, DeliveryRetryable, InvalidInput
from protocols.targets import Delivered, Outcome
from protocols.targets.guarding.guard import Guard
from protocols.targets.guarding.name_lookup import NameLookup
from protocols.targets.http.session import http_session
from tests.support import receivers
from tests.support.guards import LOOPBACK_RULES
from tests.support.receivers import Answer, ReceivedRequest
from tests.support.token_endpoint import CLIENT_SECRET, TokenEndpoint
from tests.support.token_scene import TokenScene, failed


@pytest.fixture
async def scene() -> AsyncIterator[TokenScene]:
    async with TokenScene.stage(TokenEndpoint.keycloak()) as scene:
        yield scene


async def test_wrong_secret_is_said_in_a_sentence_that_holds_no_secret(scene: TokenScene) -> None:
    scene.tokens.secret = "another"
    error = failed(await scene.push())
    assert isinstance(error, DeliveryRetryable)
    assert "token endpoint answered 401: it does not know this `clientId`" in str(error)
    assert error.status_code is None
    assert error.exchange is not None
    assert error.exchange.url == scene.tokens.url_of(scene.endpoint)


async def test_scope_is_asked_for_and_refused_in_its_own_words(scene: TokenScene) -> None:
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
async def test_endpoint_that_misbehaves_is_named_in_the_error(scene: TokenScene, name: str) -> None:
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


async def test_endpoint_that_is_not_there_is_named_in_the_error(scene: TokenScene) -> None:
    await scene.endpoint.stop()
    error = failed(await scene.push())
    assert error.fault is DeliveryFault.CONNECTION
    assert str(error).startswith("The token endpoint cannot be reached")


async def test_receiver_that_never_answers_ends_the_attempt_in_time(scene: TokenScene) -> None:
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


def texts_of(scene: TokenScene, outcome: Outcome) -> str:
    error = failed(outcome)
    return f"{error} {error.response_excerpt} {error.exchange} {error.args!r} {scene.target!r}"


@pytest.mark.parametrize("form", ["body", "basic"])
async def test_secret_that_the_endpoint_repeats_is_shown_nowhere(
    scene: TokenScene, form: str
) -> None:
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


async def test_what_looks_like_no_token_is_not_shown_either(scene: TokenScene) -> None:
    scene.endpoint.answer = receivers.status(200, b'{"jwt":"abc.def.ghi"}')
    assert "abc.def.ghi" not in texts_of(scene, await scene.push())


async def test_token_that_the_receiver_repeats_is_shown_nowhere(scene: TokenScene) -> None:
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
    scene: TokenScene, named: str, settings_: dict[str, object]
) -> None:
    with pytest.raises(InvalidInput, match=named):
        scene.open(**settings_)


async def test_endpoint_whose_name_stands_for_a_forbidden_address_is_not_asked(
    scene: TokenScene,
) -> None:
    guard = Guard(LOOPBACK_RULES, lookup=NameLookup(lambda _: ["10.0.0.1"]))
    async with http_session(guard=guard) as session:
        scene.resources = replace(scene.resources, http_session=session, guard=guard)
        scene.open(tokenEndpoint="http://tokens.example:8080/")
        outcome = await scene.push()
    assert isinstance(outcome, DeliveryRefused)
    assert "token endpoint" in str(outcome)
    assert scene.receiver.requests == []


async def test_token_endpoint_alone_is_used_as_existing_clients_expect(scene: TokenScene) -> None:
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
    scene: TokenScene, answer: Answer
) -> None:
    scene.endpoint.answer = answer
    scene.receiver.answer = receivers.status(200)
    scene.open()
    assert isinstance(await scene.push(), Delivered | DeliveryRetryable)
