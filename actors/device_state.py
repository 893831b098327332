"""What the hub has learned about one device, and keeps over restarts and passivations."""

from datetime import datetime

import msgspec

from storage.instants import microseconds

# A quarter of every new interval: about ten messages until a changed rhythm is learned.
_SMOOTHING = 0.25


class DeviceState(msgspec.Struct, omit_defaults=True):
    """Saved with every result; fields may be added, never renamed (old rows must still load)."""

    messages: int = 0
    """Messages accepted since the device was registered."""
    last_received_us: int = 0
    """When the newest message was accepted, microseconds UTC."""
    interval_s: float = 0.0
    """The learned interval between messages; 0 until two have been seen."""

    @classmethod
    def load(cls, stored: bytes | None) -> "DeviceState":
        """Return the saved state; a new one if there is none or it cannot be read."""
        if not stored:
            return cls()
        try:
            return _decoder.decode(stored)
        except msgspec.DecodeError:
            # It is learned again within a few messages; the device's messages matter more.
            return cls()

    def observe(self, received_at: datetime) -> None:
        """Learn from a message that was accepted at `received_at`."""
        received_us = microseconds(received_at)
        if self.messages and received_us > self.last_received_us:
            interval_s = (received_us - self.last_received_us) / 1e6
            known_s = self.interval_s or interval_s
            self.interval_s = round(known_s + _SMOOTHING * (interval_s - known_s), 3)
        self.last_received_us = max(self.last_received_us, received_us)
        self.messages += 1

    def dump(self) -> bytes:
        return _encoder.encode(self)


_decoder = msgspec.json.Decoder(DeviceState)
_encoder = msgspec.json.Encoder()
