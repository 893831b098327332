"""The contract of every adapter, and what it is given and gives back."""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

from protocols.messages import DeviceType


@dataclass(frozen=True, slots=True, kw_only=True)
class AdapterLimits:
    """What a device may send at most."""

    max_body_bytes: int = 1024 * 1024
    max_depth: int = 64
    """Objects and arrays inside each other; more than any device needs, and far fewer than what
    troubles a JSON parser."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Received:
    """A message that an adapter found acceptable; only its device is still to be looked up."""

    device_key: str
    """What the device is registered under, in the one spelling that storage keeps."""

    payload: bytes
    """A JSON object or array in UTF-8, exactly as it is to be journalled and passed on."""

    source_key: str | None = None
    """Names this message within its device, when the protocol lets repeats be recognised."""


class Adapter(ABC):
    """Turns what one protocol brought into what the hub takes in.

    Adding a protocol is adding one file to this package with one subclass in it, and one module of
    examples of the same file name to `tests/conformance/adapters/`. `discover()` finds it.

    An adapter has no socket, clock, logger, state or knowledge of which devices exist: the same
    input gives the same output, from any thread, as often as it is asked. Whoever owns the
    connection calls it for every message, before the journal, so it must be fast: microseconds.
    """

    device_type: ClassVar[DeviceType]
    """Of the devices that send this; unique among the adapters."""

    def __init__(self, limits: AdapterLimits | None = None) -> None:
        self.limits = limits or AdapterLimits()

    @abstractmethod
    def receive(self, address: str, attributes: Mapping[str, str], body: bytes) -> Received:
        """Check one message and return what is to be taken in.

        Args:
            address: where the protocol says who sent it: the API key of a URL, an MQTT topic.
            attributes: what travels beside the body. HTTP header fields, in a mapping that does
                not tell upper from lower case; MQTT 5 properties.
            body: as received, at most one message.

        Raises:
            NotFound: `address` cannot belong to any device.
            InvalidPayload: the body is not acceptable; the text is a sentence for its sender.
        """
