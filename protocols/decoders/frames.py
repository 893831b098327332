"""The frames between the pool and its processes.

A frame is a length (four bytes, little-endian) and a msgpack array. To a worker goes a list of
WorkItem, from it comes a list of WorkResult, in the order of the items; an empty one first, when it
is ready. The channel to the zygote keeps message boundaries itself and carries one ZygoteRequest or
ZygoteReply per message.
"""

from enum import IntEnum

import msgspec

MAX_FRAME_BYTES = 64 * 1024 * 1024
HEADER_BYTES = 4


class FrameError(Exception):
    """The other side sent what is no frame. Never leaves the package: the process is replaced."""


class WorkerLimits(msgspec.Struct, frozen=True):
    """The part of the settings that a worker keeps to."""

    memory_limit_bytes: int
    stack_limit_bytes: int
    cpu_limit_s: float
    trial_limit_s: float
    load_limit_s: float
    result_limit_bytes: int
    context_cache: int
    recycle_after_calls: int
    worker_memory_bytes: int
    address_space_bytes: int


class WorkItem(msgspec.Struct, array_like=True, frozen=True, gc=False):
    """One call. `code` is None when the worker was given it before; it may have forgotten it since."""

    sequence: int
    decoder_id: int
    version: str
    code: bytes | None
    function: str
    payload: bytes
    metadata: bytes
    received_ms: int
    is_trial: bool = False


class Status(IntEnum):
    DONE = 0
    FAILED = 1
    LIMIT = 2
    MISSING_CODE = 3
    """Not run: the script was evicted, or exceeded a limit just before."""
    CUT_SHORT = 4
    """It took longer than a trial may; nothing is held against it."""


class WorkResult(msgspec.Struct, array_like=True, frozen=True, gc=False):
    """What came of one item. `message` is the sentence for the user when the status is not DONE."""

    sequence: int
    status: Status
    body: bytes | None
    cpu_us: int
    wall_us: int
    convention: str | None = None
    message: str = ""
    warnings: list[str] = []
    logs: list[str] = []


class ZygoteRequest(msgspec.Struct, array_like=True, frozen=True):
    """`fork` comes with two file descriptors: the worker's socket and its progress memory."""

    command: str
    worker: int


class ZygoteReply(msgspec.Struct, array_like=True, frozen=True):
    """`forked` with the pid, `exited` with the exit code (-n for signal n), `failed` with the errno."""

    event: str
    worker: int
    value: int


class FrameReader:
    """Cuts a byte stream into frames, whatever pieces it arrives in."""

    def __init__(self) -> None:
        self._buffer = bytearray()

    def feed(self, data: bytes) -> list[bytes]:
        """Returns the frames that are now complete. Raises: FrameError when one is absurdly long."""
        buffer = self._buffer
        buffer += data
        frames: list[bytes] = []
        start = 0
        while len(buffer) - start >= HEADER_BYTES:
            size = int.from_bytes(buffer[start : start + HEADER_BYTES], "little")
            if size > MAX_FRAME_BYTES:
                raise FrameError(f"a frame of {size} bytes")
            end = start + HEADER_BYTES + size
            if len(buffer) < end:
                break
            frames.append(bytes(buffer[start + HEADER_BYTES : end]))
            start = end
        del buffer[:start]
        return frames


def frame(body: bytes) -> bytes:
    return len(body).to_bytes(HEADER_BYTES, "little") + body
