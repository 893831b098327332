"""A context broker, and a FIWARE target that pushes to it."""

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import Any, Self

import aiohttp

from protocols.errors import DeliveryRefused, DeliveryRetryable
from protocols.identifiers import new_delivery_id, new_message_id
from protocols.messages import DeviceId
from protocols.targets import Outcome, Push, TargetResources
from protocols.targets.http.session import http_session
from protocols.targets.ngsi_ld import NgsiLdTarget
from tests.support.guards import loopback_guard
from tests.support.ngsi_ld_broker import CITY_CONTEXT, NgsiLdBroker, url_of
from tests.support.receivers import Receiver
from tests.support.token_endpoint import TokenEndpoint


class BrokerScene:
    def __init__(self, session: aiohttp.ClientSession, tokens: TokenEndpoint | None = None) -> None:
        self.session = session
        self.broker = NgsiLdBroker(tokens=tokens)
        self.receiver = Receiver(self.broker)
        self.target: NgsiLdTarget

    @classmethod
    @asynccontextmanager
    async def stage(cls, tokens: TokenEndpoint | None = None) -> AsyncIterator[Self]:
        """A scene with the target open; `tokens` as in `NgsiLdBroker`."""
        async with http_session(guard=loopback_guard()) as session:
            scene = cls(session, tokens)
            async with scene.receiver:
                scene.open()
                yield scene
                await scene.target.close()

    def open(self, **settings_: object) -> None:
        """With a context, unless it is said otherwise."""
        self.target = NgsiLdTarget.from_settings(
            {"url": url_of(self.receiver), "timeout": 5000, "context": CITY_CONTEXT, **settings_},
            TargetResources(http_session=self.session, guard=loopback_guard()),
        )

    async def deliver(self, push: Push) -> Outcome:
        (outcome,) = await self.target.deliver([push])
        return outcome

    async def send(self, payload: object) -> Outcome:
        return await self.deliver(make_push(payload))

    def sent(self) -> list[Any]:
        """What arrived: for each request the ids in it."""
        return [
            [entity["id"][len("urn:ngsi-ld:Room:") :] for entity in json.loads(request.body)]
            for request in self.receiver.requests
        ]

    def stored(self, tenant: str = "") -> set[str]:
        kept = self.broker.entities.get(tenant, {})
        return {entity_id[len("urn:ngsi-ld:Room:") :] for entity_id in kept}


def room(name: object = 1, **more: object) -> dict[str, Any]:
    return {
        "id": f"urn:ngsi-ld:Room:{name}",
        "type": "Room",
        "temperature": {"type": "Property", "value": 21.5, "unitCode": "CEL"},
        **more,
    }


def with_context(entity: dict[str, Any], context: object = CITY_CONTEXT) -> dict[str, Any]:
    return {**entity, "@context": context}


def make_push(payload: object) -> Push:
    return Push(
        delivery_id=new_delivery_id(),
        message_id=new_message_id(),
        device_id=DeviceId(1),
        attempt=1,
        created_at=datetime(2026, 1, 1, tzinfo=UTC),
        body=payload if isinstance(payload, bytes) else json.dumps(payload).encode(),
    )


def refused(outcome: Outcome) -> DeliveryRefused:
    assert isinstance(outcome, DeliveryRefused)
    return outcome


def retryable(outcome: Outcome) -> DeliveryRetryable:
    assert isinstance(outcome, DeliveryRetryable)
    return outcome
