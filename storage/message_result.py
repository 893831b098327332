"""What came of a message, in the words in which it is handed to the result store."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum

from protocols.messages import DecoderId, DeliveryId, MessageId, TargetId, Uplink


class JobState(StrEnum):
    """What became of one job: one message for one decoder."""

    DEFERRED = "deferred"
    """Still to be done; durable, so that the journal can move on."""
    DECODED = "decoded"
    FAILED = "failed"
    NO_DECODER = "no_decoder"
    """Nothing decodes this device: the payload itself is what is pushed."""
    SET_ASIDE = "set_aside"


@dataclass(frozen=True, slots=True, kw_only=True)
class JobResult:
    """What one job came to. `decoder_id` None: no decoder, and `body` is None, the payload stands for it."""

    decoder_id: DecoderId | None
    state: JobState
    decoder_version: str | None
    body: bytes | None
    warnings: tuple[str, ...]
    error_code: str | None
    error: str | None
    settled_at: datetime


@dataclass(frozen=True, slots=True)
class DeliveryDraft:
    """One delivery to be made of the job of `decoder_id`."""

    delivery_id: DeliveryId
    target_id: TargetId
    decoder_id: DecoderId | None


# Not frozen: one is made per message, and freezing doubles what that costs.
@dataclass(slots=True, kw_only=True)
class MessageResult:
    """What came of one message. Treat it as immutable."""

    uplink: Uplink
    position: int | None
    """The journal's position when this is the message's first result, else None."""
    jobs: tuple[JobResult, ...]
    """At least one."""
    deliveries: Sequence[DeliveryDraft]
    device_state: bytes | None
    """The device's state after this message; None leaves it as it is."""
    generation: int = 0
    """0 live, n for the nth replay of these jobs."""
    order: int | None = None
    """The message's position in the journal, also when `position` is None: the order of its
    deliveries. None means `position`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CommitReport:
    """What a commit did. Exactly what `written` says is on the disk."""

    written: Sequence[MessageResult]
    """The results that took effect, in the order given, with the jobs and deliveries that did."""
    repeated: Sequence[MessageId] = ()
    """Messages whose results, or some jobs of them, were committed before, or that are gone."""
    set_aside: Sequence[MessageId] = ()
    """Messages whose results the database refuses: kept raw, with the reason."""
    cursors: Mapping[int, int] = field(default_factory=dict)
    """The cursors as stored: they stay before the first unsettled entry whatever was asked for."""
