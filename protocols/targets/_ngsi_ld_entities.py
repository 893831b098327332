"""NGSI-LD entities in a message: whether it is an array of them, and where each one stands in it.

Does no I/O. A message is checked before it is sent, for what every broker refuses whatever is in its
entities: a mistake of the payload decoder is then told to its author at once and in words, and not to
the owner of the target as the 400 of a machine. What the entities say is between decoder and broker.

Source: ETSI GS CIM 009 (NGSI-LD API), sections 4.5.1 (entities), 5.6.8 (batch upsert) and 6.3.5
(where a context may stand).
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import msgspec

from protocols.errors import DeliveryFault, DeliveryRefused

# RFC 3986, section 3, but for letters beyond ASCII, which brokers take or refuse as they like.
_URI = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*:[^\s\x00-\x20\x7f<>\"{}|\\^`]+")
_SHOWN_CHARACTERS: Final = 100

_KINDS = {b"{": "an object", b'"': "a text", b"n": "null", b"t": "true", b"f": "false"}


class _Head(msgspec.Struct):
    """What the hub looks at of an entity."""

    id: Any = msgspec.UNSET
    type: Any = msgspec.UNSET
    context: Any = msgspec.field(name="@context", default=msgspec.UNSET)


_decode_array = msgspec.json.Decoder(list[msgspec.Raw]).decode
_decode_head = msgspec.json.Decoder(_Head).decode


@dataclass(frozen=True, slots=True)
class Entity:
    id: str
    text: msgspec.Raw = field(repr=False)
    """As it stands in the message, byte for byte."""


def read_entities(body: bytes, *, has_context: bool) -> Sequence[Entity]:
    """Return the entities of a message, in their order.

    Args:
        has_context: whether the context is told in a header, so that no entity may bring its own;
            if it is not, each one has to.

    Raises:
        DeliveryRefused: a broker would not take it; the text names the place of what is wrong.
    """
    texts = _elements(body)
    if not texts:
        raise _refused("The message is an empty array")
    return [_entity(text, index, len(texts), has_context) for index, text in enumerate(texts)]


def array_of(entities: Sequence[Entity]) -> bytes:
    """Return a message of these entities, each as it stood in its own."""
    return b"[%s]" % b",".join(bytes(entity.text) for entity in entities)


def shown(text: str) -> str:
    """Return `text`, which is not the hub's, as it may stand in a sentence."""
    if len(text) > _SHOWN_CHARACTERS:
        text = f"{text[:_SHOWN_CHARACTERS]}..."
    return "".join(character if character.isprintable() else " " for character in text)


def _elements(body: bytes) -> list[msgspec.Raw]:
    start = body.lstrip()[:1]
    if start != b"[":
        raise _refused(f"The message is {_KINDS.get(start, 'a number')}")
    try:
        return _decode_array(body)
    # UnicodeDecodeError is a ValueError, as are the errors of msgspec.
    except (ValueError, RecursionError):
        raise DeliveryRefused(
            "The message is not JSON that could be read.", fault=DeliveryFault.MESSAGE
        ) from None


def _refused(what_it_is: str) -> DeliveryRefused:
    return DeliveryRefused(
        f"{what_it_is}, and a data target of type FIWARE takes an array of NGSI-LD entities with at "
        "least one in it: let the payload decoder return [entity].",
        fault=DeliveryFault.MESSAGE,
    )


def _entity(text: msgspec.Raw, index: int, count: int, has_context: bool) -> Entity:
    place = f"Entity {index + 1} of {count}"
    try:
        head = _decode_head(text)
    except (ValueError, RecursionError):
        raise _wrong(place, "is not an object") from None
    if not isinstance(head.id, str) or not head.id:
        raise _wrong(place, "has no `id`, which must be a URI such as urn:ngsi-ld:Room:1")
    if not _URI.fullmatch(head.id):
        raise _wrong(
            place, f"has the `id` {shown(head.id)}, which is not a URI as urn:ngsi-ld:Room:1 is"
        )
    place = f"{place} ({shown(head.id)})"
    if not _is_type(head.type):
        raise _wrong(place, "has no `type`, which must be a text")
    if has_context and head.context is not msgspec.UNSET:
        raise _wrong(
            place,
            "has an `@context`, which must not be there because the data target's `context` is sent "
            "in a header: remove one of them",
        )
    if not has_context and not _is_context(head.context):
        raise _wrong(
            place,
            "has no `@context`, which must be there because the data target has no `context`: "
            "give one of them",
        )
    return Entity(head.id, text)


def _is_type(value: object) -> bool:
    types = value if isinstance(value, list) else [value]
    return bool(types) and all(isinstance(each, str) and each for each in types)


def _is_context(value: object) -> bool:
    # JSON-LD 1.1, section 3.1: a reference, a definition, or an array of both.
    return isinstance(value, dict | list | str) and value != ""


def _wrong(place: str, problem: str) -> DeliveryRefused:
    return DeliveryRefused(f"{place} {problem}.", fault=DeliveryFault.MESSAGE)
