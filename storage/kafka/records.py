"""An uplink as a record of Kafka, and back.

The key is the device's id and the value the payload as it was received, untouched; everything else
stands in headers, as text. Which partition a device has is computed as Kafka's own clients
do it by default, but from the registered count of partitions: a topic that grew would otherwise
move devices between workers.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final
from uuid import UUID

from aiokafka.partitioner import murmur2

from protocols.errors import RowRefused
from protocols.messages import (
    ApplicationId,
    DeviceId,
    DeviceType,
    MessageId,
    OrganizationId,
    Uplink,
)
from storage.instants import instant, microseconds

FORMAT: Final = b"1"

_FORMAT: Final = "tingbro-format"
_MESSAGE: Final = "message-id"
_ORGANIZATION: Final = "organization-id"
_APPLICATION: Final = "application-id"
_TYPE: Final = "device-type"
_RECEIVED: Final = "received-at"
_SOURCE: Final = "source-key"
_REQUIRED: Final = (_FORMAT, _MESSAGE, _ORGANIZATION, _APPLICATION, _TYPE, _RECEIVED)
_KNOWN: Final = frozenset((*_REQUIRED, _SOURCE))

_TYPES: Final = {one.value.encode(): one for one in DeviceType}
_LARGEST_ID: Final = 2**63 - 1
# The last instant that a datetime can hold.
_LARGEST_INSTANT: Final = 253_402_300_799_999_999

Headers = Sequence[tuple[str, bytes | None]]


@dataclass(frozen=True, slots=True)
class Record:
    """What is appended to the topic."""

    key: bytes
    value: bytes
    headers: list[tuple[str, bytes]]

    @property
    def size_bytes(self) -> int:
        """About what it takes in memory and on the wire."""
        return len(self.value) + 256


class UnreadableRecord(Exception):
    """No hub has written this record; the text says what is wrong with it."""


def key_of(device_id: int) -> bytes:
    return b"%d" % device_id


def kafka_partition_of(key: bytes, partitions: int) -> int:
    """Return which of so many partitions the records with this key are in."""
    return int(murmur2(key) & 0x7FFFFFFF) % partitions


def record_of(uplink: Uplink) -> Record:
    """Raises RowRefused when the uplink cannot be written as a record."""
    headers = [
        (_FORMAT, FORMAT),
        (_MESSAGE, uplink.message_id.encode()),
        (_ORGANIZATION, b"%d" % uplink.organization_id),
        (_APPLICATION, b"%d" % uplink.application_id),
        (_TYPE, uplink.device_type.value.encode()),
        (_RECEIVED, b"%d" % microseconds(uplink.received_at)),
    ]
    if uplink.source_key is not None:
        try:
            headers.append((_SOURCE, uplink.source_key.encode()))
        except UnicodeEncodeError as error:
            raise RowRefused("The source key is not text that can be stored.") from error
    return Record(key_of(uplink.device_id), uplink.payload, headers)


def uplink_from(key: bytes | None, value: bytes | None, headers: Headers) -> Uplink:
    """Read what `record_of` made. Headers of other names are passed over.

    Raises:
        UnreadableRecord: it is anything else.
    """
    fields = _fields(headers)
    if fields[_FORMAT] != FORMAT:
        raise UnreadableRecord(f"its format is not {FORMAT.decode()}")
    if value is None:
        raise UnreadableRecord("it has no value")
    device_type = _TYPES.get(fields[_TYPE])
    if device_type is None:
        raise UnreadableRecord(f"its {_TYPE} is not known")
    source = fields.get(_SOURCE)
    return Uplink(
        message_id=MessageId(_identifier(fields[_MESSAGE])),
        device_id=DeviceId(_number("key", key, 0, _LARGEST_ID)),
        organization_id=OrganizationId(_id(fields, _ORGANIZATION)),
        application_id=ApplicationId(_id(fields, _APPLICATION)),
        device_type=device_type,
        received_at=instant(_number(_RECEIVED, fields[_RECEIVED], 0, _LARGEST_INSTANT)),
        payload=value,
        source_key=None if source is None else _text(_SOURCE, source),
    )


def _fields(headers: Headers) -> dict[str, bytes]:
    fields: dict[str, bytes] = {}
    for name, value in headers:
        if name not in _KNOWN:
            continue
        if value is None or name in fields:
            raise UnreadableRecord(f"its header {name} is empty or stands twice")
        fields[name] = value
    for name in _REQUIRED:
        if name not in fields:
            raise UnreadableRecord(f"it has no header {name}")
    return fields


def _id(fields: dict[str, bytes], name: str) -> int:
    return _number(name, fields[name], 0, _LARGEST_ID)


def _number(name: str, text: bytes | None, least: int, greatest: int) -> int:
    """One number has one spelling: another would hash to another partition."""
    if (
        text is not None
        and text.isdigit()
        and len(text) < 20
        and (text[:1] != b"0" or text == b"0")
    ):
        number = int(text)
        if least <= number <= greatest:
            return number
    raise UnreadableRecord(f"its {name} is not a number as the hub writes it")


def _identifier(text: bytes) -> str:
    try:
        canonical = str(UUID(text.decode("ascii")))
    except ValueError as error:
        raise UnreadableRecord(f"its {_MESSAGE} is not a UUID") from error
    if canonical.encode() != text:
        raise UnreadableRecord(f"its {_MESSAGE} is not a UUID in canonical form")
    return canonical


def _text(name: str, value: bytes) -> str:
    try:
        return value.decode()
    except UnicodeDecodeError as error:
        raise UnreadableRecord(f"its {name} is not UTF-8") from error
