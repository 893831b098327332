"""Reading environment variables one by one while collecting every mistake.

A reading never raises for what a person wrote: it notes a sentence and goes on with the default, so
that all mistakes can be reported together when the last variable has been read.
"""

import difflib
import re
from collections.abc import Mapping
from ipaddress import IPv4Network, IPv6Network, ip_network
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

from web.variables import PREFIX, VARIABLES

Network = IPv4Network | IPv6Network

# A name, an IPv4 address, or an IPv6 address in brackets.
_HOST: Final = re.compile(r"[A-Za-z0-9._-]+|\[[0-9A-Fa-f:.]+\]")
_DECLARED: Final = frozenset(variable.name for variable in VARIABLES)


class Environment:
    """The variables with our prefix. `problems` holds one sentence for each mistake found so far.

    Asking for a variable that `web/variables.py` does not declare is a KeyError: it would be
    refused as unknown when a user sets it.
    """

    def __init__(self, variables: Mapping[str, str]) -> None:
        self._values = {
            name.removeprefix(PREFIX): value.strip()
            for name, value in variables.items()
            if name.startswith(PREFIX)
        }
        self._refused: set[str] = set()
        self.problems = [_unknown(name) for name in sorted(self._values.keys() - _DECLARED)]

    def text(self, name: str) -> str | None:
        """The value, or None when it is not set or empty."""
        if name not in _DECLARED:
            raise KeyError(name)
        return self._values.get(name) or None

    def limited_text(self, name: str, *, lowest: int, highest: int) -> str | None:
        """A text whose length in characters lies within the bounds. The value is never repeated."""
        value = self.text(name)
        if value is not None and not lowest <= len(value) <= highest:
            self.refuse(name, f"must have {lowest} to {highest} characters, not {len(value)}")
            return None
        return value

    def integer(self, name: str, default: int, *, lowest: int, highest: int) -> int:
        value = self.text(name)
        if value is None:
            return default
        # int() would also take "1_000", " 7 " and "٣".
        if value.isascii() and value.removeprefix("-").isdigit():
            number = int(value)
            if lowest <= number <= highest:
                return number
        self.refuse(name, f"must be a whole number from {lowest} to {highest}, not {value!r}")
        return default

    def choice(self, name: str, default: str, *, allowed: tuple[str, ...]) -> str:
        value = self.text(name)
        if value is None:
            return default
        if value.lower() in allowed:
            return value.lower()
        self.refuse(name, f"must be one of {', '.join(allowed)}, not {value!r}")
        return default

    def file(self, name: str) -> Path | None:
        """The path of a file that exists and can be read now."""
        value = self.text(name)
        if value is None:
            return None
        path = Path(value)
        try:
            with path.open("rb"):
                return path
        except OSError as error:
            self.refuse(name, f"names a file that cannot be read: {value} ({error.strerror})")
            return None

    def networks(self, name: str) -> tuple[Network, ...]:
        found: list[Network] = []
        for part in (self.text(name) or "").split(","):
            try:
                if part.strip():
                    found.append(ip_network(part.strip()))
            except ValueError:
                self.refuse(
                    name, f"must be addresses or networks such as 10.0.0.0/8, not {part.strip()!r}"
                )
        return tuple(found)

    def port_ranges(
        self, name: str, default: tuple[tuple[int, int], ...]
    ) -> tuple[tuple[int, int], ...]:
        """Comma-separated ports and ranges of ports, each as its first and its last."""
        value = self.text(name)
        if value is None:
            return default
        found: list[tuple[int, int]] = []
        for part in map(str.strip, value.split(",")):
            first, dash, last = part.partition("-")
            last = last if dash else first
            if not (_is_port(first) and _is_port(last) and int(first) <= int(last)):
                self.refuse(name, f"must be ports or ranges such as 443,8000-8999, not {part!r}")
                return default
            found.append((int(first), int(last)))
        return tuple(found)

    def servers(self, name: str) -> tuple[str, ...]:
        """Comma-separated `host:port`; an IPv6 address stands in brackets."""
        value = self.text(name)
        found = [part.strip() for part in value.split(",")] if value is not None else []
        if not all(map(_is_server, found)):
            # Not repeated: somebody may have put a password there.
            self.refuse(
                name, "must be servers such as kafka1.example.org:9092, with commas between"
            )
            return ()
        return tuple(found)

    def web_address(self, name: str, default: str) -> str:
        """An http or https address without query, fragment or trailing slash."""
        value = self.text(name)
        if value is None:
            return default
        try:
            parts = urlsplit(value)
            is_good = parts.scheme in ("http", "https") and bool(parts.hostname)
            is_good = is_good and not (parts.query or parts.fragment or parts.username)
            _ = parts.port  # raises when it is no number
        except ValueError:
            is_good = False
        if is_good:
            return value.rstrip("/")
        self.refuse(name, f"must be an address such as https://hub.example.org, not {value!r}")
        return default

    def is_refused(self, name: str) -> bool:
        """Whether something is wrong with this variable already."""
        return name in self._refused

    def refuse(self, name: str, why: str) -> None:
        self._refused.add(name)
        self.problems.append(f"{PREFIX}{name} {why}.")


def _is_server(text: str) -> bool:
    host, _, port = text.rpartition(":")
    return _is_port(port) and _HOST.fullmatch(host) is not None


def _is_port(text: str) -> bool:
    return text.isascii() and text.isdigit() and 1 <= int(text) <= 65535


def _unknown(name: str) -> str:
    near = difflib.get_close_matches(name.upper(), _DECLARED, n=1, cutoff=0.6)
    hint = f" Did you mean {PREFIX}{near[0]}?" if near else ""
    return f"{PREFIX}{name} is not a setting of this version.{hint}"
