"""What bounds a decoder, and how many processes decode."""

import os
from dataclasses import dataclass, field

MEGABYTE = 1024 * 1024


def _cores() -> int:
    return len(os.sched_getaffinity(0))


@dataclass(frozen=True, slots=True, kw_only=True)
class DecoderSettings:
    """The limits of one call, the size of the pool, and when a decoder is shut out.

    `cpu_limit_s` is processor time; `wall_limit_s` is the watchdog's, for native code of the
    engine that no interrupt reaches, and must be longer.
    """

    workers: int = field(default_factory=_cores)
    memory_limit_bytes: int = 32 * MEGABYTE
    # The engine is crashed by stacks near the C stack's size; 256 KB is far from it.
    stack_limit_bytes: int = 256 * 1024
    cpu_limit_s: float = 0.25
    # Of the first call of a version, loading and running each. Nearly all scripts take less; for the
    # others it is the first of two tries.
    trial_limit_s: float = 0.05
    # Compiling a large vendor script takes 10 ms; tables built at load take longer.
    load_limit_s: float = 1.0
    wall_limit_s: float = 2.0
    result_limit_bytes: int = 256 * 1024
    # About 172 KB each: 1,000 contexts are 172 MB per worker.
    context_cache: int = 1000
    # Global state that scripts pile up is thrown away with the context.
    recycle_after_calls: int = 10_000
    # All of one worker's contexts together; above it the least recently used half goes.
    worker_memory_bytes: int = 768 * MEGABYTE
    address_space_bytes: int = 2048 * MEGABYTE
    # How many times as long as its last call a version rests: it gets half a percent of a processor.
    # What happens to less than one message in a hundred does not show in the others' p99.
    rest_factor: float = 200.0
    strikes: int = 3
    strike_window_s: float = 600.0
    # Doubles with every further quarantine, up to the cap.
    quarantine_s: float = 600.0
    quarantine_cap_s: float = 4 * 3600.0
    batch_items: int = 64
    batch_bytes: int = MEGABYTE
    # CPU time. A decoder whose p99 is above this travels alone, so that no finished result waits
    # for it.
    slow_call_s: float = 0.005
    # CPU time. One whose calls usually take this long does not share a worker at all.
    hog_call_s: float = 0.020
