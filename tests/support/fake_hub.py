"""A hub without actors: strict about what it is handed, and it remembers what it was told."""

import asyncio
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime

from prometheus_client import Metric
from prometheus_client.metrics_core import GaugeMetricFamily

from protocols.adapters.generic_http import parse, parse_api_key, parse_idempotency_key
from protocols.errors import NotFound, TingbroError
from protocols.messages import DeliveryId
from web.hub_port import Entity, Readiness


@dataclass(frozen=True, slots=True)
class FakeReadiness:
    name: str
    is_ok: bool
    detail: str


@dataclass(frozen=True, slots=True)
class FakeOutcome:
    body: bytes | None = None
    error: str | None = None
    warnings: Sequence[str] = ()
    logs: Sequence[str] = ()


@dataclass
class FakeHub:
    """`keys` are the devices' API keys that it knows; `refusal` is raised instead of accepting."""

    keys: set[str] = field(default_factory=set)
    refusal: TingbroError | Exception | None = None
    accepted: list[tuple[str, bytes, str | None]] = field(default_factory=list)
    changes: list[tuple[str, int]] = field(default_factory=list)
    changed: asyncio.Event = field(default_factory=asyncio.Event)
    tests: list[tuple[str, bytes, bytes]] = field(default_factory=list)
    outcome: FakeOutcome = field(default_factory=lambda: FakeOutcome(body=b'{"a":1}'))
    replays: list[tuple[int, datetime | None, datetime | None]] = field(default_factory=list)
    withdrawn: list[tuple[int, list[DeliveryId]]] = field(default_factory=list)
    actors: dict[str, Mapping[str, object]] = field(
        default_factory=lambda: {"/hub": {"path": "/hub"}}
    )
    restarted: list[str] = field(default_factory=list)
    failing: tuple[str, str] | None = None
    is_ready: bool = True
    asked_ledgers: list[Sequence[int] | None] = field(default_factory=list)

    async def configuration_changed(self, *, what: str, entity_id: int) -> None:
        assert what in set(Entity)
        assert entity_id > 0
        self.changes.append((what, entity_id))
        self.changed.set()

    async def accept_http(
        self, api_key: str, body: bytes, content_type: str | None, idempotency_key: str | None
    ) -> object:
        if self.refusal is not None:
            raise self.refusal
        key = parse_api_key(api_key)
        source_key = parse_idempotency_key(idempotency_key)
        payload = parse(body, content_type)
        if key not in self.keys:
            raise NotFound("No device has this API key.")
        self.accepted.append((key, payload, source_key))
        return len(self.accepted)

    async def test_decoder(self, code: str, payload: bytes, metadata: bytes) -> FakeOutcome:
        assert isinstance(payload, bytes)
        assert isinstance(metadata, bytes)
        self.tests.append((code, payload, metadata))
        return self.outcome

    async def replay(self, decoder_id: int, since: datetime | None, until: datetime | None) -> int:
        for bound in (since, until):
            assert bound is None or bound.tzinfo is not None
        self.replays.append((decoder_id, since, until))
        return 7

    async def deliveries_withdrawn(
        self, target_id: int, delivery_ids: Collection[DeliveryId]
    ) -> None:
        assert delivery_ids
        self.withdrawn.append((target_id, list(delivery_ids)))

    async def actor_tree(self) -> Mapping[str, object]:
        return self.actors["/hub"]

    async def actor(self, path: str) -> Mapping[str, object] | None:
        assert path.startswith("/")
        return self.actors.get(path)

    async def restart_actor(self, path: str) -> None:
        if path not in self.actors:
            raise NotFound("There is no such actor.")
        self.restarted.append(path)

    async def health(self) -> tuple[bool, str | None, str]:
        if self.failing:
            return False, *self.failing
        return True, None, "all is well"

    def readiness(self) -> Sequence[Readiness]:
        return [FakeReadiness("storage", self.is_ready, "can be written")]

    async def ledger(
        self, organization_ids: Sequence[int] | None
    ) -> Sequence[Mapping[str, object]]:
        self.asked_ledgers.append(organization_ids)
        return [{"organizationId": 1, "imbalance": 0}]

    async def journal(self) -> Sequence[Mapping[str, object]]:
        return [{"partition": 0, "cursor": 12, "lag": 0}]

    def metrics(self) -> Iterable[Metric]:
        return [GaugeMetricFamily("tingbro_fake", "Something.", value=42)]
