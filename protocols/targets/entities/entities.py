"""NGSI-LD entities in a message: whether it is an array of them, and where each one stands in it.

Does no I/O. A message is checked before it is sent, for what every broker refuses whatever is in its
entities: a mistake of the payload decoder is then told to its author at once and in words, and not to
the owner of the target as the 400 of a machine. What the entities say is between decoder and broker.

Source: ETSI GS CIM 009 (NGSI-LD API), sections 4.5.1 (entities), 5.6.8 (batch upsert) and 6.3.5
(where a context may stand).
"""

import re
from collections.abc import Sequence
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


_decode_heads = msgspec.json.Decoder(list[_Head]).decode
_decode_texts = msgspec.json.Decoder(list[msgspec.Raw]).decode


def read_entity_ids(body: bytes, *, has_context: bool) -> Sequence[str]:
    """Return the ids of the entities in a message, in their order.

    Args:
        has_context: whether the context is told in a header, so that no entity may bring its own;
            if it is not, each one has to.

    Raises:
        DeliveryRefused: a broker would not take it; the text names the place of what is wrong.
    """
    heads = _heads(body)
    if not heads:
        raise _not_entities("an empty array")
    for index, head in enumerate(heads):
        problem = _problem(head, has_context)
        if problem is not None:
            raise _wrong(index, len(heads), head.id, problem)
    return [head.id for head in heads]


def array_of(body: bytes, places: Sequence[int]) -> bytes:
    """Return a message of only those entities of `body`, each as it stands there."""
    texts = _decode_texts(body)
    return b"[%s]" % b",".join(bytes(texts[place]) for place in places)


def shown(text: str) -> str:
    """Return `text`, which is not the hub's, as it may stand in a sentence."""
    if len(text) > _SHOWN_CHARACTERS:
        text = f"{text[:_SHOWN_CHARACTERS]}..."
    return "".join(character if character.isprintable() else " " for character in text)


def _heads(body: bytes) -> list[_Head]:
    start = body.lstrip()[:1]
    if start != b"[":
        raise _not_entities(_KINDS.get(start, "a number"))
    try:
        return _decode_heads(body)
    except msgspec.ValidationError:
        raise _not_objects(body) from None
    # UnicodeDecodeError is a ValueError, as are the errors of msgspec.
    except (ValueError, RecursionError):
        raise _not_json() from None


def _not_objects(body: bytes) -> DeliveryRefused:
    """Return what is to be said of an array that holds something else than objects."""
    try:
        texts = _decode_texts(body)
    except (ValueError, RecursionError):
        return _not_json()
    index = next(index for index, text in enumerate(texts) if bytes(text)[:1] != b"{")
    return _wrong(index, len(texts), None, "is not an object")


def _problem(head: _Head, has_context: bool) -> str | None:
    """Return what is wrong with an entity, as a clause that follows its place."""
    if not isinstance(head.id, str) or not head.id:
        return "has no `id`, which must be a URI such as urn:ngsi-ld:Room:1"
    if not _URI.fullmatch(head.id):
        return "has an `id` which is not a URI, as urn:ngsi-ld:Room:1 is"
    if not _is_type(head.type):
        return "has no `type`, which must be a text"
    if has_context and head.context is not msgspec.UNSET:
        return (
            "has an `@context`, which must not be there because the data target's `context` is sent "
            "in a header: remove one of them"
        )
    if not has_context and not _is_context(head.context):
        return (
            "has no `@context`, which must be there because the data target has no `context`: "
            "give one of them"
        )
    return None


def _is_type(value: object) -> bool:
    types = value if isinstance(value, list) else [value]
    return bool(types) and all(isinstance(each, str) and each for each in types)


def _is_context(value: object) -> bool:
    # JSON-LD 1.1, section 3.1: a reference, a definition, or an array of both.
    return isinstance(value, dict | list | str) and value != ""


def _not_entities(what_it_is: str) -> DeliveryRefused:
    return DeliveryRefused(
        f"The message is {what_it_is}, and a data target of type FIWARE takes an array of NGSI-LD "
        "entities with at least one in it: let the payload decoder return [entity].",
        fault=DeliveryFault.MESSAGE,
    )


def _not_json() -> DeliveryRefused:
    return DeliveryRefused(
        "The message is not JSON that could be read.", fault=DeliveryFault.MESSAGE
    )


def _wrong(index: int, count: int, entity_id: object, problem: str) -> DeliveryRefused:
    named = f" ({shown(entity_id)})" if isinstance(entity_id, str) and entity_id else ""
    return DeliveryRefused(
        f"Entity {index + 1} of {count}{named} {problem}.", fault=DeliveryFault.MESSAGE
    )
