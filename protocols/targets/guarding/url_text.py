"""Taking an address apart once, in front of everybody who will use it.

`yarl` is what the HTTP client goes by, so its reading is the one that counts; here it is made sure that
the text leaves no room for another reading, and that yarl has read it as it stands.
"""

import re
from typing import Final

from yarl import URL

from protocols.errors import InvalidInput
from protocols.targets.guarding.host_names import parse_host

MAX_URL_LENGTH: Final = 1024

_CONTROL: Final = re.compile(r"[\x00-\x20\x7f]")
# RFC 3986, section 3.2, without what nobody needs: no user, no escapes and no zone in the host, and
# the port, where there is one, in plain digits.
_PARTS: Final = re.compile(
    r"(?P<scheme>https?)://(?:\[(?P<ipv6>[0-9a-f:.]+)\]|(?P<name>[^/?#@\\%\[\]:]+))"
    r"(?::(?P<port>[0-9]{1,5}))?(?P<rest>[/?#].*)?",
    re.IGNORECASE | re.DOTALL | re.ASCII,
)


def parse_url(text: str) -> URL:
    """Return the address that `text` is, of http or https, without its fragment.

    Raises:
        InvalidInput: a clause that follows "`url` ...", without a full stop.
    """
    if len(text) > MAX_URL_LENGTH:
        raise InvalidInput(f"may be at most {MAX_URL_LENGTH} characters long")
    if _CONTROL.search(text):
        raise InvalidInput("must not contain blanks or control characters")
    if "\\" in text:
        raise InvalidInput("must not contain backslashes")
    authority = re.split(r"[/?#]", text.partition("://")[2], maxsplit=1)[0]
    if "@" in authority:
        raise InvalidInput(
            "must not hold a user or password: use `authorizationType` "
            "HTTP_BASIC_AUTHORIZATION with `username` and `password`"
        )
    parts = _PARTS.fullmatch(text)
    if parts is None:
        raise InvalidInput("must begin with https:// or http:// and name a host")
    try:
        host = parse_host(parts["ipv6"] or parts["name"])
    except InvalidInput as error:
        raise InvalidInput(f"must name another host: it {error}") from error
    try:
        url = URL(text).with_fragment(None)
        is_read_alike = (
            url.scheme == parts["scheme"].lower()
            and parse_host(url.raw_host or "") == host
            and url.explicit_port == (int(parts["port"]) if parts["port"] else None)
            and url.port != 0
        )
    except (ValueError, InvalidInput) as exc:
        raise InvalidInput("is not a valid address") from exc
    if not is_read_alike:
        raise InvalidInput("is not a valid address")
    return url
