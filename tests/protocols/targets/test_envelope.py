"""Bodies with an envelope, and batches of them, as a receiver gets them."""

import json
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from standardwebhooks import Webhook

from protocols.errors import (
    DeliveryError,
    DeliveryFault,
    DeliveryRefused,
    DeliveryRetryable,
    InvalidInput,
)
from protocols.identifiers import new_delivery_id, new_message_id
from protocols.messages import DeliveryId, DeviceId
from protocols.targets import Delivered, Push, TargetResources
from protocols.targets.http.envelope import OVERHEAD_BYTES, batched
from protocols.targets.http.session import http_session
from protocols.targets.http.signing import SigningAlgorithm, new_signing_secret
from protocols.targets.http_push import HttpPushTarget
from protocols.targets.policy import MAX_BATCH
from tests.support import receivers
from tests.support.guards import loopback_guard
from tests.support.pushes import DELIVERY_ID, MESSAGE_ID, make_push
from tests.support.receivers import Receiver

BATCH_ID = DeliveryId("017f22e2-79b0-7cc3-98c4-dc0c0c0739ff")
BODY = b'{"t": 21.50,\n "place": "Aarh\xc3\xbas"}'
EVENT = b'{"type":"endpoint.failing","timestamp":"2026-01-02T00:00:00Z","data":{"targetId":3}}'


@pytest.fixture
async def resources() -> AsyncIterator[TargetResources]:
    guard = loopback_guard()
    async with http_session(guard=guard) as session:
        yield TargetResources(http_session=session, guard=guard)


def make_target(resources: TargetResources, url: str, **settings: object) -> HttpPushTarget:
    return HttpPushTarget.from_settings({"url": url, **settings}, resources)


def make_batch(count: int, *, is_replay: bool = False) -> list[Push]:
    return [
        replace(
            make_push(b'{"n": %d.0}' % number, is_replay=is_replay),
            delivery_id=new_delivery_id(),
            message_id=new_message_id(),
            batch_id=BATCH_ID,
        )
        for number in range(count)
    ]


async def test_envelope_holds_the_decoders_output_byte_for_byte(
    resources: TargetResources,
) -> None:
    async with Receiver() as receiver:
        target = make_target(resources, receiver.url, envelope=True)
        (outcome,) = await target.deliver([make_push(BODY)])
    assert isinstance(outcome, Delivered)
    (request,) = receiver.requests
    assert request.body == (
        b'{"type":"uplink.decoded","timestamp":"2026-01-02T03:04:05.678Z","data":' + BODY + b"}"
    )
    assert request.headers["content-type"] == "application/json"
    assert request.headers["webhook-id"] == DELIVERY_ID
    assert request.headers["tingbro-message-id"] == MESSAGE_ID


async def test_what_is_about_the_hub_itself_comes_as_it_is(resources: TargetResources) -> None:
    push = replace(make_push(EVENT), event_type="endpoint.failing")
    async with Receiver() as receiver:
        for settings in ({}, {"envelope": True}):
            await make_target(resources, receiver.url, **settings).deliver([push])
    assert [request.body for request in receiver.requests] == [EVENT, EVENT]


async def test_batch_is_one_request_under_the_id_of_the_batch(resources: TargetResources) -> None:
    batch = make_batch(3)
    async with Receiver() as receiver:
        target = make_target(resources, receiver.url, envelope=True, batchSize=10)
        outcomes = await target.deliver(batch)
    assert (target.batch_size, target.freezes_batches) == (10, True)
    assert [type(outcome) for outcome in outcomes] == [Delivered] * 3
    (request,) = receiver.requests
    assert request.headers["webhook-id"] == BATCH_ID
    assert "tingbro-message-id" not in request.headers
    assert "tingbro-replay" not in request.headers
    received: list[dict[str, Any]] = json.loads(request.body)
    assert received == [
        {
            "id": push.delivery_id,
            "type": "uplink.decoded",
            "timestamp": "2026-01-02T03:04:05.678Z",
            "messageId": push.message_id,
            "deviceId": 7,
            "data": {"n": float(number)},
        }
        for number, push in enumerate(batch)
    ]
    assert b'"data":{"n": 2.0}' in request.body


async def test_batch_of_one_is_an_array_too(resources: TargetResources) -> None:
    async with Receiver() as receiver:
        await make_target(resources, receiver.url, envelope=True, batchSize=2).deliver(
            make_batch(1)
        )
    assert len(json.loads(receiver.requests[0].body)) == 1


