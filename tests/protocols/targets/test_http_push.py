import asyncio
import base64
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from email.utils import format_datetime

import aiohttp
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from protocols.errors import DeliveryError, DeliveryRefused, DeliveryRetryable, InvalidInput
from protocols.messages import DeliveryId, DeviceId, MessageId
from protocols.targets import Delivered, Outcome, Push, TargetResources
from protocols.targets.http.exchange import MAX_ANSWER_BYTES
from protocols.targets.http.session import http_session
from protocols.targets.http_push import HttpPushTarget
from tests.support import receivers
from tests.support.guards import loopback_guard
from tests.support.receivers import Receiver

NOW_S = 1_700_000_000.9
SECRET = "s3cr3t æøå&=+/?"


@pytest.fixture
async def session() -> AsyncIterator[aiohttp.ClientSession]:
    async with http_session("1.2.3", guard=loopback_guard()) as session:
        yield session


def make_target(session: aiohttp.ClientSession, url: str, **settings_: object) -> HttpPushTarget:
    resources = TargetResources(http_session=session, guard=loopback_guard(), clock_s=lambda: NOW_S)
    return HttpPushTarget.from_settings({"url": url, "timeout": 5000, **settings_}, resources)


def make_push(body: bytes = b'{"t": 21.50}', attempt: int = 1, is_replay: bool = False) -> Push:
    return Push(
        delivery_id=DeliveryId("017f22e2-79b0-7cc3-98c4-dc0c0c07398f"),
        message_id=MessageId("017f22e2-79b0-7cc3-98c4-dc0c0c073990"),
        device_id=DeviceId(7),
        attempt=attempt,
        created_at=datetime(2026, 1, 2, tzinfo=UTC),
        body=body,
        is_replay=is_replay,
    )


async def push_once(target: HttpPushTarget, push: Push | None = None) -> Outcome:
    (outcome,) = await target.deliver([push or make_push()])
    return outcome


def failed(outcome: Outcome) -> DeliveryError:
    assert isinstance(outcome, DeliveryError)
    return outcome


async def test_body_is_posted_byte_for_byte_with_the_headers_that_name_it(
    session: aiohttp.ClientSession,
) -> None:
    async with Receiver() as receiver:
        outcome = await push_once(
            make_target(session, receiver.url), make_push(b'{"a":1.0, "b":"\xc3\xa6"}')
        )
    (request,) = receiver.requests
    assert isinstance(outcome, Delivered)
    assert outcome.status_code == 200
    assert (request.method, request.target) == ("POST", "/receive")
    assert request.body == b'{"a":1.0, "b":"\xc3\xa6"}'
    assert {name.lower(): value for name, value in request.headers.items()} == {
        "host": f"127.0.0.1:{receiver.port}",
        "accept": "*/*",
        "accept-encoding": "identity",
        "content-type": "application/json",
        "content-length": str(len(request.body)),
        "user-agent": "Tingbro/1.2.3",
        "webhook-id": "017f22e2-79b0-7cc3-98c4-dc0c0c07398f",
        "webhook-timestamp": "1700000000",
        "tingbro-message-id": "017f22e2-79b0-7cc3-98c4-dc0c0c073990",
    }


async def test_replay_is_marked(session: aiohttp.ClientSession) -> None:
    async with Receiver() as receiver:
        await push_once(make_target(session, receiver.url), make_push(is_replay=True))
    assert receiver.requests[0].headers["tingbro-replay"] == "1"


async def test_authorization_header_alone_is_sent_as_existing_clients_expect(
    session: aiohttp.ClientSession,
) -> None:
    async with Receiver() as receiver:
        target = make_target(session, receiver.url, authorizationHeader="Bearer abc")
        await push_once(target)
    assert receiver.requests[0].headers["Authorization"] == "Bearer abc"


