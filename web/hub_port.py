"""What the web asks of the rest of the hub; the actors implement it, tests fake it.

Everything is called on the event loop. Nothing here blocks.
"""

from collections.abc import Collection, Iterable, Mapping, Sequence
from datetime import datetime
from enum import StrEnum
from typing import Protocol

from prometheus_client import Metric

from protocols.messages import DeliveryId


class Entity(StrEnum):
    """Kinds of things that people set up, as the audit log and `configuration_changed` name them."""

    ORGANIZATION = "organization"
    APPLICATION = "application"
    IOT_DEVICE = "iot_device"
    PAYLOAD_DECODER = "payload_decoder"
    DATA_TARGET = "data_target"
    CONNECTION = "connection"
    API_KEY = "api_key"
    USER = "user"
    ACTOR = "actor"


class DecodeOutcome(Protocol):
    """What became of one trial of a decoder. Exactly one of `body` and `error` is None."""

    @property
    def body(self) -> bytes | None: ...
    @property
    def error(self) -> str | None: ...
    @property
    def warnings(self) -> Sequence[str]: ...
    @property
    def logs(self) -> Sequence[str]: ...


class Readiness(Protocol):
    """One thing that must be in order before the hub takes traffic."""

    @property
    def name(self) -> str: ...
    @property
    def is_ok(self) -> bool: ...
    @property
    def detail(self) -> str: ...


class HubPort(Protocol):
    async def configuration_changed(self, *, what: str, entity_id: int) -> None:
        """Called after every committed change; `what` is a value of `Entity`.

        A change of an application or organization speaks for everything in it, also when it is
        gone. Must not raise: the change is committed already.
        """

    async def accept_http(
        self,
        api_key: str,
        body: bytes,
        content_type: str | None,
        idempotency_key: str | None,
    ) -> object:
        """Take one message in; returns when it is durable. The result is not looked at.

        Raises:
            NotFound: no device has this key.
            InvalidPayload, PayloadTooLarge, UnsupportedContentType: the body is not acceptable; the
                sentence says why.
            HubFull: not now.
            StorageUnavailable: not now either.
        """

    async def test_decoder(self, code: str, payload: bytes, metadata: bytes) -> DecodeOutcome:
        """Run a decoder once, in the sandbox, on JSON texts. Failures are in the outcome.

        Raises:
            HubFull: too many trials at once.
        """

    async def replay(self, decoder_id: int, since: datetime | None, until: datetime | None) -> int:
        """Queue what this decoder failed on for decoding anew; returns how many messages."""

    async def deliveries_withdrawn(
        self, target_id: int, delivery_ids: Collection[DeliveryId]
    ) -> None:
        """Called after these were acknowledged by whoever fetched them. Must not raise: it only saves
        pushes."""

    async def actor_tree(self) -> Mapping[str, object]:
        """The whole tree, ready for JSON; of a hub of several processes, all of theirs below one root.

        Raises: StorageUnavailable.
        """

    async def actor(self, path: str) -> Mapping[str, object] | None:
        """One actor, ready for JSON, or None. `path` begins with a slash.

        Raises: StorageUnavailable.
        """

    async def restart_actor(self, path: str) -> None:
        """Replace it here, or ask the process that it belongs to.

        Raises: NotFound, StorageUnavailable.
        """

    async def health(self) -> tuple[bool, str | None, str]:
        """Whether all is well, else the path of the actor that is the cause; and a sentence."""

    def readiness(self) -> Sequence[Readiness]: ...

    async def ledger(
        self, organization_ids: Sequence[int] | None
    ) -> Sequence[Mapping[str, object]]:
        """One entry per organization, ready for JSON, from one snapshot; None means all."""

    async def journal(self) -> Sequence[Mapping[str, object]]:
        """One entry per partition of the journal, ready for JSON."""

    def metrics(self) -> Iterable[Metric]:
        """What `/metrics` shows of the hub, read at that moment."""
