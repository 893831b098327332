"""Messages, plans and outcomes as the tests of the actors need them."""

from datetime import UTC, datetime, timedelta

from protocols.decoders import DecodeOutcome, DecoderSource
from protocols.errors import DecodeError
from protocols.identifiers import new_delivery_id, new_message_id
from protocols.messages import (
    ApplicationId,
    DecoderId,
    DeliveryId,
    DeviceId,
    DeviceType,
    OrganizationId,
    TargetId,
    Uplink,
)
from storage.delivery.outbox import OutboxItem
from storage.journal import JournalEntry
from storage.plans import DevicePlan, Route

NOW = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)


def uplink(device_id: int = 1, payload: bytes = b'{"t":1}') -> Uplink:
    return Uplink(
        message_id=new_message_id(),
        device_id=DeviceId(device_id),
        organization_id=OrganizationId(1),
        application_id=ApplicationId(1),
        device_type=DeviceType.GENERIC_HTTP,
        received_at=NOW,
        payload=payload,
    )


def entry(position: int, device_id: int = 1) -> JournalEntry:
    return JournalEntry(position, uplink(device_id))


def plan(
    *decoders: int | None, device_id: int = 1, target_ids: tuple[int, ...] = (7,)
) -> DevicePlan:
    return DevicePlan(
        device_id=DeviceId(device_id),
        organization_id=OrganizationId(1),
        application_id=ApplicationId(1),
        metadata=b"{}",
        routes=tuple(
            Route(
                None if d is None else DecoderSource(decoder_id=d, code=f"/* {d} */"),
                tuple(TargetId(t) for t in target_ids),
            )
            for d in decoders
        ),
    )


def outcome(decoder_id: int = 5, *, error: DecodeError | None = None) -> DecodeOutcome:
    return DecodeOutcome(
        decoder_id=decoder_id,
        version="v1",
        body=None if error else b'{"decoded":true}',
        warnings=(),
        logs=(),
        error=error,
        cpu_s=0.0001,
    )


def item(
    position: int,
    device_id: int = 1,
    *,
    generation: int = 0,
    attempts: int = 0,
    body: bytes = b"{}",
    is_aside: bool = False,
    batch_id: DeliveryId | None = None,
) -> OutboxItem:
    return OutboxItem(
        delivery_id=new_delivery_id(),
        message_id=new_message_id(),
        target_id=TargetId(7),
        device_id=DeviceId(device_id),
        organization_id=OrganizationId(1),
        decoder_id=DecoderId(5),
        position=position,
        generation=generation,
        attempts=attempts,
        next_at=NOW,
        created_at=NOW,
        expires_at=NOW + timedelta(hours=72),
        body=body,
        is_aside=is_aside,
        batch_id=batch_id,
    )
