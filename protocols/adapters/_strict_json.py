"""JSON as the hub takes it in: strictly, and without changing a byte.

What is accepted is journalled and passed on as the very text that came, so everything that some
receiver or decoder behind the hub could stumble over is refused here, with a sentence, while its
sender is still listening.

Accepted is an object or array of RFC 8259 in UTF-8, with these choices where the RFC leaves one:

- No byte order mark.
- No escaped surrogate without its partner: it could not be written as UTF-8 again.
- No number that a double cannot hold (1e999) and no integer of more than 4,300 digits. Longer and
  finer numbers than a double are accepted; what a reader makes of them is up to the reader.
- Duplicate names in an object are accepted and kept. Readers disagree about their meaning; the
  hub's decoders see the last one, as JavaScript does.
- At most `max_depth` objects and arrays inside each other.
"""

import re
from array import array
from itertools import accumulate

import msgspec

from protocols.errors import InvalidPayload

_decode = msgspec.json.Decoder().decode

_BYTE_ORDER_MARKS = (b"\xef\xbb\xbf", b"\xff\xfe", b"\xfe\xff")
_NOT_A_NUMBER = re.compile(rb"\b(?:NaN|Infinity)\b")
_SURROGATE = re.compile(
    rb"\\u[dD][89abAB][0-9a-fA-F]{2}(\\u[dD][c-fC-F][0-9a-fA-F]{2})?|\\u[dD][c-fC-F]"
)
_POSITION = re.compile(r"\(byte (\d+)\)$")

# Makes steps of brackets, as signed bytes: 1 down into one, -1 (255) out of it.
_TO_STEPS = bytes.maketrans(b"[{]}", bytes([1, 1, 255, 255]))
_NOT_BRACKETS = bytes(byte for byte in range(256) if byte not in b"[]{}")


def check_json(body: bytes, *, max_depth: int) -> None:
    """Return if `body` is acceptable.

    Raises:
        InvalidPayload: it is not; the text says why.
    """
    try:
        value = _decode(body)
    # UnicodeDecodeError is a ValueError, as are the errors of msgspec.
    except ValueError as exc:
        raise InvalidPayload(_explain(body, exc)) from None
    except RecursionError:
        raise InvalidPayload(_too_deep(max_depth)) from None
    if not isinstance(value, dict | list):
        raise InvalidPayload("The body must be a JSON object or array, not a bare value.")
    # Nothing can be deeper than it has opening brackets; nearly every body ends here.
    if body.count(b"[") + body.count(b"{") > max_depth and _depth(body) > max_depth:
        raise InvalidPayload(_too_deep(max_depth))


def _too_deep(max_depth: int) -> str:
    return f"The body holds more than {max_depth} JSON objects and arrays inside each other."


def _depth(body: bytes) -> int:
    """Return how deep valid JSON is, without a loop of Python's over its characters."""
    steps = _outside_strings(body).translate(_TO_STEPS, _NOT_BRACKETS)
    return max(accumulate(array("b", steps)))


def _outside_strings(body: bytes) -> bytes:
    """Return `body` with a blank for each string; takes linear time whatever it is given.

    With escaped backslashes and then escaped quotes removed, the quotes that are left delimit the
    strings.
    """
    return b" ".join(body.replace(rb"\\", b"").replace(rb"\"", b"").split(b'"')[::2])


def _explain(body: bytes, exc: ValueError) -> str:
    """Say what is wrong with a body that was refused; only then is time spent on it."""
    if not body.strip(b" \t\r\n"):
        return "The body is empty; it must be a JSON object or array."
    if body.startswith(_BYTE_ORDER_MARKS):
        return "The body begins with a byte order mark; send plain UTF-8 without one."
    try:
        body.decode()
    except UnicodeDecodeError as utf8_exc:
        return f"The body is not valid UTF-8 (byte {utf8_exc.start})."
    if _NOT_A_NUMBER.search(_outside_strings(body)):
        return "The body contains NaN or Infinity, which JSON does not have; send null instead."
    if _has_lone_surrogate(body):
        return "The body contains an escaped surrogate (\\ud800 to \\udfff) without its partner."
    if isinstance(exc, msgspec.ValidationError):
        return "The body contains a number that is too large."
    position = _POSITION.search(str(exc))
    where = f" (byte {position[1]})" if position else ": it ends too early"
    return f"The body is not valid JSON{where}."


def _has_lone_surrogate(body: bytes) -> bool:
    escapes = _SURROGATE.finditer(body.replace(rb"\\", b""))
    return any(not match[1] for match in escapes)
