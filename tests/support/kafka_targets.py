"""Making Kafka data targets that connect to this machine, and pushing to them."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any, Final

import aiohttp

from protocols.errors import DeliveryError
from protocols.identifiers import new_delivery_id, new_message_id
from protocols.messages import DeviceId
from protocols.targets import Delivered, Outcome, Push, TargetResources
from protocols.targets.guarding.guard import Guard
from protocols.targets.guarding.name_lookup import NameLookup
from protocols.targets.kafka import KafkaTarget
from tests.support.guards import LOOPBACK_RULES

NOW_S: Final = 1_700_000_000.9


def guard_that_finds(*addresses: str) -> Guard:
    """Whatever the name, these are its addresses."""
    return Guard(LOOPBACK_RULES, lookup=NameLookup(lambda _: addresses))


class KafkaTargets:
    """Makes targets, and closes them in the end. Unless told otherwise they speak without TLS."""

    def __init__(self, session: aiohttp.ClientSession) -> None:
        self._session = session
        self._made: list[KafkaTarget] = []

    def make(self, *, guard: Guard | None = None, **settings: Any) -> KafkaTarget:
        resources = TargetResources(
            http_session=self._session,
            guard=guard or guard_that_finds("127.0.0.1"),
            clock_s=lambda: NOW_S,
        )
        chosen = {"timeout": 10_000, "securityProtocol": "plaintext", "topic": "any", **settings}
        self._made.append(KafkaTarget.from_settings(chosen, resources))
        return self._made[-1]

    async def close(self) -> None:
        for target in self._made:
            await target.close()


def make_push(body: bytes = b'{"t": 21.50}', device: int = 7, **changes: Any) -> Push:
    push = Push(
        delivery_id=new_delivery_id(),
        message_id=new_message_id(),
        device_id=DeviceId(device),
        attempt=1,
        created_at=datetime(2026, 1, 2, tzinfo=UTC),
        body=body,
    )
    return replace(push, **changes)


async def deliver_one(target: KafkaTarget, push: Push | None = None) -> Outcome:
    (outcome,) = await target.deliver([push or make_push()])
    return outcome


async def failure_of_one(target: KafkaTarget, push: Push | None = None) -> DeliveryError:
    outcome = await deliver_one(target, push)
    assert isinstance(outcome, DeliveryError)
    assert str(outcome).endswith(".")
    return outcome


def assert_all_delivered(outcomes: Sequence[Outcome]) -> None:
    assert [one for one in outcomes if not isinstance(one, Delivered)] == []
