"""A delivery that waits and what an attempt at it came to, as the outbox and its users speak of them."""

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from protocols.messages import DecoderId, DeliveryId, DeviceId, MessageId, OrganizationId, TargetId


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
