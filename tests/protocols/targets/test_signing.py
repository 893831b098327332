"""Signatures, checked with what receivers have, and not with the code that made them."""

import base64
import re
import time
from collections.abc import AsyncIterator

import aiohttp
import pytest
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from hypothesis import given
from hypothesis import strategies as st
from standardwebhooks import Webhook, WebhookVerificationError

from protocols.errors import DeliveryError, InvalidInput
from protocols.targets import Delivered, Outcome, Push, TargetResources
from protocols.targets.http.session import http_session
from protocols.targets.http.signing import (
    Signer,
    SigningAlgorithm,
    new_signing_secret,
    parse_signing_keys,
    public_key_of,
)
from protocols.targets.http_push import HttpPushTarget
from tests.support import receivers
from tests.support.guards import loopback_guard
from tests.support.pushes import make_push
from tests.support.receivers import ReceivedRequest, Receiver

HMAC, ED25519 = SigningAlgorithm.HMAC_SHA256, SigningAlgorithm.ED25519


class Clock:
    def __init__(self, now_s: float) -> None:
        self.now_s = now_s

    def __call__(self) -> float:
        return self.now_s


@pytest.fixture
async def session() -> AsyncIterator[aiohttp.ClientSession]:
    async with http_session(guard=loopback_guard()) as session:
        yield session


def key(secret: str, key_id: str = "k1", expires_at: float | None = None) -> dict[str, object]:
    return {"id": key_id, "secret": secret, "expiresAt": expires_at}


async def push_signed(
    session: aiohttp.ClientSession,
    url: str,
    keys: list[dict[str, object]] | None,
    *,
    clock: Clock | None = None,
    push: Push | None = None,
) -> Outcome:
    guard = loopback_guard()
    resources = (
        TargetResources(http_session=session, guard=guard, clock_s=clock)
        if clock
        else TargetResources(http_session=session, guard=guard)
    )
    target = HttpPushTarget.from_settings({"url": url, "signingKeys": keys}, resources)
    (outcome,) = await target.deliver([push or make_push()])
    return outcome


def verify_hmac(secret: str, request: ReceivedRequest) -> None:
    """As any receiver does that follows Standard Webhooks; also refuses what is older than 5 min."""
    Webhook(secret).verify(request.body, dict(request.headers), json_parse=False)


def verify_ed25519(public_key: str, request: ReceivedRequest) -> None:
    raw = base64.b64decode(public_key.removeprefix("whpk_"), validate=True)
    named = f"{request.headers['webhook-id']}.{request.headers['webhook-timestamp']}."
    signatures = request.headers["webhook-signature"].split(" ")
    (signature,) = [text for text in signatures if text.startswith("v1a,")]
    Ed25519PublicKey.from_public_bytes(raw).verify(
        base64.b64decode(signature.removeprefix("v1a,"), validate=True),
        named.encode() + request.body,
    )


async def test_receiver_verifies_a_push_with_the_public_library(
    session: aiohttp.ClientSession,
) -> None:
    secret = new_signing_secret(HMAC)
    push = make_push(b'{"place": "Aarh\xc3\xbas",\n  "t": 21.50}')
    async with Receiver() as receiver:
        assert isinstance(
            await push_signed(session, receiver.url, [key(secret)], push=push), Delivered
        )
    (request,) = receiver.requests
    verify_hmac(secret, request)
    with pytest.raises(WebhookVerificationError):
        verify_hmac(new_signing_secret(HMAC), request)


async def test_receiver_verifies_a_push_with_a_public_key(session: aiohttp.ClientSession) -> None:
    secret = new_signing_secret(ED25519)
    public_key, other = public_key_of(secret), public_key_of(new_signing_secret(ED25519))
    assert public_key is not None
    assert other is not None
    async with Receiver() as receiver:
        await push_signed(session, receiver.url, [key(secret)])
    verify_ed25519(public_key, receiver.requests[0])
    with pytest.raises(InvalidSignature):
        verify_ed25519(other, receiver.requests[0])


async def test_without_keys_there_is_no_signature(session: aiohttp.ClientSession) -> None:
    async with Receiver() as receiver:
        none: list[dict[str, object]] = []
        for keys in (None, none):
            await push_signed(session, receiver.url, keys)
    assert all("webhook-signature" not in request.headers for request in receiver.requests)


async def test_while_keys_are_changed_receivers_of_both_are_content(
    session: aiohttp.ClientSession,
) -> None:
    old, new, public = (new_signing_secret(kind) for kind in (HMAC, HMAC, ED25519))
    keys = [key(new, "new"), key(old, "old"), key(public, "public")]
    async with Receiver() as receiver:
        await push_signed(session, receiver.url, keys)
    (request,) = receiver.requests
    verify_hmac(old, request)
    verify_hmac(new, request)
    whpk = public_key_of(public)
    assert whpk is not None
    verify_ed25519(whpk, request)
    assert re.fullmatch(r"v1,\S+ v1,\S+ v1a,\S+", request.headers["webhook-signature"])


async def test_key_signs_until_it_ends_and_not_from_then_on(
    session: aiohttp.ClientSession,
) -> None:
    keys = [
        key(new_signing_secret(HMAC), "new"),
        key(new_signing_secret(HMAC), "old", expires_at=1_700_000_100),
    ]
    clock = Clock(1_700_000_099.9)
    async with Receiver() as receiver:
        await push_signed(session, receiver.url, keys, clock=clock)
        clock.now_s += 0.1
        await push_signed(session, receiver.url, keys, clock=clock)
        await push_signed(session, receiver.url, keys[1:], clock=clock)
    counts = [
        len(request.headers.get("webhook-signature", "").split()) for request in receiver.requests
    ]
    assert counts == [2, 1, 0]


