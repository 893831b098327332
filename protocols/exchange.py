"""What went over the wire in one attempt at a data target, as its log shows it."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True, slots=True, kw_only=True)
class Exchange:
    """One request and its answer. No secret stands in it: whoever makes it has taken them out.

    The durations follow each other; None where that step did not happen (a connection that was
    kept needs no name, no connecting and no TLS) or cannot be told apart.
    """

    url: str | None = None
    """Where it was sent, with what is secret in the query replaced."""

    address: str | None = None
    """The IP address that was connected to; all that were tried, where none of them could be."""

    request_headers: Mapping[str, str] = field(default_factory=dict)
    """Those that were sent, with what is secret replaced. For who tries a target out: never kept."""

    request_body: str | None = field(default=None, repr=False)
    """How what was sent begins. Never kept either."""

    sent_bytes: int = 0
    """The length of the body."""

    key_ids: tuple[str, ...] = ()
    """Which signing keys signed it."""

    response_headers: Mapping[str, str] = field(default_factory=dict)
    """Those that help to understand an answer; never all of them."""

    response_excerpt: str | None = None
    """The first 1,024 characters of the answer's body."""

    dns_s: float | None = None
    connect_s: float | None = None
    tls_s: float | None = None
    first_byte_s: float | None = None
    """From when the connection stood to the answer's head: sending, and what the receiver took."""

    total_s: float | None = None

    def to_json(self) -> dict[str, Any]:
        """Return what is kept of it, in the names of the API; times are in milliseconds."""
        timing = {
            "dns": self.dns_s,
            "connect": self.connect_s,
            "tls": self.tls_s,
            "firstByte": self.first_byte_s,
            "total": self.total_s,
        }
        shown: dict[str, Any] = {
            "url": self.url,
            "address": self.address,
            "sentBytes": self.sent_bytes,
            "keyIds": list(self.key_ids),
            "responseHeaders": dict(self.response_headers),
            "timingMs": {
                name: round(duration_s * 1000, 3)
                for name, duration_s in timing.items()
                if duration_s is not None
            },
        }
        return {name: value for name, value in shown.items() if value not in (None, [], {})}
