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
import threading
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

from protocols.errors import InvalidInput
from protocols.messages import DeliveryId, MessageId

_COUNTER_BITS = 26
_COUNTER_LIMIT = 1 << _COUNTER_BITS
# One read of the operating system's generator serves 256 identifiers: read one by one it would
# cost as much as everything else here together.
_POOL_IDENTIFIERS = 256
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class Uuid7Source:
    """Makes strictly increasing UUIDv7 texts; may be called from any thread.

    A forked child gets a source of fresh randomness by itself.
    """

    def __init__(
        self,
        clock_ns: Callable[[], int] = time.time_ns,
        random_bytes: Callable[[int], bytes] = os.urandom,
    ) -> None:
        self._clock_ns = clock_ns
        self._random_bytes = random_bytes
        self._restart()
        os.register_at_fork(after_in_child=self._restart)

    def _restart(self) -> None:
        self._lock = threading.Lock()
        self._now_ms = -1
        self._prefix = ""
        self._counter = 0
        self._pool: list[str] = []

    def __call__(self) -> str:
        """Return a new identifier in the canonical form, 36 lower-case characters."""
        with self._lock:
            now_ms = self._clock_ns() // 1_000_000
            if now_ms > self._now_ms:
                self._enter(now_ms)
            else:
                self._counter += 1
                if self._counter == _COUNTER_LIMIT:
                    self._enter(self._now_ms + 1)
            counter = self._counter
            if not self._pool:
                self._refill()
            return f"{self._prefix}{counter >> 14:03x}-{0x8000 | counter & 0x3FFF:04x}-{self._pool.pop()}"

    def _enter(self, now_ms: int) -> None:
        digits = f"{now_ms:012x}"
        self._now_ms = now_ms
        self._prefix = f"{digits[:8]}-{digits[8:]}-7"
        self._counter = int.from_bytes(self._random_bytes(4)) >> (32 - _COUNTER_BITS + 1)

    def _refill(self) -> None:
        digits = self._random_bytes(6 * _POOL_IDENTIFIERS).hex()
        self._pool = [digits[start : start + 12] for start in range(0, len(digits), 12)]


# The order within a process is a property of the process, so its source is one.
_process_source = Uuid7Source()


def new_message_id() -> MessageId:
    """Return an identifier for a message that is being accepted now."""
    return MessageId(_process_source())


def new_delivery_id() -> DeliveryId:
    """Return an identifier for a delivery whose outbox row is being made now."""
    return DeliveryId(_process_source())


def uuid7_time(identifier: str) -> datetime:
    """Return when `identifier` was made, to the millisecond, as an aware UTC datetime.

    Raises:
        InvalidInput: it is not a UUIDv7 in canonical form.
    """
    if len(identifier) != 36 or identifier[14] != "7":
        raise InvalidInput(f"{identifier[:40]!r} is not a UUID of version 7.")
    try:
        # int() would take "_" and blanks as well; bytes.fromhex() takes blanks between bytes only.
        milliseconds = int.from_bytes(bytes.fromhex(identifier[:8] + identifier[9:13]))
        return _EPOCH + timedelta(milliseconds=milliseconds)
    except (ValueError, OverflowError) as exc:
        raise InvalidInput(f"{identifier[:40]!r} is not a UUID of version 7.") from exc
