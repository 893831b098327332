"""The hub's side of one worker process: what was sent, what came back, what runs."""

import asyncio
import os
import socket
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Protocol

import msgspec

from protocols.decoders.frames import FrameError, FrameReader, WorkItem, WorkResult, frame
from protocols.decoders.job import Job
from protocols.decoders.progress import Progress, Running

_READ_BYTES = 1 << 18
_NS_PER_S = 1_000_000_000


class WorkerListener(Protocol):
    """Called on the loop."""

    def results_arrived(self, link: "WorkerLink", results: list[WorkResult]) -> None: ...

    def connection_closed(self, link: "WorkerLink") -> None:
        """No further result will come: the process is gone, or sent what is no frame."""


class WorkerLink:
    """One worker. `in_flight` holds, in the order they were sent, the jobs it has not answered."""

    def __init__(self, number: int, listener: WorkerListener) -> None:
        """Makes the socket pair and the progress memory; `take_ends` gives the worker's halves."""
        self.number = number
        self.pid: int | None = None
        self.in_flight: dict[int, Job] = {}
        self.batches = 0
        self.is_open = True
        self.is_ready = False
        self.has_answered = False
        self.exit_code: int | None = None
        self.has_exited = False
        # Set when the hub itself kills the worker, and for whose sake.
        self.blamed: Job | None = None
        self.is_condemned = False
        self.progressed_at_s = time.monotonic()
        self._known: set[tuple[int, str]] = set()
        self._batch_ends: list[int] = []
        self._unsent = bytearray()
        self._reader = FrameReader()
        self._encoder = msgspec.msgpack.Encoder()
        self._decoder = msgspec.msgpack.Decoder(list[WorkResult])
        self._listener = listener
        self._ours, self._theirs = socket.socketpair()
        self._ours.setblocking(False)
        self._progress_descriptor = Progress.create()
        self._progress = Progress(self._progress_descriptor)
        self._loop = asyncio.get_running_loop()
        self._loop.add_reader(self._ours.fileno(), self._read)

    @property
    def ends(self) -> tuple[socket.socket, int]:
        """What the worker gets. Call `close_ends` once it has them."""
        return self._theirs, self._progress_descriptor

    def close_ends(self) -> None:
        self._theirs.close()
        os.close(self._progress_descriptor)

    def send(self, jobs: Iterable[Job]) -> None:
        """Sends one batch. The script goes along when this worker does not have it."""
        items: list[WorkItem] = []
        for job in jobs:
            items.append(self._item_of(job))
            self.in_flight[job.sequence] = job
        if not self.batches:
            self.progressed_at_s = time.monotonic()
        self.batches += 1
        self._batch_ends.append(items[-1].sequence)
        self._write(frame(self._encoder.encode(items)))

    def forget_code(self, job: Job) -> None:
        """The worker has evicted this script: send it again next time."""
        self._known.discard(job.version_key)

    def running(self) -> Running:
        return self._progress.read()

    def cpu_since(self, running: Running) -> float:
        """CPU seconds the process has used since that item started; 0.0 when it cannot be known."""
        try:
            fields = Path(f"/proc/{self.pid}/stat").read_text().rpartition(")")[2].split()
        except OSError:
            return 0.0
        used_s = (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
        return used_s - running.cpu_ns / _NS_PER_S

    def close(self) -> None:
        if not self.is_open:
            return
        self.is_open = False
        self._loop.remove_reader(self._ours.fileno())
        self._loop.remove_writer(self._ours.fileno())
        self._ours.close()
        self._unsent.clear()

    def release_memory(self) -> None:
        """Call last: `running` cannot be asked after it."""
        self._progress.close()

    def _item_of(self, job: Job) -> WorkItem:
        request = job.request
        source = request.source
        code = None
        if job.version_key not in self._known:
            self._known.add(job.version_key)
            code = source.code_bytes
        return WorkItem(
            job.sequence,
            source.decoder_id,
            source.version,
            code,
            request.function,
            request.payload,
            request.metadata,
            job.received_ms,
            job.is_trial,
        )

    def _write(self, data: bytes) -> None:
        if not self.is_open:
            return
        if self._unsent:
            self._unsent += data
            return
        try:
            sent = self._ours.send(data)
        except BlockingIOError:
            sent = 0
        except OSError:
            # The worker is gone; the reader sees the same and reports it.
            return
        if sent < len(data):
            self._unsent += data[sent:]
            self._loop.add_writer(self._ours.fileno(), self._write_rest)

    def _write_rest(self) -> None:
        try:
            sent = self._ours.send(self._unsent)
        except BlockingIOError:
            return
        except OSError:
            sent = len(self._unsent)
        del self._unsent[:sent]
        if not self._unsent:
            self._loop.remove_writer(self._ours.fileno())

    def _read(self) -> None:
        try:
            data = self._ours.recv(_READ_BYTES)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        try:
            bodies = self._reader.feed(data)
            batches = [self._decoder.decode(body) for body in bodies]
        except (FrameError, msgspec.MsgspecError):
            data, batches = b"", []
        for results in batches:
            self._take(results)
        if not data and self.is_open:
            self._listener.connection_closed(self)

    def _take(self, results: list[WorkResult]) -> None:
        self.progressed_at_s = time.monotonic()
        self.is_ready = True
        self.has_answered = self.has_answered or bool(results)
        if results and self._batch_ends and results[-1].sequence == self._batch_ends[0]:
            del self._batch_ends[0]
            self.batches -= 1
        self._listener.results_arrived(self, results)
