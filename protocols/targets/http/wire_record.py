"""Where the time of one request goes, noted down on its way through the layers.

Whoever sends begins a record (`record_wire`); the connection that carries the request fills in what
only it knows (`current_record`). They are in one task, and a context variable is what an HTTP client
lets through untouched.
"""

import time
from collections.abc import Mapping
from contextvars import ContextVar
from types import MappingProxyType

from multidict import istr

from protocols.exchange import Exchange


class WireRecord:
    """One request's. Made for every push, and turned into an `Exchange` only where somebody looks.

    What has not happened is left to the class: most pushes take no step but the last.
    """

    body: bytes = b""
    headers: Mapping[istr, str] = MappingProxyType({})
    address: str | None = None
    dns_s: float | None = None
    connect_s: float | None = None
    tls_s: float | None = None
    _connected_s: float | None = None
    _head_s: float | None = None
    _ended_s: float | None = None

    def __init__(self, sent_bytes: int, key_ids: tuple[str, ...] = ()) -> None:
        self.sent_bytes = sent_bytes
        self.key_ids = key_ids
        self._began_s = time.perf_counter()

    def connected(self, address: str | None) -> None:
        """A connection stands, new or kept; from now on it is up to the receiver."""
        self.address = address
        self._connected_s = time.perf_counter()

    @property
    def is_connected(self) -> bool:
        return self._connected_s is not None

    def head_arrived(self) -> None:
        self._head_s = time.perf_counter()

    def ended(self) -> float:
        """Return how long the whole took; the first call ends it."""
        if self._ended_s is None:
            self._ended_s = time.perf_counter()
        return self._ended_s - self._began_s

    def exchange(self, url: str) -> Exchange:
        first_byte_s = None
        if self._connected_s is not None and self._head_s is not None:
            first_byte_s = self._head_s - self._connected_s
        return Exchange(
            url=url,
            address=self.address,
            sent_bytes=self.sent_bytes,
            key_ids=self.key_ids,
            dns_s=self.dns_s,
            connect_s=self.connect_s,
            tls_s=self.tls_s,
            first_byte_s=first_byte_s,
            total_s=self.ended(),
        )


_current: ContextVar[WireRecord | None] = ContextVar("wire_record", default=None)


def record_wire(record: WireRecord) -> None:
    """What this task sends next is noted in `record`."""
    _current.set(record)


def current_record() -> WireRecord | None:
    return _current.get()