async def test_basic_authorization_sends_user_and_password_in_utf8(
    session: aiohttp.ClientSession,
) -> None:
    async with Receiver() as receiver:
        target = make_target(
            session,
            receiver.url,
            authorizationType="HTTP_BASIC_AUTHORIZATION",
            username="bruger",
            password=SECRET,
        )
        await push_once(target)
    scheme, credentials = receiver.requests[0].headers["Authorization"].split(" ")
    assert (scheme, base64.b64decode(credentials).decode()) == ("Basic", f"bruger:{SECRET}")


async def test_secret_header_is_sent_under_its_own_name(session: aiohttp.ClientSession) -> None:
    async with Receiver() as receiver:
        target = make_target(
            session,
            receiver.url,
            authorizationType="SECRET_HEADER",
            secretHeaderName="X-Api-Key",
            secretHeaderValue="abc def",
        )
        await push_once(target)
    assert receiver.requests[0].headers["x-api-key"] == "abc def"
    assert "Authorization" not in receiver.requests[0].headers


async def test_secret_url_parameter_joins_the_query_that_is_there(
    session: aiohttp.ClientSession,
) -> None:
    async with Receiver() as receiver:
        target = make_target(
            session,
            f"{receiver.url}?site=aarhus",
            authorizationType="SECRET_URL_PARAMETER",
            secretParameterName="key",
            secretParameterValue=SECRET,
        )
        await push_once(target)
    assert receiver.requests[0].query == {"site": "aarhus", "key": SECRET}


@pytest.mark.parametrize(
    "mistaken",
    [
        {"url": 7},
        {"url": ""},
        {"url": "ftp://example.org/"},
        {"url": "example.org/x"},
        {"url": "https://"},
        {"url": "https://user:pass@example.org/"},
        {"url": "https://example.org:99999/"},
        {"url": "https://example.org/a b"},
        {"url": "https://example.org/\r\nx: y"},
        {"url": "https://[::1/"},
        {"url": "https://example.org/" + "a" * 1024},
        {"url": "https://\ud800.org/"},
        {"timeout": 0},
        {"timeout": 1.5},
        {"timeout": True},
        {"timeout": "30000"},
        {"timeout": 10**9},
        {"authorizationType": "OAUTH_AUTHORIZATION"},
        {"authorizationType": 1},
        {"authorizationType": "HEADER_BASED_AUTHORIZATION"},
        {"authorizationHeader": "Bearer a\r\nx: y"},
        {"authorizationHeader": "Bearer æ"},
        {"authorizationHeader": 5},
        {"authorizationType": "HTTP_BASIC_AUTHORIZATION", "username": "a"},
        {"authorizationType": "HTTP_BASIC_AUTHORIZATION", "username": "a:b", "password": "c"},
        {"authorizationType": "SECRET_HEADER", "secretHeaderName": "a b", "secretHeaderValue": "c"},
        {
            "authorizationType": "SECRET_HEADER",
            "secretHeaderName": "Host",
            "secretHeaderValue": "c",
        },
        {
            "authorizationType": "SECRET_HEADER",
            "secretHeaderName": "Webhook-Id",
            "secretHeaderValue": "c",
        },
        {"authorizationType": "SECRET_URL_PARAMETER", "secretParameterName": "a"},
        {
            "url": "https://example.org/?a=1",
            "authorizationType": "SECRET_URL_PARAMETER",
            "secretParameterName": "a",
            "secretParameterValue": "b",
        },
    ],
)
async def test_settings_that_cannot_be_used_are_refused_with_a_sentence(
    session: aiohttp.ClientSession, mistaken: dict[str, object]
) -> None:
    with pytest.raises(InvalidInput, match=r"^`\w+` .*\.$"):
        make_target(session, **{"url": "https://example.org/", **mistaken})  # type: ignore[arg-type] # wrong on purpose


async def test_all_mistakes_are_told_at_once(session: aiohttp.ClientSession) -> None:
    with pytest.raises(InvalidInput) as caught:
        make_target(session, "nowhere", timeout=-1, authorizationType="HTTP_BASIC_AUTHORIZATION")
    for name in ("`url`", "`timeout`", "`username`", "`password`"):
        assert name in str(caught.value)