async def test_batch_is_signed_whole(resources: TargetResources) -> None:
    secret = new_signing_secret(SigningAlgorithm.HMAC_SHA256)
    async with Receiver() as receiver:
        target = make_target(
            resources,
            receiver.url,
            envelope=True,
            batchSize=5,
            signingKeys=[{"id": "k1", "secret": secret, "expiresAt": None}],
        )
        await target.deliver(make_batch(5))
    (request,) = receiver.requests
    assert len(Webhook(secret).verify(request.body, dict(request.headers))) == 5


async def test_replays_are_marked_in_the_batch_and_on_it_where_all_are(
    resources: TargetResources,
) -> None:
    live, replayed = make_batch(2), make_batch(2, is_replay=True)
    async with Receiver() as receiver:
        target = make_target(resources, receiver.url, envelope=True, batchSize=5)
        await target.deliver([*live, *replayed])
        await target.deliver(replayed)
    mixed, only = receiver.requests
    assert [item.get("isReplay", False) for item in json.loads(mixed.body)] == [
        False,
        False,
        True,
        True,
    ]
    assert "tingbro-replay" not in mixed.headers
    assert only.headers["tingbro-replay"] == "1"


@pytest.mark.parametrize("code", [400, 500])
async def test_batch_fails_as_one(resources: TargetResources, code: int) -> None:
    async with Receiver(receivers.status(code)) as receiver:
        target = make_target(resources, receiver.url, envelope=True, batchSize=5)
        outcomes = await target.deliver(make_batch(3))
    assert [getattr(outcome, "status_code", None) for outcome in outcomes] == [code] * 3
    assert all(isinstance(outcome, DeliveryRetryable) for outcome in outcomes)


async def test_batch_that_is_too_large_for_its_receiver_condemns_no_message(
    resources: TargetResources,
) -> None:
    async with Receiver(receivers.status(413)) as receiver:
        target = make_target(resources, receiver.url, envelope=True, batchSize=5)
        (several, _) = await target.deliver(make_batch(2))
        (alone,) = await target.deliver(make_batch(1))
    assert isinstance(several, DeliveryRetryable)
    assert several.fault is DeliveryFault.CONFIGURATION
    assert "batchSize" in str(several)
    assert several.exchange is not None
    assert isinstance(alone, DeliveryRefused)


@pytest.mark.parametrize(
    "mistaken",
    [
        {"envelope": "yes"},
        {"envelope": 1},
        {"batchSize": 0, "envelope": True},
        {"batchSize": 501, "envelope": True},
        {"batchSize": 2.0, "envelope": True},
        {"batchSize": True, "envelope": True},
        {"batchSize": "2", "envelope": True},
        {"batchSize": 2},
        {"batchSize": 2, "envelope": False},
    ],
)
async def test_forms_that_do_not_exist_are_refused_with_a_sentence(
    resources: TargetResources, mistaken: dict[str, object]
) -> None:
    with pytest.raises(InvalidInput, match=r"^`(envelope|batchSize)` .*\.$"):
        make_target(resources, "https://example.org/", **mistaken)


async def test_mistakes_in_address_and_form_are_told_at_once(resources: TargetResources) -> None:
    with pytest.raises(InvalidInput) as caught:
        make_target(resources, "nowhere", batchSize=0, signingKeys=7, timeout=0)
    for name in ("`url`", "`batchSize`", "`signingKeys`", "`timeout`"):
        assert name in str(caught.value)


async def test_largest_batch_that_is_promised_fits_into_one_request(
    resources: TargetResources,
) -> None:
    async with Receiver() as receiver:
        target = make_target(resources, receiver.url, envelope=True, batchSize=MAX_BATCH)
        assert target.max_batch_bytes is not None
        room = target.max_batch_bytes // MAX_BATCH - target.push_overhead_bytes
        body = b'"' + b"a" * (room - 2) + b'"'
        batch = [
            replace(push, body=body, device_id=DeviceId(2**63 - 1), is_replay=True)
            for push in make_batch(MAX_BATCH)
        ]
        outcomes = await target.deliver(batch)
    assert not any(isinstance(outcome, DeliveryError) for outcome in outcomes)


@given(
    device_id=st.integers(1, 2**63 - 1),
    created_at=st.datetimes(timezones=st.just(UTC)),
    data=st.recursive(
        st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.text(max_size=20),
        lambda children: st.lists(children, max_size=3) | st.dictionaries(st.text(), children),
        max_leaves=5,
    ),
)
def test_envelopes_are_json_and_no_longer_than_is_said(
    device_id: int, created_at: datetime, data: object
) -> None:
    body = json.dumps(data).encode()
    push = replace(
        make_push(body, is_replay=True), device_id=DeviceId(device_id), created_at=created_at
    )
    whole = batched([push, push])
    assert [item["data"] for item in json.loads(whole)] == [data, data]
    assert len(whole) <= 2 + 2 * (len(body) + OVERHEAD_BYTES)
