"""The contract of every kind of data target, and what it is given and gives back."""

import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import ClassVar, Self

import aiohttp

from protocols.errors import DeliveryError
from protocols.messages import DeliveryId, DeviceId, MessageId


@dataclass(frozen=True, slots=True, kw_only=True)
class Push:
    """One attempt at one delivery: what is to be handed to the receiver."""

    delivery_id: DeliveryId
    """The same on every attempt: what a receiver discards repeats by."""

    message_id: MessageId
    device_id: DeviceId

    attempt: int
    """1 for the first."""

    created_at: datetime
    """When the delivery was made, not when this attempt is: aware, UTC."""

    body: bytes
    """The decoder's output; travels unaltered unless the kind's own format demands otherwise."""

    content_type: str = "application/json"
    is_replay: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Delivered:
    """The receiver has taken the push over: it is never sent again."""

    duration_s: float
    status_code: int | None = None
    """The receiver's answer, for kinds whose protocol has such codes."""


Outcome = Delivered | DeliveryError


@dataclass(frozen=True, slots=True, kw_only=True)
class TargetResources:
    """What targets share. Whoever made it owns it; no target closes any of it."""

    http_session: aiohttp.ClientSession
    clock_s: Callable[[], float] = time.time
    """Unix time in seconds."""


class Target(ABC):
    """A data target: somewhere that decoded messages are handed to.

    Adding a kind is adding one file to this package with one subclass in it, and one harness of the
    same file name to `tests/conformance/targets/`. `discover()` finds it.

    Life: `from_settings`, `open`, any number of `deliver`, `close`. All of it runs on one asyncio
    loop and never blocks it. The target is told what to send and says what became of it; it keeps
    no queue, does not retry, sleep, back off, sort or log, and knows neither actors nor storage:
    all that lives once, in whoever calls it.

    `repr` and every error text are shown to users and logged: no secret may stand in them.
    """

    kind: ClassVar[str]
    """The value of `type` in `/api/v1/data-target`; unique among the kinds."""

    batch_size: ClassVar[int] = 1
    """At most so many pushes in one `deliver`; 1 where the protocol carries one message at a time."""

    @classmethod
    @abstractmethod
    def from_settings(cls, settings: Mapping[str, object], resources: TargetResources) -> Self:
        """Make a target from its settings as the API keeps them, in camelCase.

        Does no I/O, so that it can serve to validate what a user has entered. Unknown settings are
        ignored: the same mapping may carry those of other kinds.

        Raises:
            InvalidInput: one sentence for everything that is wrong, all of it at once.
        """

    @abstractmethod
    async def open(self) -> None:
        """Make ready to deliver. Kinds that connect for each push do nothing here.

        Raises:
            DeliveryRetryable: not now; `open` is called again later, on the same object.
            DeliveryRefused: never with these settings.
        """

    @abstractmethod
    async def deliver(self, batch: Sequence[Push]) -> Sequence[Outcome]:
        """Try once to hand over every push of `batch`; one outcome for each, in the same order.

        Errors are returned, not raised: `DeliveryRetryable` where the same push may succeed later,
        `DeliveryRefused` where it cannot. Whatever the receiver answers, or fails to, ends in an
        outcome, within the target's own timeout. When it is unknown whether the receiver took a
        push over, that is `DeliveryRetryable`: receivers are promised at least one delivery.

        Called for several batches at once, unless order forbids it. May be cancelled at any point;
        the fate of the batch is then unknown and it is delivered again, so nothing may be left
        behind that would harm the next call.

        Args:
            batch: from 1 to `batch_size` pushes.
        """

    @abstractmethod
    async def close(self) -> None:
        """Let go of what `open` took. Never raises; a second call does nothing."""
