"""The pool: takes requests, has them run, hands out the outcomes in order."""

import asyncio
import contextlib
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

import structlog

from protocols.decoders import events
from protocols.decoders.events import PoolEvent
from protocols.decoders.fleet import Fleet
from protocols.decoders.frames import Status, WorkResult
from protocols.decoders.job import Job
from protocols.decoders.lane import Lane
from protocols.decoders.outcomes import US_PER_S, error_of, outcome_of
from protocols.decoders.record import DecoderRecord
from protocols.decoders.request import DecodeOutcome, DecodeRequest
from protocols.decoders.routing import Routing
from protocols.decoders.settings import DecoderSettings
from protocols.decoders.statistics import CallRecorder, DecoderStatistics
from protocols.decoders.worker_link import WorkerLink
from protocols.errors import (
    DecodeError,
    DecoderCrashed,
    DecoderUnavailable,
    ScriptLimitExceeded,
)

_WATCHES_PER_LIMIT = 8
_START_TIMEOUT_S = 20.0

_log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class PoolHealth:
    """`workers_alive` counts lanes with a process, of `workers_wanted`."""

    is_running: bool
    workers_alive: int
    workers_wanted: int
    restarts: int
    queued: int
    unanswered: int


class DecoderPool:
    """Runs decoders in worker processes. All methods belong to the thread of the loop it started on.

    One decoder's scripts run in one shared worker; on probation, with strikes, or when they usually
    take long, in the penalty lane, one job at a time. Tests have a lane of their own.
    """

    def __init__(
        self,
        settings: DecoderSettings,
        *,
        on_event: Callable[[PoolEvent], None] | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """`clock` is for the times of rests and quarantines, in seconds."""
        self._settings = settings
        self._clock = clock
        self._on_event = on_event
        self._records: dict[int, DecoderRecord] = {}
        self._fleet = Fleet(settings, self)
        self._routing = Routing(
            settings, self._fleet, refuse=self._refuse, report=self.report, clock=clock
        )
        self._sequence = 0
        self._unanswered: dict[int, Job] = {}
        self._all_answered = asyncio.Event()
        self._watch: asyncio.TimerHandle | None = None

    @property
    def worker_pids(self) -> list[int]:
        return self._fleet.worker_pids

    @property
    def zygote_pid(self) -> int | None:
        return self._fleet.zygote_pid

    async def start(self) -> None:
        """Returns when the workers are there. Raises: DecoderUnavailable when they do not come.

        A pool that was stopped may be started again; it remembers its decoders.
        """
        try:
            self._fleet.start()
            await asyncio.wait_for(self._fleet.ready.wait(), _START_TIMEOUT_S)
        except OSError as exc:
            self._fleet.stop()
            raise DecoderUnavailable(
                f"The decoder processes cannot be started: {str(exc) or 'no answer'}"
            ) from exc
        self._routing.is_open = True

    async def stop(self, *, timeout_s: float) -> None:
        """Waits so long for what was submitted; what is left then fails with DecoderUnavailable."""
        if not self._routing.is_open:
            return
        self._routing.is_open = False
        if self._unanswered:
            self._all_answered.clear()
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._all_answered.wait(), timeout_s)
        self._fleet.stop()
        for job in list(self._unanswered.values()):
            self._refuse(job, DecoderUnavailable("The hub is stopping"))
        if self._watch is not None:
            self._watch.cancel()
            self._watch = None

    def submit(self, request: DecodeRequest, on_done: Callable[[DecodeOutcome], None]) -> None:
        """Takes a request and returns at once.

        `on_done` is called later, on the loop, exactly once, whatever happens. Outcomes of one
        decoder come in the order of submission. There is no bound here: the caller keeps one.
        """
        job = self._accept(request, on_done, self._record_of(request))
        self._routing.route(job)

    async def decode(self, request: DecodeRequest) -> DecodeOutcome:
        """As `submit`. A caller that is cancelled does not stop the script."""
        future: asyncio.Future[DecodeOutcome] = asyncio.get_running_loop().create_future()
        self.submit(request, lambda outcome: _answer(future, outcome))
        return await future

    async def test(self, request: DecodeRequest) -> DecodeOutcome:
        """Runs a script that someone tries out: apart from the others, without any consequence."""
        future: asyncio.Future[DecodeOutcome] = asyncio.get_running_loop().create_future()
        job = self._accept(request, lambda outcome: _answer(future, outcome), None)
        self._routing.route(job)
        return await future

    def release(self, decoder_id: int) -> None:
        """Lifts a decoder's quarantine and forgives its strikes. A changed script needs no release."""
        record = self._records.get(decoder_id)
        if record is not None and record.release(self._clock()):
            self.report(events.QUARANTINE_LIFTED, decoder_id=decoder_id)

    def forget(self, decoder_id: int) -> None:
        """Drops the counters of a decoder that was deleted."""
        self._records.pop(decoder_id, None)

    def statistics(self, decoder_id: int) -> DecoderStatistics | None:
        """None for a decoder that was never called since the pool started."""
        record = self._records.get(decoder_id)
        return None if record is None else record.statistics(self._clock())

    def all_statistics(self) -> list[DecoderStatistics]:
        now = self._clock()
        return [record.statistics(now) for record in self._records.values()]

    def health(self) -> PoolHealth:
        lanes = self._fleet.lanes
        return PoolHealth(
            is_running=self._routing.is_open,
            workers_alive=sum(1 for lane in lanes if lane.link is not None),
            workers_wanted=sum(1 for lane in lanes if lane.is_wanted),
            restarts=self._fleet.restarts,
            queued=sum(len(lane.queue) for lane in lanes),
            unanswered=len(self._unanswered),
        )

    # What the fleet calls.

    def job_answered(self, lane: Lane, link: WorkerLink, job: Job, result: WorkResult) -> None:
        if result.status is Status.MISSING_CODE:
            link.forget_code(job)
            self._routing.send_again(lane, job)
            return
        # Whoever says so of another call than a trial lies, and is treated below as one who does.
        if result.status is Status.CUT_SHORT and job.is_trial and job.standing is not None:
            link.forget_code(job)
            spent_s = max(self._settings.trial_limit_s, result.cpu_us / US_PER_S)
            self._finish(job, result, self._routing.cut_short(job, job.standing, spent_s))
            return
        if result.status is Status.LIMIT:
            link.forget_code(job)
            if self._routing.repeat_if_doubtful(job):
                return
        error = error_of(result)
        if isinstance(error, DecoderCrashed):
            self.report(events.WORKER_LIED, pid=link.pid, decoder_id=job.version_key[0])
            self._fleet.connection_closed(link)
        self._finish(job, result, error)

    def job_broke_worker(self, job: Job, error: DecodeError) -> None:
        self._refuse(job, error)

    def jobs_lost(self, lane: Lane, jobs: Sequence[Job]) -> None:
        self._routing.put_back(lane, jobs)

    def report(self, event: str, **data: str | int | float | None) -> None:
        """Logs what happened to the pool or a decoder and tells whoever asked to know."""
        _log.warning(event, **data)
        if self._on_event is not None:
            self._on_event(PoolEvent(name=event, data=data))

    # The way in.

    def _record_of(self, request: DecodeRequest) -> DecoderRecord:
        source = request.source
        record = self._records.get(source.decoder_id)
        if record is None:
            record = DecoderRecord(source.decoder_id, self._settings)
            self._records[source.decoder_id] = record
        record.version = source.version
        return record

    def _accept(
        self,
        request: DecodeRequest,
        on_done: Callable[[DecodeOutcome], None],
        record: DecoderRecord | None,
    ) -> Job:
        self._sequence += 1
        job = Job(self._sequence, request, on_done, record)
        self._unanswered[job.sequence] = job
        if record is not None:
            record.order.append(job)
        if self._watch is None and self._routing.is_open:
            self._watch_later()
        return job

    # The way out.

    def _refuse(self, job: Job, error: DecodeError) -> None:
        self._finish(job, None, error)

    def _finish(self, job: Job, result: WorkResult | None, error: DecodeError | None) -> None:
        if self._unanswered.pop(job.sequence, None) is None:
            return
        job.outcome = outcome_of(job, result, error)
        if job.record is None or job.standing is None:
            _hand_out(job)
        else:
            _count(job.record.recorder, result, error)
            self._routing.judge(job, job.standing, error, spent_s=self._spent_s(result, error))
            order = job.record.order
            while order and order[0].outcome is not None:
                _hand_out(order.popleft())
        if not self._unanswered:
            self._all_answered.set()

    def _spent_s(self, result: WorkResult | None, error: DecodeError | None) -> float:
        """What the call took of the processor, as far as that is known."""
        if result is not None:
            return result.cpu_us / US_PER_S
        was_killed = isinstance(error, ScriptLimitExceeded)
        return self._settings.wall_limit_s if was_killed else self._settings.cpu_limit_s

    def _watch_later(self) -> None:
        delay_s = self._settings.wall_limit_s / _WATCHES_PER_LIMIT
        self._watch = asyncio.get_running_loop().call_later(delay_s, self._watch_now)

    def _watch_now(self) -> None:
        self._watch = None
        self._fleet.watch()
        if self._unanswered:
            self._watch_later()


def _count(recorder: CallRecorder, result: WorkResult | None, error: DecodeError | None) -> None:
    if result is not None:
        recorder.record(wall_s=result.wall_us / US_PER_S, cpu_s=result.cpu_us / US_PER_S)
    if error is not None and not isinstance(error, DecoderUnavailable):
        recorder.fail(error, datetime.now(UTC))


def _hand_out(job: Job) -> None:
    outcome = job.outcome
    assert outcome is not None
    try:
        job.on_done(outcome)
    except Exception as exc:
        # One caller's mistake must not cost the others their outcomes: this is the callers' fence.
        asyncio.get_running_loop().call_exception_handler(
            {"message": "A decoder callback failed", "exception": exc}
        )


def _answer(future: "asyncio.Future[DecodeOutcome]", outcome: DecodeOutcome) -> None:
    if not future.done():
        future.set_result(outcome)