async def test_target_without_an_address_takes_no_pushes(session: aiohttp.ClientSession) -> None:
    resources = TargetResources(http_session=session, guard=loopback_guard())
    for without in ({}, {"url": None, "timeout": 5, "authorizationHeader": "Bearer x"}):
        assert not HttpPushTarget.from_settings(without, resources).takes_pushes
    with_address = HttpPushTarget.from_settings({"url": "https://example.org"}, resources)
    assert with_address.takes_pushes


@pytest.mark.parametrize("code", [200, 201, 202, 204, 299])
async def test_answers_of_the_200s_are_success(session: aiohttp.ClientSession, code: int) -> None:
    async with Receiver(receivers.status(code)) as receiver:
        outcome = await push_once(make_target(session, receiver.url))
    assert isinstance(outcome, Delivered)
    assert outcome.status_code == code


@pytest.mark.parametrize("code", [300, 400, 401, 403, 404, 410, 418, 422, 429, 500, 503, 599, 999])
async def test_other_answers_may_be_retried_and_say_what_was_answered(
    session: aiohttp.ClientSession, code: int
) -> None:
    async with Receiver(receivers.status(code, b"because")) as receiver:
        error = failed(await push_once(make_target(session, receiver.url)))
    assert isinstance(error, DeliveryRetryable)
    assert (error.status_code, str(code) in str(error)) == (code, True)
    assert error.response_excerpt == "because"


async def test_too_large_is_refused_for_good(session: aiohttp.ClientSession) -> None:
    async with Receiver(receivers.status(413)) as receiver:
        error = failed(await push_once(make_target(session, receiver.url)))
    assert isinstance(error, DeliveryRefused)
    assert error.status_code == 413


async def test_body_over_a_mebibyte_is_refused_unsent(session: aiohttp.ClientSession) -> None:
    async with Receiver() as receiver:
        target = make_target(session, receiver.url)
        largest = await push_once(target, make_push(b'"' + b"a" * (1024 * 1024 - 2) + b'"'))
        larger = await push_once(target, make_push(b"1" * (1024 * 1024 + 1)))
    assert isinstance(largest, Delivered)
    assert isinstance(larger, DeliveryRefused)
    assert len(receiver.requests) == 1


async def test_redirects_are_never_followed(session: aiohttp.ClientSession) -> None:
    async with Receiver() as elsewhere, Receiver(receivers.redirect(elsewhere.url)) as receiver:
        error = failed(await push_once(make_target(session, receiver.url)))
    assert error.status_code == 307
    assert "redirect" in str(error)
    assert elsewhere.requests == []


@pytest.mark.parametrize(
    ("value", "expected_s"),
    [
        ("120", 120.0),
        (" 0 ", 0.0),
        (format_datetime(datetime.fromtimestamp(int(NOW_S) + 60, UTC), usegmt=True), 59.1),
        ("Sun, 06 Nov 1994 08:49:37 GMT", 0.0),
        ("Sunday, 06-Nov-94 08:49:37 GMT", 0.0),
        ("-5", None),
        ("1.5", None),
        ("soon", None),
        ("9" * 400, None),
        ("Sun, 99 Nov 1994 08:49:37 GMT", None),
    ],
)
async def test_retry_after_is_read_in_both_its_forms(
    session: aiohttp.ClientSession, value: str, expected_s: float | None
) -> None:
    async with Receiver(receivers.status(503, retry_after=value)) as receiver:
        error = failed(await push_once(make_target(session, receiver.url)))
    assert error.retry_after_s == (None if expected_s is None else pytest.approx(expected_s))


async def test_of_a_long_answer_one_kibibyte_is_kept_and_the_connection_given_up(
    session: aiohttp.ClientSession,
) -> None:
    async with Receiver(receivers.huge_body(500)) as receiver:
        target = make_target(session, receiver.url)
        error = failed(await push_once(target))
        await push_once(target)
    assert error.response_excerpt == "x" * 1024
    assert receiver.connections == 2


