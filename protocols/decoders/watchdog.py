"""Which worker must be killed, and for whose sake.

The engine interrupts scripts by itself; what no interrupt reaches is long native work (joining a
huge array, parsing a huge date). A worker whose item exceeds the wall limit is killed, but only if
it has also used the CPU time it was allowed: on a busy machine an innocent script may simply not
get the processor, and is given five times as long.
"""

import time

from protocols.decoders.job import Job
from protocols.decoders.settings import DecoderSettings
from protocols.decoders.worker_link import WorkerLink

_STARVED_FACTOR = 5
_NS_PER_S = 1_000_000_000


class Condemned:
    """The worker must die. `blamed` is None when it hangs outside of any script."""

    __slots__ = ("blamed",)

    def __init__(self, blamed: Job | None) -> None:
        self.blamed = blamed


class Watchdog:
    def __init__(self, settings: DecoderSettings) -> None:
        self._wall_limit_s = settings.wall_limit_s
        self._cpu_limit_s = settings.cpu_limit_s

    def examine(self, link: WorkerLink) -> Condemned | None:
        if not link.in_flight or link.is_condemned:
            return None
        patience_s = self._wall_limit_s * _STARVED_FACTOR
        running = link.running()
        job = link.in_flight.get(running.sequence)
        if job is None:
            idle_s = time.monotonic() - link.progressed_at_s
            return Condemned(None) if idle_s > patience_s else None
        wall_s = time.monotonic() - running.started_ns / _NS_PER_S
        if wall_s <= self._wall_limit_s:
            return None
        is_starved = link.cpu_since(running) < self._cpu_limit_s
        return None if is_starved and wall_s <= patience_s else Condemned(job)
