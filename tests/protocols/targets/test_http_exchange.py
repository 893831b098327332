"""What an attempt over HTTP failed on, and what of it is shown to people."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace

import pytest

from protocols.errors import DeliveryError, DeliveryFault, DeliveryRefused, DeliveryRetryable
from protocols.targets import Delivered, TargetResources
from protocols.targets.http.session import http_session
from protocols.targets.http_push import HttpPushTarget
from tests.support import receivers
from tests.support.guards import loopback_guard
from tests.support.pushes import make_push
from tests.support.receivers import Receiver

SECRET = "tops3cret"


@pytest.fixture
async def resources() -> AsyncIterator[TargetResources]:
    guard = loopback_guard()
    async with http_session(guard=guard) as session:
        yield TargetResources(http_session=session, guard=guard, clock_s=lambda: 1_700_000_000.0)


def make_target(resources: TargetResources, url: str, **settings: object) -> HttpPushTarget:
    return HttpPushTarget.from_settings({"url": url, "timeout": 5000, **settings}, resources)


async def failure(target: HttpPushTarget) -> DeliveryError:
    (outcome,) = await target.deliver([make_push()])
    assert isinstance(outcome, DeliveryError)
    assert outcome.exchange is not None
    return outcome


@pytest.mark.parametrize(
    ("code", "fault"),
    [
        (300, DeliveryFault.CONFIGURATION),
        (301, DeliveryFault.CONFIGURATION),
        (304, DeliveryFault.CONFIGURATION),
        (308, DeliveryFault.CONFIGURATION),
        (400, DeliveryFault.CONFIGURATION),
        (401, DeliveryFault.CONFIGURATION),
        (402, DeliveryFault.RECEIVER),
        (403, DeliveryFault.CONFIGURATION),
        (404, DeliveryFault.CONFIGURATION),
        (405, DeliveryFault.CONFIGURATION),
        (408, DeliveryFault.RECEIVER),
        (409, DeliveryFault.RECEIVER),
        (410, DeliveryFault.GONE),
        (415, DeliveryFault.CONFIGURATION),
        (418, DeliveryFault.RECEIVER),
        (422, DeliveryFault.CONFIGURATION),
        (429, DeliveryFault.THROTTLED),
        (500, DeliveryFault.RECEIVER),
        (502, DeliveryFault.THROTTLED),
        (503, DeliveryFault.RECEIVER),
        (504, DeliveryFault.THROTTLED),
        (599, DeliveryFault.RECEIVER),
    ],
)
async def test_status_says_what_the_attempt_failed_on(
    resources: TargetResources, code: int, fault: DeliveryFault
) -> None:
    async with Receiver(receivers.status(code)) as receiver:
        error = await failure(make_target(resources, receiver.url))
    assert isinstance(error, DeliveryRetryable)
    assert (error.fault, error.status_code) == (fault, code)


async def test_message_that_is_too_large_is_itself_to_blame(resources: TargetResources) -> None:
    async with Receiver(receivers.status(413)) as receiver:
        error = await failure(make_target(resources, receiver.url))
    assert isinstance(error, DeliveryRefused)
    assert error.fault is DeliveryFault.MESSAGE


@pytest.mark.parametrize(
    ("answer", "fault"),
    [
        (receivers.closes(), DeliveryFault.RECEIVER),
        (receivers.closes_mid_way(), DeliveryFault.RECEIVER),
        (receivers.resets(), DeliveryFault.RECEIVER),
        (receivers.garbage(), DeliveryFault.RECEIVER),
        (receivers.truncated_body(), DeliveryFault.RECEIVER),
        (receivers.huge_header(), DeliveryFault.RECEIVER),
        (receivers.never(), DeliveryFault.THROTTLED),
        (receivers.endless_interim_answers(), DeliveryFault.THROTTLED),
    ],
)
async def test_answer_that_is_none_says_what_the_attempt_failed_on(
    resources: TargetResources, answer: receivers.Answer, fault: DeliveryFault
) -> None:
    async with Receiver(answer) as receiver:
        error = await failure(make_target(resources, receiver.url, timeout=300))
    assert error.fault is fault


async def test_nobody_at_the_other_end_is_a_matter_of_the_connection(
    resources: TargetResources,
) -> None:
    async with Receiver() as receiver:
        target = make_target(resources, receiver.url)
    error = await failure(target)
    assert error.fault is DeliveryFault.CONNECTION
    assert error.exchange is not None
    assert error.exchange.address == "127.0.0.1"
    assert error.exchange.connect_s is not None
    assert error.exchange.first_byte_s is None


@pytest.mark.parametrize("code", [200, 204, 404, 500])
async def test_receiver_that_asks_for_no_more_is_gone_whatever_the_status(
    resources: TargetResources, code: int
) -> None:
    async with Receiver(receivers.status(code, webhook_delivery="disable")) as receiver:
        error = await failure(make_target(resources, receiver.url))
    assert isinstance(error, DeliveryRetryable)
    assert (error.fault, error.status_code) == (DeliveryFault.GONE, code)
    assert "no further deliveries" in str(error)


@pytest.mark.parametrize("code", [400, 410, 500, 503])
async def test_receiver_may_ask_to_be_spared_one_message(
    resources: TargetResources, code: int
) -> None:
    async with Receiver(receivers.status(code, webhook_delivery="abort-message")) as receiver:
        error = await failure(make_target(resources, receiver.url))
    assert isinstance(error, DeliveryRefused)
    assert error.fault is DeliveryFault.MESSAGE


async def test_message_that_was_taken_is_delivered_whatever_else_is_asked(
    resources: TargetResources,
) -> None:
    async with Receiver(receivers.status(200, webhook_delivery="abort-message")) as receiver:
        (outcome,) = await make_target(resources, receiver.url).deliver([make_push()])
    assert isinstance(outcome, Delivered)


async def test_failure_shows_what_went_over_the_wire(resources: TargetResources) -> None:
    answer = receivers.status(
        401,
        b"who are you?",
        content_type="text/plain",
        retry_after="7",
        server="nginx",
        set_cookie="session=1",
        www_authenticate='Bearer realm="inside", scope="all"',
    )
    async with Receiver(answer) as receiver:
        error = await failure(make_target(resources, receiver.url))
    assert error.exchange is not None
    shown = error.exchange.to_json()
    assert shown.pop("timingMs").keys() == {"dns", "connect", "firstByte", "total"}
    assert shown == {
        "url": receiver.url,
        "address": "127.0.0.1",
        "sentBytes": len(make_push().body),
        "responseHeaders": {
            "content-type": "text/plain",
            "content-length": "12",
            "retry-after": "7",
            "server": "nginx",
            "www-authenticate": "Bearer",
        },
    }
    assert error.exchange.response_excerpt == error.response_excerpt == "who are you?"


async def test_success_shows_its_exchange_to_whoever_tries_the_target_out(
    resources: TargetResources,
) -> None:
    async with Receiver(receivers.status(202, b"thanks")) as receiver:
        target = make_target(resources, receiver.url)
        (usual,) = await target.deliver([make_push()])
        (tried,) = await target.deliver([replace(make_push(), is_test=True)])
    assert isinstance(usual, Delivered)
    assert isinstance(tried, Delivered)
    assert usual.exchange is None
    assert tried.exchange is not None
    assert tried.exchange.response_excerpt == "thanks"


async def test_message_that_is_never_sent_shows_its_size(resources: TargetResources) -> None:
    target = make_target(resources, "http://127.0.0.1:9999/")
    (error,) = await target.deliver([make_push(b"1" * (1024 * 1024 + 1))])
    assert isinstance(error, DeliveryRefused)
    assert error.exchange is not None
    assert error.exchange.sent_bytes == 1024 * 1024 + 1


@pytest.mark.parametrize("base", ["", "?site=aarhus"])
async def test_secrets_stand_in_nothing_that_is_shown(
    resources: TargetResources, base: str
) -> None:
    async def echo(request: receivers.ReceivedRequest, writer: asyncio.StreamWriter) -> None:
        answer = receivers.redirect(f"https://elsewhere.org{request.target}&again={SECRET}")
        if "json" in request.headers["content-type"]:
            answer = receivers.status(
                500, request.target.encode(), server=SECRET, location=f"/a/{SECRET}?b=c"
            )
        await answer(request, writer)

    async with Receiver(echo) as receiver:
        target = make_target(
            resources,
            receiver.url + base,
            authorizationType="SECRET_URL_PARAMETER",
            secretParameterName="key",
            secretParameterValue=SECRET,
        )
        failed = await failure(target)
        (redirected,) = await target.deliver([replace(make_push(), content_type="text/plain")])
    unreachable = await failure(target)
    assert isinstance(redirected, DeliveryError)
    for error in (failed, redirected, unreachable):
        assert error.exchange is not None
        shown = error.exchange.to_json()
        assert SECRET not in f"{error} {shown} {error.exchange!r}"
        assert shown["url"].endswith(("/receive?key=[secret]", "/receive?site=aarhus&key=[secret]"))


async def test_long_headers_of_an_answer_are_shown_in_part(resources: TargetResources) -> None:
    async with Receiver(receivers.status(500, server="n" * 5000)) as receiver:
        error = await failure(make_target(resources, receiver.url))
    assert error.exchange is not None
    assert error.exchange.response_headers["server"] == "n" * 200
