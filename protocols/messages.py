"""The vocabulary of the hub: the identities and the facts that its rooms hand to each other.

Messages are immutable, carry no behaviour and hold nothing that belongs to one layer only (a
journal position, an actor, a socket). Whoever receives one may keep it, compare it and share it.
"""

from datetime import datetime
from enum import StrEnum
from typing import NewType

import msgspec

OrganizationId = NewType("OrganizationId", int)
ApplicationId = NewType("ApplicationId", int)
DeviceId = NewType("DeviceId", int)
DecoderId = NewType("DecoderId", int)
TargetId = NewType("TargetId", int)

MessageId = NewType("MessageId", str)
"""Names one accepted message for ever; a UUIDv7 in canonical form (`protocols.identifiers`)."""

DeliveryId = NewType("DeliveryId", str)
"""Names one delivery (message, decoder, target, generation) over all its attempts; a UUIDv7."""


class DeviceType(StrEnum):
    """How a device reaches the hub, in the words that the clients of `/api/v1` already use.

    `MQTT_INTERNAL_BROKER` publishes to the hub's own broker; for `MQTT_EXTERNAL_BROKER` the hub
    subscribes to somebody else's.
    """

    GENERIC_HTTP = "GENERIC_HTTP"
    LORAWAN = "LORAWAN"
    MQTT_INTERNAL_BROKER = "MQTT_INTERNAL_BROKER"
    MQTT_EXTERNAL_BROKER = "MQTT_EXTERNAL_BROKER"
    SIGFOX = "SIGFOX"


# Not a dataclass: making a frozen one of eight fields takes longer than checking its payload.
class Uplink(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """One message from one device, as it was received and before anything has looked into it."""

    message_id: MessageId
    device_id: DeviceId
    organization_id: OrganizationId
    application_id: ApplicationId
    device_type: DeviceType

    received_at: datetime
    """When the hub took it in: aware, UTC."""

    payload: bytes
    """The JSON text exactly as received, UTF-8, never re-encoded: receivers may compare bytes."""

    source_key: str | None = None
    """What makes a second arrival of the same message recognisable; None when nothing does."""
