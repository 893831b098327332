"""The contract of every kind of data target, and what it is given and gives back."""

import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import ClassVar, Final, Self

import aiohttp

from protocols.errors import DeliveryError
from protocols.exchange import Exchange
from protocols.messages import DeliveryId, DeviceId, MessageId
from protocols.targets.guarding.guard import Guard
from protocols.targets.policy import Ordering

DECODED: Final = "uplink.decoded"
"""The `event_type` of what a device has sent; every other names something about the hub itself."""


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

    event_type: str = DECODED
    """What kind of thing happened; names the type where the receiver gets an envelope."""

    batch_id: DeliveryId | None = None
    """Where the target `freezes_batches`: the id of the batch, the same on every attempt."""

    is_test: bool = False
    """A person tries the target out: `Delivered.exchange` is wanted too."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Delivered:
    """The receiver has taken the push over: it is never sent again."""

    duration_s: float
    status_code: int | None = None
    """The receiver's answer, for kinds whose protocol has such codes."""
    exchange: Exchange | None = None
    """Given for a test only: nobody looks at the thousands of others."""


Outcome = Delivered | DeliveryError


@dataclass(frozen=True, slots=True, kw_only=True)
class TargetResources:
    """What targets share. Whoever made it owns it; no target closes any of it."""

    http_session: aiohttp.ClientSession
    """Connects to nothing but what `guard` allows."""
    guard: Guard
    """Where targets may be: to be asked about whatever a user has entered that is connected to."""
    clock_s: Callable[[], float] = time.time
    """Unix time in seconds."""
    monotonic_s: Callable[[], float] = time.monotonic
    """For durations: how long something may be kept, whatever happens to the time of day."""


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

    setting_names: ClassVar[frozenset[str]] = frozenset()
    """The settings that the kind reads beside those of every kind (`COMMON_SETTINGS`), as the API
    names them; what a user sends under other names is not kept. See `setting_names.py`."""

    secret_names: ClassVar[frozenset[str]] = frozenset()
    """Those that are secret: they are kept sealed and never shown. The kind signs what it sends if
    `SIGNING_KEYS` is among them."""

    sample: bytes = b'{"test":true}'
    """What is sent when a person tries the target out without saying what to send. May differ
    between targets of a kind."""

    ordering: ClassVar[Ordering | None] = None
    """The order that the kind insists on, whatever a user chooses; None leaves it to the user."""

    batch_size: int = 1
    """At most so many pushes in one `deliver`; 1 where the protocol carries one message at a time.
    May differ between targets of a kind."""

    freezes_batches: bool = False
    """Whether the pushes of one `deliver` travel as one thing with an id of its own
    (`Push.batch_id`), so that they have to be together again on every later attempt."""

    max_batch_bytes: int | None = None
    """What the bodies of one `deliver` of several may come to together, `push_overhead_bytes` counted
    with each; None for any size. A body that is larger by itself is sent alone all the same."""

    push_overhead_bytes: int = 0

    takes_pushes: bool = True
    """False for a target without an address: what is meant for it waits until somebody pulls it.
    `deliver` is never called then."""

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
