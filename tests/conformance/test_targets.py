"""What every kind of data target must do, run over every kind that is discovered."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from protocols.errors import DeliveryError, DeliveryFault, InvalidInput
from protocols.identifiers import new_delivery_id, new_message_id
from protocols.messages import DeviceId
from protocols.targets import Delivered, Push, Target, TargetResources, discover
from protocols.targets.http.session import http_session
from protocols.targets.policy import MAX_BATCH, Ordering
from protocols.targets.setting_names import COMMON_SETTINGS, SIGNING_KEYS
from tests.conformance.targets import ReceivedPush, TargetHarness, harness_of
from tests.support.guards import loopback_guard
from web.schemas.data_target import SECRETS, SETTINGS

# A kind that nothing is pushed to needs no receiver, and has tests of its own.
KINDS = sorted(
    (target for target in discover().values() if target.takes_pushes),
    key=lambda target: target.kind,
)
# More than any target needs for a receiver that it allows a second or two.
PATIENCE_S = 10.0

json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda children: (
        st.lists(children, max_size=3) | st.dictionaries(st.text(max_size=5), children, max_size=3)
    ),
    max_leaves=5,
)


@pytest.fixture(params=KINDS, ids=lambda target: target.kind)
def kind(request: pytest.FixtureRequest) -> type[Target]:
    found: type[Target] = request.param
    return found


@pytest.fixture
async def harness(
    kind: type[Target], request: pytest.FixtureRequest
) -> AsyncIterator[TargetHarness]:
    async with harness_of(kind, request.getfixturevalue) as harness:
        yield harness


@pytest.fixture
async def resources() -> AsyncIterator[TargetResources]:
    guard = loopback_guard()
    async with http_session(guard=guard) as session:
        yield TargetResources(http_session=session, guard=guard)


@pytest.fixture
async def target(
    kind: type[Target], harness: TargetHarness, resources: TargetResources
) -> AsyncIterator[Target]:
    target = kind.from_settings(harness.settings, resources)
    await target.open()
    yield target
    await target.close()


def make_push(harness: TargetHarness, number: int = 0) -> Push:
    return Push(
        delivery_id=new_delivery_id(),
        message_id=new_message_id(),
        device_id=DeviceId(1),
        attempt=1,
        created_at=datetime(2026, 1, 1, tzinfo=UTC),
        body=harness.make_body(number),
    )


def as_received(push: Push) -> ReceivedPush:
    return ReceivedPush(delivery_id=push.delivery_id, message_id=push.message_id, body=push.body)


def test_some_kind_is_discovered() -> None:
    assert "HTTP_PUSH" in discover()


async def test_target_takes_at_least_one_push_at_a_time(target: Target) -> None:
    assert 1 <= target.batch_size <= MAX_BATCH


async def test_batch_that_stays_together_is_one_of_several(target: Target) -> None:
    assert target.batch_size > 1 or not target.freezes_batches


async def test_room_in_a_batch_is_enough_for_some_message(target: Target) -> None:
    assert target.push_overhead_bytes >= 0
    assert target.max_batch_bytes is None or target.max_batch_bytes > target.push_overhead_bytes


def test_order_that_a_kind_insists_on_is_one_that_there_is(kind: type[Target]) -> None:
    assert kind.ordering is None or kind.ordering in Ordering


async def test_whoever_tries_a_target_out_is_shown_the_exchange_without_secrets(
    target: Target, harness: TargetHarness
) -> None:
    (outcome,) = await target.deliver([replace(make_push(harness), is_test=True)])
    assert isinstance(outcome, Delivered)
    assert outcome.exchange is not None
    assert harness.secret not in f"{outcome.exchange!r} {outcome.exchange.to_json()}"


async def test_push_arrives_unaltered_under_its_delivery_and_message_ids(
    target: Target, harness: TargetHarness
) -> None:
    pushes = [make_push(harness, 1), make_push(harness, 2)]
    for push in pushes:
        (outcome,) = await target.deliver([push])
        assert isinstance(outcome, Delivered)
        assert 0 <= outcome.duration_s < PATIENCE_S
    assert harness.received() == [as_received(push) for push in pushes]


async def test_full_batch_has_one_outcome_for_each_push_in_order(
    target: Target, harness: TargetHarness
) -> None:
    batch = [make_push(harness, number) for number in range(target.batch_size)]
    outcomes = await target.deliver(batch)
    assert [type(outcome) for outcome in outcomes] == [Delivered] * len(batch)
    assert harness.received() == [as_received(push) for push in batch]


async def test_repeated_attempt_carries_the_same_delivery_id(
    target: Target, harness: TargetHarness
) -> None:
    push = make_push(harness)
    await target.deliver([push])
    await target.deliver([replace(push, attempt=2)])
    assert harness.received() == [as_received(push)] * 2


async def test_several_deliveries_may_run_at_once(target: Target, harness: TargetHarness) -> None:
    pushes = [make_push(harness, number) for number in range(20)]
    outcomes = await asyncio.gather(*(target.deliver([push]) for push in pushes))
    assert all(isinstance(outcome, Delivered) for (outcome,) in outcomes)
    assert {received.body for received in harness.received()} == {push.body for push in pushes}


async def test_every_fault_ends_in_an_error_without_secrets_and_heals(
    target: Target, harness: TargetHarness
) -> None:
    for name, strike in harness.faults.items():
        await strike()
        async with asyncio.timeout(PATIENCE_S):
            (outcome,) = await target.deliver([make_push(harness)])
        assert isinstance(outcome, DeliveryError), name
        assert str(outcome).endswith("."), name
        assert harness.secret not in f"{outcome} {outcome.response_excerpt} {target!r}", name
        assert outcome.fault in DeliveryFault, name
        assert outcome.exchange is not None, name
        assert harness.secret not in f"{outcome.exchange!r} {outcome.exchange.to_json()}", name
        await harness.heal()
        (outcome,) = await target.deliver([make_push(harness)])
        assert isinstance(outcome, Delivered), name


async def test_cancelled_delivery_leaves_the_target_usable(
    target: Target, harness: TargetHarness
) -> None:
    for strike in harness.faults.values():
        await strike()
        before = len(harness.received())
        attempt = asyncio.ensure_future(target.deliver([make_push(harness)]))
        async with asyncio.timeout(PATIENCE_S):
            await harness.wait_for(before + 1)
        attempt.cancel()
        await asyncio.wait([attempt])
        await harness.heal()
        (outcome,) = await target.deliver([make_push(harness)])
        assert isinstance(outcome, Delivered)


async def test_second_close_does_nothing(target: Target) -> None:
    await target.close()
    await target.close()


async def test_empty_settings_make_a_target_to_pull_from_or_are_refused_with_a_sentence(
    kind: type[Target], resources: TargetResources
) -> None:
    sentence, takes_pushes = "", False
    try:
        takes_pushes = kind.from_settings({}, resources).takes_pushes
    except InvalidInput as error:
        sentence = str(error)
    assert not takes_pushes
    assert sentence == "" or sentence.endswith(".")


async def test_kind_names_what_it_reads(kind: type[Target], harness: TargetHarness) -> None:
    names = kind.setting_names | kind.secret_names
    assert harness.settings.keys() <= names | COMMON_SETTINGS
    assert names.isdisjoint(COMMON_SETTINGS)
    assert kind.setting_names.isdisjoint(kind.secret_names)


def test_names_of_a_kind_are_those_of_the_api(kind: type[Target]) -> None:
    assert kind.setting_names <= set(SETTINGS)
    assert kind.secret_names - {SIGNING_KEYS} <= set(SECRETS)


# Not too slow for a busy machine either: what is drawn is small, whatever the time it takes.
@settings(
    max_examples=200,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(data=st.data())
async def test_any_settings_make_a_target_or_are_refused(
    kind: type[Target], harness: TargetHarness, resources: TargetResources, data: st.DataObject
) -> None:
    changed = data.draw(st.dictionaries(st.sampled_from(sorted(harness.settings)), json_values))
    with suppress(InvalidInput):
        target = kind.from_settings({**harness.settings, **changed}, resources)
        assert isinstance(target, kind)


async def test_unknown_settings_are_ignored(
    kind: type[Target], harness: TargetHarness, resources: TargetResources
) -> None:
    target = kind.from_settings({**harness.settings, "settingOfAnotherKind": [1]}, resources)
    assert isinstance(target, kind)
