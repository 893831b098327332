"""The worker processes: started, fed, watched, killed and replaced.

A worker is finished with when two things are known: its connection is closed (so every result it
sent has been read) and its exit code (from the zygote). What it left unanswered is then settled:

- The hub's watchdog killed it: the job it was killed for exceeded the wall limit.
- It ended by itself (a signal other than SIGKILL, or an exception): the running job crashed it.
- SIGKILL from outside (the kernel's OOM killer, an operator), or the zygote died: nobody is blamed.

Jobs that are not blamed run again, alone from the second loss on; with the third they count as the
crash's cause.
"""

import asyncio
import contextlib
import os
import signal
from collections.abc import Sequence
from typing import Protocol

import structlog

from protocols.decoders import events
from protocols.decoders.frames import WorkerLimits, WorkResult
from protocols.decoders.job import Job
from protocols.decoders.lane import Lane
from protocols.decoders.settings import DecoderSettings
from protocols.decoders.watchdog import Watchdog
from protocols.decoders.worker_link import WorkerLink
from protocols.decoders.zygote_link import ZygoteLink
from protocols.errors import DecodeError, DecoderCrashed, ScriptLimitExceeded

_MAX_LOSSES = 3
_ZYGOTE_RETRY_S = 1.0

_log = structlog.get_logger(__name__)


class FleetListener(Protocol):
    """Called on the loop."""

    def job_answered(self, lane: Lane, link: WorkerLink, job: Job, result: WorkResult) -> None: ...

    def job_broke_worker(self, job: Job, error: DecodeError) -> None: ...

    def jobs_lost(self, lane: Lane, jobs: Sequence[Job]) -> None:
        """Run them again; those that are `isolated`, alone."""

    def report(self, event: str, **data: str | int | float | None) -> None: ...


