"""Generic HTTP devices: `POST /api/v1/receive-data?apiKey=UUID` with a JSON body.

Providers of NB-IoT deliver to the same address. A sender that repeats what it could not get an
answer to may name the message with `Idempotency-Key`, and the hub keeps it once.
"""

import re
from collections.abc import Mapping
from functools import lru_cache
from typing import ClassVar

from protocols.adapters._contract import Adapter, AdapterLimits, Received
from protocols.adapters._strict_json import check_json
from protocols.errors import (
    InvalidPayload,
    NotFound,
    PayloadTooLarge,
    UnsupportedContentType,
)
from protocols.messages import DeviceType

DEFAULT_LIMITS = AdapterLimits()
MAX_IDEMPOTENCY_KEY_LENGTH = 255

_UUID = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}")
_PRINTABLE = re.compile(r"[ -~]+")
_JSON_TYPE = re.compile(r"application/(?:[a-z0-9!#$&^_.+-]+\+)?json")
_CHARSET = re.compile(r';\s*charset\s*=\s*"?([^";\s]*)')


class GenericHttpAdapter(Adapter):
    device_type: ClassVar[DeviceType] = DeviceType.GENERIC_HTTP

    def receive(self, address: str, attributes: Mapping[str, str], body: bytes) -> Received:
        return Received(
            device_key=parse_api_key(address),
            payload=parse(body, attributes.get("Content-Type"), self.limits),
            source_key=parse_idempotency_key(attributes.get("Idempotency-Key")),
        )


def parse(
    body: bytes, content_type: str | None = None, limits: AdapterLimits = DEFAULT_LIMITS
) -> bytes:
    """Return the payload to be journalled: `body` itself, byte for byte.

    A device that states no content type is given the benefit of the doubt.

    Raises:
        UnsupportedContentType: it is said to be something else than JSON in UTF-8.
        PayloadTooLarge: it is over the limit; better refuse it before it is read.
        InvalidPayload: it is not JSON as the hub takes it in (`_strict_json` has the rules).
    """
    if content_type is not None and not _is_json(content_type):
        raise UnsupportedContentType("The body must be JSON: send Content-Type: application/json.")
    if len(body) > limits.max_body_bytes:
        raise PayloadTooLarge(f"The body may be at most {limits.max_body_bytes} bytes long.")
    check_json(body, max_depth=limits.max_depth)
    return body


@lru_cache(maxsize=64)
def _is_json(content_type: str) -> bool:
    lowered = content_type.lower()
    charset = _CHARSET.search(lowered)
    return bool(_JSON_TYPE.fullmatch(lowered.partition(";")[0].strip())) and (
        charset is None or charset[1] in ("utf-8", "utf8", "us-ascii")
    )


def parse_api_key(text: str) -> str:
    """Return the API key in the spelling that storage keeps: canonical, lower-case.

    Raises:
        NotFound: it is not a UUID, so no device has it.
    """
    key = text.lower()
    if not _UUID.fullmatch(key):
        raise NotFound("No device has this API key; it must be a UUID.")
    return key


def parse_idempotency_key(text: str | None) -> str | None:
    """Return the name the sender gave to its message, if it gave one.

    Raises:
        InvalidPayload: it cannot be used as a name.
    """
    if text is None:
        return None
    if len(text) > MAX_IDEMPOTENCY_KEY_LENGTH or not _PRINTABLE.fullmatch(text):
        raise InvalidPayload(
            "Idempotency-Key must be printable ASCII of at most "
            f"{MAX_IDEMPOTENCY_KEY_LENGTH} characters."
        )
    return text
