"""A worker's life: read a frame, run its items, write their results.

Results leave when the batch is done, or earlier once it has taken a millisecond, so that a finished
result seldom waits for a slow script behind it. Before each item the worker says in its progress
memory which one runs; that is how the hub knows whom to blame when it must kill the worker.
"""

import os
import socket
import time

import msgspec

from protocols.decoders import sandbox
from protocols.decoders.frames import FrameReader, WorkerLimits, WorkItem, WorkResult, frame
from protocols.decoders.progress import Progress, Running
from protocols.decoders.worker import Engine

FLUSH_NS = 1_000_000
# Between two looks, scripts can take this many times their limit, 256 MB: far less than is left.
MEMORY_CHECK_CALLS = 8
_READ_BYTES = 1 << 18


class MemoryGauge:
    """How much address space this process holds, which is what the kernel limits.

    Opened before the sandbox closes the file system.
    """

    def __init__(self) -> None:
        self.descriptor = os.open("/proc/self/statm", os.O_RDONLY | os.O_CLOEXEC)
        self._page_bytes = os.sysconf("SC_PAGESIZE")

    def size_bytes(self) -> int:
        return int(os.pread(self.descriptor, 256, 0).split()[0]) * self._page_bytes


class Worker:
    def __init__(
        self,
        connection: socket.socket,
        progress: Progress,
        gauge: MemoryGauge,
        limits: WorkerLimits,
    ) -> None:
        self._connection = connection
        self._progress = progress
        self._gauge = gauge
        self._memory_bytes = limits.worker_memory_bytes
        self._engine = Engine(limits)
        self._calls = 0
        self._decoder = msgspec.msgpack.Decoder(list[WorkItem])
        self._encoder = msgspec.msgpack.Encoder()

    def serve(self) -> None:
        """Returns when the hub closes the connection. The first thing sent is an empty list: ready."""
        self._flush([])
        reader = FrameReader()
        while data := self._connection.recv(_READ_BYTES):
            for body in reader.feed(data):
                self._run_batch(self._decoder.decode(body))

    def _run_batch(self, items: list[WorkItem]) -> None:
        results: list[WorkResult] = []
        flushed_ns = time.monotonic_ns()
        for item in items:
            running = Running(item.sequence, time.monotonic_ns(), time.process_time_ns())
            if results and running.started_ns - flushed_ns > FLUSH_NS:
                self._flush(results)
                results = []
                flushed_ns = running.started_ns
            self._progress.begin(running)
            results.append(self._engine.execute(item, running))
            self._calls += 1
            if self._calls % MEMORY_CHECK_CALLS == 0:
                self._check_memory()
        self._progress.end()
        self._flush(results)

    def _flush(self, results: list[WorkResult]) -> None:
        self._connection.sendall(frame(self._encoder.encode(results)))

    def _check_memory(self) -> None:
        """Scripts may hold memory between calls, each up to its limit; together they may not."""
        if self._gauge.size_bytes() > self._memory_bytes:
            self._engine.forget_half()
            sandbox.return_memory()


def work(connection: socket.socket, progress_descriptor: int, limits: WorkerLimits) -> None:
    """The whole life of a freshly forked worker, which is still in the zygote's skin."""
    parent_pid = os.getppid()
    gauge = MemoryGauge()
    progress = Progress(progress_descriptor)
    sandbox.close_all_but((connection.fileno(), gauge.descriptor))
    sandbox.enter(address_space_bytes=limits.address_space_bytes, parent_pid=parent_pid)
    Worker(connection, progress, gauge, limits).serve()
