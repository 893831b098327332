"""Pushes for tests of targets."""

from datetime import UTC, datetime
from typing import Final

from protocols.messages import DeliveryId, DeviceId, MessageId
from protocols.targets import Push

DELIVERY_ID: Final = DeliveryId("017f22e2-79b0-7cc3-98c4-dc0c0c07398f")
MESSAGE_ID: Final = MessageId("017f22e2-79b0-7cc3-98c4-dc0c0c073990")


def make_push(body: bytes = b'{"t": 21.50}', *, is_replay: bool = False) -> Push:
    """The first attempt at a delivery."""
    return Push(
        delivery_id=DELIVERY_ID,
        message_id=MESSAGE_ID,
        device_id=DeviceId(7),
        attempt=1,
        created_at=datetime(2026, 1, 2, 3, 4, 5, 678900, tzinfo=UTC),
        body=body,
        is_replay=is_replay,
    )
