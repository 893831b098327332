"""Reading the host of an address in exactly one way, or not at all.

Programs disagree on what `0x7f.1`, `127.0.1`, `①②⑦.0.0.1` or `a\u3002b` name, and whoever checks one reading
and connects to another has checked nothing. So there is one spelling of each host here, the plain
one, and all others are refused with a sentence that says what is wrong.

Source: RFC 1123, section 2.1, and RFC 5890 to 5892 (IDNA 2008) for names; the URL Standard, "ends in
a number", for what somebody will take for an IPv4 address.
"""

import re
from ipaddress import AddressValueError, IPv4Address, IPv6Address
from typing import Final

import idna

from protocols.errors import InvalidInput
from protocols.targets.guarding.special_addresses import Address

_LONGEST_NAME: Final = 253
_LABEL: Final = re.compile(r"[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?")
# Such a last label makes browsers and the C library try the whole as a number.
_NUMBER: Final = re.compile(r"[0-9]+|0x[0-9a-f]*")


def parse_host(text: str) -> Address | str:
    """Return the address that `text` is, or the name in lower case and ASCII.

    An IPv6 address stands without its brackets.

    Raises:
        InvalidInput: a clause that follows "the host ...", without a full stop.
    """
    if ":" in text or "[" in text:
        return _ipv6(text)
    if not text:
        raise InvalidInput("is missing")
    name = text.lower() if text.isascii() else _in_ascii(text)
    labels = name.split(".")
    if not all(labels):
        raise InvalidInput("has a dot too many")
    if _NUMBER.fullmatch(labels[-1]):
        return _ipv4(name)
    if len(name) > _LONGEST_NAME or not all(map(_LABEL.fullmatch, labels)):
        raise InvalidInput("is not a valid name")
    if any(label.startswith("xn--") for label in labels):
        _check_encoded(labels)
    return name


def _ipv6(text: str) -> IPv6Address:
    if "%" in text:
        raise InvalidInput("names an interface, which only means something on the hub's own links")
    try:
        return IPv6Address(text)
    except AddressValueError as exc:
        raise InvalidInput("is not a valid IPv6 address") from exc


def _ipv4(text: str) -> IPv4Address:
    try:
        return IPv4Address(text)
    except AddressValueError as exc:
        raise InvalidInput(
            "ends in a number and so must be an IPv4 address of four decimal numbers"
        ) from exc


def _in_ascii(text: str) -> str:
    """Encode without mapping anything but case: what would have to be mapped is a disguise."""
    # Some letters have a lower case of two characters, or one in ASCII: the sign for kelvin is a k.
    lowered = [character.lower() for character in text]
    if any(
        len(low) != 1 or low.isascii() != up.isascii()
        for low, up in zip(lowered, text, strict=True)
    ):
        raise InvalidInput("is not a valid international name")
    try:
        return idna.encode("".join(lowered), strict=True, std3_rules=True).decode()
    except (idna.IDNAError, UnicodeError) as exc:
        raise InvalidInput("is not a valid international name") from exc


def _check_encoded(labels: list[str]) -> None:
    try:
        for label in labels:
            if label.startswith("xn--"):
                idna.ulabel(label)
    except (idna.IDNAError, UnicodeError) as exc:
        raise InvalidInput("is not a valid international name") from exc
