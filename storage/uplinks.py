"""Uplinks as rows: the same columns stand in the journal, the messages and what was set aside."""

from protocols.messages import (
    ApplicationId,
    DeviceId,
    DeviceType,
    MessageId,
    OrganizationId,
    Uplink,
)
from storage.database import Row
from storage.instants import instant


def uplink_of(row: Row) -> Uplink:
    """Return the uplink that a row with all its columns holds."""
    return Uplink(
        message_id=MessageId(row.message_id),
        device_id=DeviceId(row.device_id),
        organization_id=OrganizationId(row.organization_id),
        application_id=ApplicationId(row.application_id),
        device_type=DeviceType(row.device_type),
        received_at=instant(row.received_at),
        payload=bytes(row.payload),
        source_key=row.source_key,
    )
