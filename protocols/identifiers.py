"""Identifiers that sort by the time they were made: UUID version 7.

Layout of the 128 bits, most significant first: 48 bits of Unix time in milliseconds, the version,
then a 26-bit counter (`rand_a` and the 14 bits after the variant), then 48 random bits. Within one
process every identifier is greater than the one before it, also when the clock is set back: the
last time is then kept and the counter goes on. The counter starts each millisecond at a random
value below half its range, so that identifiers of several processes do not collide; should it ever
run out, the time is taken one millisecond ahead.

Source: RFC 9562, sections 5.7 and 6.2 (method 1, a dedicated counter of fixed length).
"""

import os
import re
import threading
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import cast

from protocols.errors import InvalidInput
from protocols.messages import DeliveryId, MessageId

# The counter is kept as it is written: the high 12 bits stand in the prefix, the low 14 bits carry
# the variant (binary 10) on top.
_HIGH_LIMIT = 1 << 12
_LOW_FIRST = 0x8000
_LOW_LIMIT = 0xC000
# One read of the operating system's generator serves 256 identifiers: read one by one it would
# cost as much as everything else here together.
_POOL_IDENTIFIERS = 256
_CANONICAL = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}")
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class Uuid7Source:
    """Makes strictly increasing UUIDv7 texts; may be called from any thread.

    `counter_start_bits` of randomness (at most 26) start the counter in each millisecond; with 25
    at least half of its range is always left. A forked child gets a source of fresh randomness by itself.
    """

    def __init__(
        self,
        clock_ns: Callable[[], int] = time.time_ns,
        random_bytes: Callable[[int], bytes] = os.urandom,
        counter_start_bits: int = 25,
    ) -> None:
        self._clock_ns = clock_ns
        self._random_bytes = random_bytes
        self._start_shift = 32 - counter_start_bits
        self._restart()
        os.register_at_fork(after_in_child=self._restart)

    def _restart(self) -> None:
        self._lock = threading.Lock()
        self._now_ms = -1
        self._prefix = ""
        self._high = 0
        self._low = 0
        self._pool: list[str] = []

    def next(self) -> str:
        """Return a new identifier in the canonical form, 36 lower-case characters."""
        with self._lock:
            now_ms = self._clock_ns() // 1_000_000
            if now_ms > self._now_ms:
                self._start_millisecond(now_ms)
            elif self._low == _LOW_LIMIT:
                self._carry()
            low = self._low
            self._low = low + 1
            pool = self._pool or self._refill()
            return f"{self._prefix}{low:04x}-{pool.pop()}"

    def _start_millisecond(self, now_ms: int) -> None:
        self._now_ms = now_ms
        start = int.from_bytes(self._random_bytes(4)) >> self._start_shift
        self._high, self._low = start >> 14, _LOW_FIRST | start & 0x3FFF
        self._set_prefix()

    def _carry(self) -> None:
        self._high += 1
        if self._high == _HIGH_LIMIT:
            self._start_millisecond(self._now_ms + 1)
        else:
            self._low = _LOW_FIRST
            self._set_prefix()

    def _set_prefix(self) -> None:
        digits = f"{self._now_ms:012x}"
        self._prefix = f"{digits[:8]}-{digits[8:]}-7{self._high:03x}-"

    def _refill(self) -> list[str]:
        digits = self._random_bytes(6 * _POOL_IDENTIFIERS).hex()
        self._pool = [digits[start : start + 12] for start in range(0, len(digits), 12)]
        return self._pool


# The order within a process is a property of the process, so its source is one. The functions are
# the source's own method: a frame more would cost a fifth of the whole.
_process_source = Uuid7Source()

new_message_id = cast("Callable[[], MessageId]", _process_source.next)
"""Return an identifier for a message that is being accepted now."""

new_delivery_id = cast("Callable[[], DeliveryId]", _process_source.next)
"""Return an identifier for a delivery whose outbox row is being made now."""


def uuid7_time(identifier: str) -> datetime:
    """Return when `identifier` was made, to the millisecond, as an aware UTC datetime.

    Raises:
        InvalidInput: it is not a UUIDv7 in canonical form.
    """
    if not _CANONICAL.fullmatch(identifier):
        raise InvalidInput(f"{identifier[:40]!r} is not a UUID of version 7.")
    try:
        return _EPOCH + timedelta(milliseconds=int(identifier[:8] + identifier[9:13], 16))
    except OverflowError as exc:
        raise InvalidInput(f"{identifier!r} was made after the year 9999.") from exc


def first_uuid7(at: datetime) -> str:
    """Return the least identifier that can have been made at `at` (to the millisecond) or later."""
    digits = f"{(at - _EPOCH) // timedelta(milliseconds=1):012x}"
    return f"{digits[:8]}-{digits[8:]}-7000-8000-000000000000"
