"""The few bytes of memory in which a worker says what it is running.

Three 8-byte numbers, little-endian: the sequence of the running item (0 when none runs), the
monotonic clock and the process's CPU clock at its start, both in nanoseconds. The worker writes
without a lock and the sequence last; the watchdog may see a new start with an old sequence, which
only makes it look once more.
"""

import mmap
import os
import struct
from typing import NamedTuple

PROGRESS_BYTES = mmap.PAGESIZE
_TIMES = struct.Struct("<QQ")
_SEQUENCE = struct.Struct("<Q")


class Running(NamedTuple):
    """`sequence` 0: nothing runs."""

    sequence: int
    started_ns: int
    cpu_ns: int


class Progress:
    """One worker's progress memory, seen from either side."""

    def __init__(self, descriptor: int) -> None:
        """Maps the memory; the descriptor stays the caller's and may be closed at once."""
        self._memory = mmap.mmap(descriptor, PROGRESS_BYTES)

    @staticmethod
    def create() -> int:
        """Returns the descriptor of new, zeroed progress memory."""
        descriptor = os.memfd_create("decoder-progress", os.MFD_CLOEXEC)
        os.ftruncate(descriptor, PROGRESS_BYTES)
        return descriptor

    def begin(self, running: Running) -> None:
        _TIMES.pack_into(self._memory, 8, running.started_ns, running.cpu_ns)
        _SEQUENCE.pack_into(self._memory, 0, running.sequence)

    def end(self) -> None:
        _SEQUENCE.pack_into(self._memory, 0, 0)

    def read(self) -> Running:
        (sequence,) = _SEQUENCE.unpack_from(self._memory, 0)
        return Running(sequence, *_TIMES.unpack_from(self._memory, 8))

    def close(self) -> None:
        self._memory.close()
