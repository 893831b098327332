"""What happens to the messages of a device: which decoders run and which targets receive.

A plan is derived from devices, decoders, data targets and the connections between them, and is
read in bulk: the router asks for all the devices of a batch at once.
"""

from collections.abc import Collection
from dataclasses import dataclass

from protocols.decoders import DecoderSource
from protocols.messages import ApplicationId, DeviceId, OrganizationId, TargetId


@dataclass(frozen=True, slots=True)
class Route:
    """One job of a message: a decoder, or None to pass the payload on as it is, and its targets."""

    decoder: DecoderSource | None
    target_ids: tuple[TargetId, ...]


@dataclass(frozen=True, slots=True)
class DevicePlan:
    """Each distinct decoder stands once; a device without connections has one empty route."""

    device_id: DeviceId
    organization_id: OrganizationId
    application_id: ApplicationId
    metadata: bytes
    """The JSON text that `decode(payload, metadata)` gets; it never holds secrets."""
    routes: tuple[Route, ...]
