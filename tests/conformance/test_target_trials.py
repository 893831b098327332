"""What a person finds who tries a data target out, for every kind that is discovered."""

from collections.abc import AsyncIterator
from datetime import UTC, datetime

import pytest

from protocols.errors import DeliveryError
from protocols.targets import Delivered, Target, TargetResources, discover
from protocols.targets.http.session import http_session
from tests.conformance.targets import TargetHarness, harness_of
from tests.support.guards import loopback_guard
from web.target_trials import TargetTrial, TargetTrials, Tried

KINDS = sorted(
    (target for target in discover().values() if target.takes_pushes),
    key=lambda target: target.kind,
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


async def try_out(kind: type[Target], harness: TargetHarness, body: bytes | None) -> Tried:
    guard = loopback_guard()
    trial = TargetTrial(
        kind=kind, settings=harness.settings, organization_id=1, device_id=0, body=body
    )
    async with http_session(guard=guard) as session:
        resources = TargetResources(http_session=session, guard=guard)
        return await TargetTrials().run(trial, resources, now=datetime(2026, 1, 1, tzinfo=UTC))


async def test_sample_of_the_kind_is_taken_by_its_receiver(
    kind: type[Target], harness: TargetHarness
) -> None:
    tried = await try_out(kind, harness, None)
    assert isinstance(tried.outcome, Delivered), tried
    assert [push.body for push in harness.received()] == [tried.body]


async def test_exchange_of_a_success_is_shown_without_secrets(
    kind: type[Target], harness: TargetHarness
) -> None:
    tried = await try_out(kind, harness, harness.make_body(1))
    assert isinstance(tried.outcome, Delivered), tried
    exchange = tried.outcome.exchange
    assert exchange is not None
    assert exchange.total_s is not None
    assert harness.secret not in f"{exchange} {exchange.request_body}"


async def test_exchange_of_a_failure_is_shown_without_secrets(
    kind: type[Target], harness: TargetHarness
) -> None:
    await next(iter(harness.faults.values()))()
    tried = await try_out(kind, harness, harness.make_body(1))
    assert isinstance(tried.outcome, DeliveryError), tried
    exchange = tried.outcome.exchange
    shown = "" if exchange is None else f"{exchange} {exchange.request_body}"
    assert harness.secret not in f"{tried.outcome} {shown}"
