"""The kind of data target that nothing is ever sent to."""

from collections.abc import AsyncIterator
from datetime import UTC, datetime

import pytest

from protocols.errors import DeliveryRefused, InvalidInput
from protocols.identifiers import new_delivery_id, new_message_id
from protocols.messages import DeviceId
from protocols.targets import Push, Target, TargetResources, discover
from protocols.targets.http.session import http_session
from tests.support.guards import loopback_guard


@pytest.fixture
async def resources() -> AsyncIterator[TargetResources]:
    guard = loopback_guard()
    async with http_session(guard=guard) as session:
        yield TargetResources(http_session=session, guard=guard)


@pytest.fixture
def target(resources: TargetResources) -> Target:
    return discover()["OPENDATADK"].from_settings({}, resources)


async def test_open_data_takes_no_pushes(target: Target) -> None:
    assert not target.takes_pushes


def test_events_cannot_be_sent_to_what_is_only_fetched(resources: TargetResources) -> None:
    kind = discover()["OPENDATADK"]
    with pytest.raises(InvalidInput, match=r"`operationalEvents` cannot be used here.*\.$"):
        kind.from_settings({"operationalEvents": True}, resources)
    assert isinstance(kind.from_settings({"operationalEvents": False}, resources), kind)


async def test_push_that_reaches_it_all_the_same_is_refused_with_a_sentence(target: Target) -> None:
    push = Push(
        delivery_id=new_delivery_id(),
        message_id=new_message_id(),
        device_id=DeviceId(1),
        attempt=1,
        created_at=datetime(2026, 1, 1, tzinfo=UTC),
        body=b"{}",
    )
    await target.open()
    (outcome,) = await target.deliver([push])
    await target.close()
    assert isinstance(outcome, DeliveryRefused)
    assert str(outcome).endswith(".")