class Fleet:
    """Keeps one worker on every wanted lane."""

    def __init__(self, settings: DecoderSettings, listener: FleetListener) -> None:
        self._settings = settings
        self._listener = listener
        self._limits = _limits_of(settings)
        self._zygote: ZygoteLink | None = None
        self._zygote_started_at = 0.0
        self._lanes: list[Lane] = []
        self._links: dict[int, tuple[Lane, WorkerLink]] = {}
        self._next_number = 1
        self._watchdog = Watchdog(settings)
        self._is_stopping = False
        # Set when every wanted lane's first worker is ready.
        self.ready = asyncio.Event()

    @property
    def lanes(self) -> Sequence[Lane]:
        return self._lanes

    @property
    def worker_pids(self) -> list[int]:
        return [
            link.pid for _, link in self._links.values() if link.pid is not None and link.is_open
        ]

    @property
    def zygote_pid(self) -> int | None:
        return None if self._zygote is None else self._zygote.pid

    @property
    def restarts(self) -> int:
        """Workers started beyond the first of each lane."""
        return sum(max(lane.starts - 1, 0) for lane in self._lanes)

    def add(self, lane: Lane) -> None:
        self._lanes.append(lane)

    def start(self) -> None:
        """Raises: OSError when no process can be started."""
        self._is_stopping = False
        self.ready.clear()
        self._start_zygote()

    def want(self, lane: Lane) -> None:
        """From now on the lane has a worker."""
        if not lane.is_wanted:
            lane.is_wanted = True
            self._launch(lane)

    def stop(self) -> list[Job]:
        """Ends every process at once and returns the jobs that had no answer."""
        self._is_stopping = True
        if self._zygote is not None:
            self._zygote.stop()
            self._zygote = None
        left: list[Job] = []
        for _, link in self._links.values():
            left += link.in_flight.values()
            link.close()
            link.release_memory()
        for lane in self._lanes:
            left += lane.queue.drain()
            lane.link = None
        self._links.clear()
        return left

    def watch(self) -> None:
        """Looks for workers that run one item too long. To be called several times per wall limit."""
        for _, link in list(self._links.values()):
            verdict = self._watchdog.examine(link)
            if verdict is not None:
                self._kill(link, verdict.blamed)

    # What the worker links and the zygote call.

    def results_arrived(self, link: WorkerLink, results: list[WorkResult]) -> None:
        if link.number not in self._links:
            return
        lane, _ = self._links[link.number]
        for result in results:
            job = link.in_flight.pop(result.sequence, None)
            if job is not None:
                self._listener.job_answered(lane, link, job, result)
        if not results and all(each.is_ready for each in self._lanes if each.is_wanted):
            self.ready.set()
        lane.pump()

    def connection_closed(self, link: WorkerLink) -> None:
        if self._zygote is not None:
            self._zygote.kill(link.number)
        link.close()
        self._finish_if_over(link)

    def worker_forked(self, worker: int, pid: int) -> None:
        if worker in self._links:
            lane, link = self._links[worker]
            link.pid = pid
            if not lane.is_shared:
                _give_way(pid)
            _log.debug(events.WORKER_STARTED, lane=lane.name, pid=pid)

    def worker_exited(self, worker: int, exit_code: int | None) -> None:
        if worker in self._links:
            _, link = self._links[worker]
            link.has_exited = True
            link.exit_code = exit_code
            self._finish_if_over(link)

    def zygote_gone(self) -> None:
        self._zygote = None
        if self._is_stopping:
            return
        self._listener.report(events.ZYGOTE_DIED)
        for _, link in list(self._links.values()):
            link.has_exited = True
            self._finish_if_over(link)
        loop = asyncio.get_running_loop()
        if loop.time() - self._zygote_started_at < _ZYGOTE_RETRY_S:
            loop.call_later(_ZYGOTE_RETRY_S, self._restart_zygote)
        else:
            self._restart_zygote()

    # Starting.

    def _start_zygote(self) -> None:
        self._zygote_started_at = asyncio.get_running_loop().time()
        zygote = ZygoteLink(self, self._limits)
        zygote.start()
        self._zygote = zygote
        for lane in self._lanes:
            if lane.is_wanted and lane.link is None:
                self._launch(lane)

    def _restart_zygote(self) -> None:
        if self._is_stopping:
            return
        try:
            self._start_zygote()
        except OSError as exc:
            self._listener.report(events.ZYGOTE_FAILED, reason=str(exc))
            asyncio.get_running_loop().call_later(_ZYGOTE_RETRY_S, self._restart_zygote)

    def _launch(self, lane: Lane) -> None:
        """Starts a worker, unless there is no zygote: its successor starts what is missing."""
        if self._zygote is None or self._is_stopping or lane.link is not None:
            return
        link = WorkerLink(self._next_number, self)
        self._next_number += 1
        self._links[link.number] = (lane, link)
        lane.link = link
        lane.starts += 1
        self._zygote.fork(link.number, *link.ends)
        link.close_ends()
        lane.pump()

    # Ending.

    def _kill(self, link: WorkerLink, blamed: Job | None) -> None:
        link.is_condemned = True
        link.blamed = blamed
        decoder_id = None if blamed is None else blamed.version_key[0]
        self._listener.report(events.WORKER_KILLED, pid=link.pid, decoder_id=decoder_id)
        if self._zygote is None:
            return
        if link.pid is None:
            # It does not even fork: a zygote that hangs is replaced.
            self._zygote.stop()
            self.zygote_gone()
        else:
            self._zygote.kill(link.number)

    def _finish_if_over(self, link: WorkerLink) -> None:
        if link.is_open or not link.has_exited:
            return
        lane, _ = self._links.pop(link.number)
        lane.link = None
        running = link.in_flight.get(link.running().sequence)
        link.release_memory()
        decoder_id = None if running is None else running.version_key[0]
        self._listener.report(
            events.WORKER_DIED, lane=lane.name, exit_code=link.exit_code, decoder_id=decoder_id
        )
        self._settle(lane, link, running)
        delay_s = lane.backoff_s(was_useful=link.has_answered)
        if delay_s:
            asyncio.get_running_loop().call_later(delay_s, self._launch, lane)
        else:
            self._launch(lane)

    def _settle(self, lane: Lane, link: WorkerLink, running: Job | None) -> None:
        left = list(link.in_flight.values())
        blamed, error = self._verdict(link, running)
        again: list[Job] = []
        for job in left:
            job.losses += 1
            job.isolated = job.isolated or job is running or job.losses > 1
            if job is blamed:
                self._listener.job_broke_worker(job, error)
            elif job.losses >= _MAX_LOSSES:
                self._listener.job_broke_worker(job, _crashed(link))
            else:
                again.append(job)
        self._listener.jobs_lost(lane, again)

    def _verdict(self, link: WorkerLink, running: Job | None) -> tuple[Job | None, DecodeError]:
        if link.blamed is not None:
            limit_s = self._settings.wall_limit_s
            return link.blamed, ScriptLimitExceeded(
                f"The script ran longer than {limit_s:g} s and could not be interrupted"
            )
        by_itself = link.exit_code not in (None, 0, -signal.SIGKILL)
        return (running if by_itself and not link.is_condemned else None), _crashed(link)


def _crashed(link: WorkerLink) -> DecoderCrashed:
    how = ""
    if link.exit_code is not None and link.exit_code < 0:
        how = f" ({signal.Signals(-link.exit_code).name})"
    return DecoderCrashed(f"The decoder process died{how} while it ran the script")


def _limits_of(settings: DecoderSettings) -> WorkerLimits:
    return WorkerLimits(
        **{name: getattr(settings, name) for name in WorkerLimits.__struct_fields__}
    )


def _give_way(pid: int) -> None:
    """Let everything else have the processor first: suspects and trials can wait, messages cannot."""
    # Lowering the priority is not enough: a process that spins at a low one is still let finish its
    # slice before a message is handled. A worker that died already has nothing to give.
    with contextlib.suppress(OSError):
        os.sched_setscheduler(pid, os.SCHED_IDLE, os.sched_param(0))