async def test_each_attempt_is_signed_with_its_own_time(session: aiohttp.ClientSession) -> None:
    keys, clock = [key(new_signing_secret(HMAC))], Clock(1_700_000_000)
    async with Receiver() as receiver:
        for _ in range(2):
            await push_signed(session, receiver.url, keys, clock=clock)
            clock.now_s += 5
    first, second = (request.headers for request in receiver.requests)
    assert first["webhook-id"] == second["webhook-id"]
    assert (first["webhook-timestamp"], second["webhook-timestamp"]) == ("1700000000", "1700000005")
    assert first["webhook-signature"] != second["webhook-signature"]


async def test_log_names_the_keys_that_signed(session: aiohttp.ClientSession) -> None:
    keys = [key(new_signing_secret(HMAC), "k7"), key(new_signing_secret(ED25519), "k8")]
    async with Receiver(receivers.status(500)) as receiver:
        error = await push_signed(session, receiver.url, keys)
    assert isinstance(error, DeliveryError)
    assert error.exchange is not None
    assert error.exchange.key_ids == ("k7", "k8")


def test_signature_of_the_specification_is_the_one_that_is_made() -> None:
    # Source: Standard Webhooks 1.0.0, "Signature scheme", and the tests of its libraries.
    keys = parse_signing_keys([key("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw")])
    signature, _ = Signer(keys).sign(
        "msg_p5jXN8AQM9LWM0D4loKWxJek", 1614265330, b'{"test": 2432232314}'
    )
    assert signature == "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="


def test_new_keys_are_new_and_long_enough() -> None:
    for algorithm, prefix in ((HMAC, "whsec_"), (ED25519, "whsk_")):
        made = {new_signing_secret(algorithm) for _ in range(20)}
        assert len(made) == 20
        for secret in made:
            assert secret.startswith(prefix)
            assert 24 <= len(base64.b64decode(secret.removeprefix(prefix))) <= 64


def test_public_key_is_of_the_other_kind_only() -> None:
    assert public_key_of(new_signing_secret(HMAC)) is None
    secret = new_signing_secret(ED25519)
    public_key = public_key_of(secret)
    assert public_key is not None
    assert public_key == public_key_of(secret)
    assert public_key.startswith("whpk_")


def test_private_key_may_have_its_public_key_behind_it() -> None:
    secret = new_signing_secret(ED25519)
    seed, public = (
        base64.b64decode(text.partition("_")[2]) for text in (secret, public_key_of(secret) or "")
    )
    longer = "whsk_" + base64.b64encode(seed + public).decode()
    assert public_key_of(longer) == public_key_of(secret)
    with pytest.raises(InvalidInput, match="does not fit"):
        public_key_of("whsk_" + base64.b64encode(seed + seed).decode())


def of_bytes(prefix: str, count: int) -> str:
    return prefix + base64.b64encode(b"s" * count).decode()


@pytest.mark.parametrize(
    "wrong",
    [
        "whsec_...",
        {},
        [None],
        ["whsec_"],
        [{}],
        [{"id": "k1"}],
        [{"id": "", "secret": of_bytes("whsec_", 32)}],
        [{"id": 1, "secret": of_bytes("whsec_", 32)}],
        [key(of_bytes("whsec_", 23))],
        [key(of_bytes("whsec_", 65))],
        [key(of_bytes("whsk_", 31))],
        [key(of_bytes("whpk_", 32))],
        [key(of_bytes("", 32))],
        [key("whsec_s3cr3t!" + "A" * 40)],
        [key(of_bytes("whsec_", 32), expires_at=True)],
        [{**key(of_bytes("whsec_", 32)), "expiresAt": "tomorrow"}],
        [key(of_bytes("whsec_", 32)), key(of_bytes("whsec_", 32))],
        [key(of_bytes("whsec_", 32), str(number)) for number in range(6)],
    ],
)
def test_keys_that_cannot_be_used_are_refused_without_being_repeated(wrong: object) -> None:
    with pytest.raises(InvalidInput, match=r"\.$") as caught:
        parse_signing_keys(wrong)
    assert "s3cr3t" not in str(caught.value)
    assert "c3Nzc3" not in str(caught.value)


def test_keys_are_not_shown_with_their_secrets() -> None:
    keys = parse_signing_keys([key(of_bytes("whsec_", 32))])
    assert "c3Nzc3" not in repr(keys)
    assert "k1" in repr(keys)


@given(text=st.text(max_size=200), secret=st.binary(min_size=24, max_size=64))
def test_any_body_and_secret_are_verified_by_the_public_library(text: str, secret: bytes) -> None:
    whsec = "whsec_" + base64.b64encode(secret).decode()
    body, now_s = text.encode(errors="replace"), int(time.time())
    signature, _ = Signer(parse_signing_keys([key(whsec)])).sign("d-1", now_s, body)
    assert signature is not None
    headers = {
        "webhook-id": "d-1",
        "webhook-timestamp": str(now_s),
        "webhook-signature": signature,
    }
    Webhook(whsec).verify(body, headers, json_parse=False)
