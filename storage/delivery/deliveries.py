"""A delivery that waits and what an attempt at it came to, as the outbox and its users speak of them."""

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Final

from protocols.exchange import Exchange
from protocols.messages import DecoderId, DeliveryId, DeviceId, MessageId, OrganizationId, TargetId
from protocols.targets import DECODED

EVENT_DECODER: Final = -1
"""Stands where a delivery's decoder stands, when it carries an event about a data target."""

STRICT_LANE: Final = 0
"""The one lane of a target in strict order; the others are devices."""


class DeliveryState(StrEnum):
    """Where a delivery is. The first three are on their way, the others are ends."""

    PENDING = "pending"
    IN_FLIGHT = "in_flight"
    """Known to the actor only; never stored."""
    RETRYING = "retrying"
    DELIVERED = "delivered"
    UNCONFIRMED = "unconfirmed"
    """Sent in a way that is never confirmed (MQTT with QoS 0)."""
    PULLED = "pulled"
    DEAD = "dead"
    EXPIRED = "expired"
    CANCELLED = "cancelled"


# Not frozen, like the outcome below: one is made per delivery, and freezing doubles what that costs.
@dataclass(slots=True, kw_only=True)
class OutboxItem:
    """One delivery that waits, with the bytes to push. Treat it as immutable."""

    delivery_id: DeliveryId
    message_id: MessageId
    target_id: TargetId
    device_id: DeviceId
    organization_id: OrganizationId
    decoder_id: DecoderId | None
    position: int
    """The message's position in the journal: the order of deliveries."""
    generation: int
    attempts: int
    """How many attempts were made already."""
    next_at: datetime | None
    """When the next attempt is due; None at once."""
    created_at: datetime
    expires_at: datetime
    body: bytes
    is_aside: bool = False
    """It failed for so long that it waits outside of its lane."""
    batch_id: DeliveryId | None = None
    """With which others it has to travel."""
    event_type: str = DECODED


@dataclass(slots=True, kw_only=True)
class DeliveryOutcome:
    """What one attempt at a delivery came to. Treat it as immutable."""

    delivery_id: DeliveryId
    target_id: TargetId
    device_id: DeviceId
    organization_id: OrganizationId
    attempt: int
    """1 for the first."""
    was_retrying: bool
    state: DeliveryState
    at: datetime
    next_at: datetime | None
    """Given exactly when `state` is RETRYING."""
    status_code: int | None
    error_code: str | None
    error: str | None
    duration_s: float
    response_excerpt: str | None
    exchange: Exchange | None = None

    lane: int | None = None
    """The lane whose head it is: a device's id, or `STRICT_LANE`; None for what is in no lane."""
    lane_due_at: datetime | None = None
    """Until when it keeps its lane waiting; None for not at all (any more)."""
    held_s: float = 0.0
    """For how long it has kept its lane waiting by failures of its own."""
    is_aside: bool = False
    """From now on it is tried outside of its lane."""

    is_spent: bool = True
    """Whether the attempt is one of those that a delivery has; a probe of an outage is not."""
    was_made: bool = True
    """False for what expired without another attempt: there is nothing to log."""


@dataclass(frozen=True, slots=True)
class BlockedLane:
    """A lane whose head, `delivery_id`, is in back-off until `due_at`."""

    lane: int
    delivery_id: DeliveryId
    due_at: datetime
    held_s: float
