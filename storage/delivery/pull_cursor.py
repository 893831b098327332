"""The place up to which somebody has read what is unacknowledged, as a text to hand out.

It is opaque to whoever holds it: 41 bytes in base64 without padding, of which the first is the version.
"""

import base64
import binascii
import struct
import uuid
from dataclasses import dataclass
from typing import Final, Self

from protocols.errors import InvalidInput

_VERSION: Final = 1
# Version, position, decoder, delivery, lease.
_LAYOUT: Final = struct.Struct(">Bqq16sq")
# What tells of events stands before all messages.
_FIRST: Final = -(2**63)
_NO_DELIVERY: Final = str(uuid.UUID(int=0))


@dataclass(frozen=True, slots=True, kw_only=True)
class PullCursor:
    """Behind which delivery to go on, in the order of reading."""

    position: int
    decoder_id: int
    delivery_id: str
    lease_id: int = 0
    """Which reading has leased what it read; 0 for a reading without lease."""

    @classmethod
    def beginning(cls) -> Self:
        """Before everything."""
        return cls(position=_FIRST, decoder_id=0, delivery_id=_NO_DELIVERY)

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read what `write` wrote.

        Raises:
            InvalidInput: it is no such text.
        """
        try:
            raw = base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
            version, position, decoder_id, delivery_id, lease_id = _LAYOUT.unpack(raw)
        except (ValueError, binascii.Error, struct.error) as exc:
            raise InvalidInput("This is no cursor that was handed out here.") from exc
        if version != _VERSION:
            raise InvalidInput("This cursor is of another version; begin again without one.")
        return cls(
            position=position,
            decoder_id=decoder_id,
            delivery_id=str(uuid.UUID(bytes=delivery_id)),
            lease_id=lease_id,
        )

    def write(self) -> str:
        raw = _LAYOUT.pack(
            _VERSION,
            self.position,
            self.decoder_id,
            uuid.UUID(self.delivery_id).bytes,
            self.lease_id,
        )
        return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()