async def test_answer_at_the_limit_keeps_the_connection(session: aiohttp.ClientSession) -> None:
    async with Receiver(receivers.status(200, b"x" * MAX_ANSWER_BYTES)) as receiver:
        target = make_target(session, receiver.url)
        await push_once(target)
        await push_once(target)
    assert receiver.connections == 1


async def test_success_with_an_endless_body_is_success_and_reading_stops(
    session: aiohttp.ClientSession,
) -> None:
    async with Receiver(receivers.endless_body()) as receiver:
        assert isinstance(await push_once(make_target(session, receiver.url)), Delivered)


async def test_compressed_answer_is_not_unpacked(session: aiohttp.ClientSession) -> None:
    async with Receiver(receivers.gzip_bomb(500)) as receiver:
        error = failed(await push_once(make_target(session, receiver.url)))
    assert error.response_excerpt == "(compressed; not shown)"


@pytest.mark.parametrize(
    "answer",
    [
        receivers.never(),
        receivers.slowly(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n", interval_s=0.05),
        receivers.in_turn(
            receivers.slowly(b"HTTP/1.1 200 OK\r\n", interval_s=0), receivers.never()
        ),
        receivers.endless_interim_answers(),
    ],
)
async def test_timeout_covers_the_whole_answer_however_slowly_it_comes(
    session: aiohttp.ClientSession, answer: receivers.Answer
) -> None:
    async with Receiver(answer) as receiver:
        target = make_target(session, receiver.url, timeout=200)
        async with asyncio.timeout(5):
            error = failed(await push_once(target))
    assert isinstance(error, DeliveryRetryable)
    assert "0.2 s" in str(error)


@pytest.mark.parametrize(
    "answer",
    [
        receivers.garbage(),
        receivers.raw_then_close(b"SSH-2.0-OpenSSH_9.2\r\n"),
        receivers.endless_headers(),
        receivers.endless_header_line(),
        receivers.huge_header(),
        receivers.truncated_body(),
        receivers.contradictory_length(),
        receivers.closes(),
        receivers.closes_mid_way(),
        receivers.resets(),
        receivers.raw_then_close(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\nzz\r\n"),
        receivers.raw_then_close(b"HTTP/1.1 20x OK\r\n\r\n"),
        receivers.status(101, connection="upgrade", upgrade="h2c"),
    ],
)
async def test_answer_that_is_no_answer_may_be_retried_and_harms_nothing(
    session: aiohttp.ClientSession, answer: receivers.Answer
) -> None:
    async with Receiver(answer) as receiver:
        target = make_target(session, receiver.url)
        error = failed(await push_once(target))
        receiver.answer = receivers.status(204)
        assert isinstance(await push_once(target), Delivered)
    assert isinstance(error, DeliveryRetryable)
    assert str(error).endswith(".")


async def test_answer_to_nothing_is_not_taken_for_the_answer_to_the_next_push(
    session: aiohttp.ClientSession,
) -> None:
    unasked = b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n"
    answer = receivers.raw(b"HTTP/1.1 500 No\r\ncontent-length: 0\r\n\r\n" + unasked)
    async with Receiver(answer) as receiver:
        target = make_target(session, receiver.url)
        outcomes = [await push_once(target) for _ in range(3)]
    assert all(isinstance(outcome, DeliveryRetryable) for outcome in outcomes)
    assert len(receiver.requests) == 3


async def test_bytes_after_an_answer_end_in_an_outcome(session: aiohttp.ClientSession) -> None:
    async with Receiver(receivers.more_than_announced()) as receiver:
        target = make_target(session, receiver.url)
        outcome = await push_once(target)
        receiver.answer = receivers.status(200)
        assert isinstance(await push_once(target), Delivered)
    assert isinstance(outcome, Delivered | DeliveryRetryable)


async def test_receiver_that_is_not_there_may_be_retried(session: aiohttp.ClientSession) -> None:
    async with Receiver() as receiver:
        target = make_target(session, receiver.url)
    error = failed(await push_once(target))
    assert isinstance(error, DeliveryRetryable)
    assert "cannot be reached" in str(error)


async def test_host_that_has_no_address_may_be_retried(session: aiohttp.ClientSession) -> None:
    error = failed(await push_once(make_target(session, "http://nowhere.invalid/")))
    assert isinstance(error, DeliveryRetryable)
    assert "resolved" in str(error)


@pytest.mark.parametrize(
    "settings_",
    [
        {"authorizationHeader": "Bearer tops3cret"},
        {
            "authorizationType": "HTTP_BASIC_AUTHORIZATION",
            "username": "u",
            "password": "tops3cret",
        },
        {
            "authorizationType": "SECRET_HEADER",
            "secretHeaderName": "x-key",
            "secretHeaderValue": "tops3cret",
        },
        {
            "authorizationType": "SECRET_URL_PARAMETER",
            "secretParameterName": "key",
            "secretParameterValue": "tops3cret",
        },
    ],
)
async def test_secrets_stand_in_no_text_even_if_the_receiver_echoes_them(
    session: aiohttp.ClientSession, settings_: dict[str, object]
) -> None:
    async def echo(request: receivers.ReceivedRequest, writer: asyncio.StreamWriter) -> None:
        echoed = f"{request.target} {dict(request.headers)} tops3cret".encode()
        await receivers.status(500, echoed)(request, writer)

    async with Receiver(echo) as receiver:
        target = make_target(session, receiver.url, **settings_)
        answered = failed(await push_once(target))
    unreachable = failed(await push_once(target))
    credentials = base64.b64encode(b"u:tops3cret").decode()
    for text in (repr(target), str(answered), answered.response_excerpt, str(unreachable)):
        assert text
        assert "tops3cret" not in text
        assert credentials not in text


async def test_connection_is_kept_for_the_next_push(session: aiohttp.ClientSession) -> None:
    async with Receiver() as receiver:
        target = make_target(session, receiver.url)
        for _ in range(3):
            await push_once(target)
    assert receiver.connections == 1


async def test_no_proxy_or_password_is_taken_from_the_environment(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async with Receiver() as proxy, Receiver() as receiver:
        monkeypatch.setenv("http_proxy", proxy.url)
        monkeypatch.delenv("no_proxy", raising=False)
        async with http_session(guard=loopback_guard()) as session:
            await push_once(make_target(session, receiver.url))
    assert (len(proxy.requests), len(receiver.requests)) == (0, 1)


async def test_cookies_are_not_kept(session: aiohttp.ClientSession) -> None:
    async with Receiver(receivers.status(200, set_cookie="a=b")) as receiver:
        target = make_target(session, receiver.url)
        await push_once(target)
        await push_once(target)
    assert "Cookie" not in receiver.requests[1].headers


@settings(max_examples=150, deadline=None)
@given(
    answer=st.one_of(
        st.binary(max_size=300),
        st.binary(max_size=100).map(lambda rest: b"HTTP/1.1 200 OK\r\n" + rest),
        st.tuples(st.integers(0, 1100), st.binary(max_size=50)).map(
            lambda parts: b"HTTP/1.1 %d X\r\ncontent-length: 10\r\n\r\n%s" % parts
        ),
        st.binary(max_size=100).map(
            lambda rest: b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n" + rest
        ),
    )
)
def test_whatever_bytes_come_back_there_is_an_outcome(answer: bytes) -> None:
    async def exchange() -> Outcome:
        async with (
            http_session(guard=loopback_guard()) as session,
            Receiver(receivers.raw_then_close(answer)) as receiver,
        ):
            return await push_once(make_target(session, receiver.url))

    outcome = asyncio.run(exchange())
    assert isinstance(outcome, Delivered | DeliveryRetryable | DeliveryRefused)
