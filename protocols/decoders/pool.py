"""The pool: takes requests, routes them to lanes, hands out outcomes in order."""

import asyncio
import contextlib
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

import msgspec
import structlog

from protocols.decoders import events
from protocols.decoders.events import PoolEvent
from protocols.decoders.fleet import Fleet
from protocols.decoders.frames import Status, WorkResult
from protocols.decoders.job import Job
from protocols.decoders.lane import Lane
from protocols.decoders.penalties import Standing
from protocols.decoders.record import DecoderRecord
from protocols.decoders.request import Convention, DecodeOutcome, DecodeRequest
from protocols.decoders.settings import DecoderSettings
from protocols.decoders.statistics import DecoderStatistics
from protocols.decoders.worker_link import WorkerLink
from protocols.errors import (
    DecodeError,
    DecoderCrashed,
    DecoderQuarantined,
    DecoderUnavailable,
    ScriptError,
    ScriptLimitExceeded,
)

_WATCHES_PER_LIMIT = 8
_US_PER_S = 1_000_000

_log = structlog.get_logger(__name__)
_valid_json = msgspec.json.Decoder(msgspec.Raw)


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
    ) -> None:
        self._settings = settings
        self._on_event = on_event
        self._records: dict[int, DecoderRecord] = {}
        self._fleet = Fleet(settings, self)
        self._shared = [self._add_lane(f"shared-{n}", shared=True) for n in range(settings.workers)]
        self._penalty = self._add_lane("penalty", shared=False)
        self._tests = self._add_lane("tests", shared=False)
        self._sequence = 0
        self._unanswered: dict[int, Job] = {}
        self._is_running = False
        self._all_answered = asyncio.Event()
        self._watch: asyncio.TimerHandle | None = None

    @property
    def worker_pids(self) -> list[int]:
        return self._fleet.worker_pids

    @property
    def zygote_pid(self) -> int | None:
        return self._fleet.zygote_pid

    async def start(self) -> None:
        """Starts the processes; requests may be submitted at once. Raises: DecoderUnavailable."""
        for lane in (*self._shared, self._penalty):
            lane.is_wanted = True
        try:
            self._fleet.start()
        except OSError as exc:
            raise DecoderUnavailable(f"The decoder processes cannot be started: {exc}") from exc
        self._is_running = True

    async def stop(self, *, timeout_s: float) -> None:
        """Waits so long for what was submitted; what is left then fails with DecoderUnavailable."""
        if not self._is_running:
            return
        self._is_running = False
        if self._unanswered:
            self._all_answered.clear()
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._all_answered.wait(), timeout_s)
        self._fleet.stop()
        for job in list(self._unanswered.values()):
            self._finish(job, error=DecoderUnavailable("The hub is stopping"))
        if self._watch is not None:
            self._watch.cancel()

    def submit(self, request: DecodeRequest, on_done: Callable[[DecodeOutcome], None]) -> None:
        """Takes a request and returns at once.

        `on_done` is called later, on the loop, exactly once, whatever happens. Outcomes of one
        decoder come in the order of submission. There is no bound here: the caller keeps one.
        """
        record = self._record_of(request)
        job = self._accept(request, on_done, record)
        record.order.append(job)
        self._route(job, record)

    async def decode(self, request: DecodeRequest) -> DecodeOutcome:
        """As `submit`. A caller that is cancelled does not stop the script."""
        future: asyncio.Future[DecodeOutcome] = asyncio.get_running_loop().create_future()
        self.submit(request, lambda outcome: _answer(future, outcome))
        return await future

    async def test(self, request: DecodeRequest) -> DecodeOutcome:
        """Runs a script that someone tries out: apart from the others, without any consequence."""
        future: asyncio.Future[DecodeOutcome] = asyncio.get_running_loop().create_future()
        job = self._accept(request, lambda outcome: _answer(future, outcome), None)
        if self._is_running:
            self._fleet.want(self._tests)
            self._tests.push(job)
        else:
            self._refuse_soon(job, DecoderUnavailable("The decoder pool is not running"))
        return await future

    def release(self, decoder_id: int) -> None:
        """Lifts a decoder's quarantine and forgives its strikes. A changed script needs no release."""
        record = self._records.get(decoder_id)
        if record is not None:
            record.release()
            self.report(events.QUARANTINE_LIFTED, decoder_id=decoder_id)

    def forget(self, decoder_id: int) -> None:
        """Drops the counters of a decoder that was deleted."""
        self._records.pop(decoder_id, None)

    def statistics(self, decoder_id: int) -> DecoderStatistics | None:
        """None for a decoder that was never called since the pool started."""
        record = self._records.get(decoder_id)
        return None if record is None else record.statistics(time.monotonic())

    def all_statistics(self) -> list[DecoderStatistics]:
        now = time.monotonic()
        return [record.statistics(now) for record in self._records.values()]

    def health(self) -> PoolHealth:
        lanes = self._fleet.lanes
        return PoolHealth(
            is_running=self._is_running,
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
            lane.queue.put_back([job])
            return
        error: DecodeError | None = None
        if result.status is Status.FAILED:
            error = ScriptError(result.message)
        elif result.status is Status.LIMIT:
            error = ScriptLimitExceeded(result.message)
        elif not _is_json(result.body):
            self.report(events.WORKER_LIED, pid=link.pid, decoder_id=job.version_key[0])
            error = DecoderCrashed("The decoder process returned what is not JSON")
            self._fleet.connection_closed(link)
        self._finish(job, result=result, error=error)

    def job_broke_worker(self, job: Job, error: DecodeError) -> None:
        self._finish(job, error=error)

    def jobs_lost(self, lane: Lane, jobs: Sequence[Job]) -> None:
        for place in {id(lane): lane, id(self._penalty): self._penalty}.values():
            place.put_back([job for job in jobs if self._lane_after_loss(lane, job) is place])

    def report(self, event: str, **data: str | int | float | None) -> None:
        _log.warning(event, **data)
        if self._on_event is not None:
            self._on_event(PoolEvent(name=event, data=data))

    # The way in.

    def _add_lane(self, name: str, *, shared: bool) -> Lane:
        lane = Lane(name, self._settings, shared=shared, travels_alone=_travels_alone)
        self._fleet.add(lane)
        return lane

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
        job = Job(self._sequence, request, on_done, record=record)
        self._unanswered[job.sequence] = job
        if self._watch is None and self._is_running:
            self._watch_later()
        return job

    def _route(self, job: Job, record: DecoderRecord) -> None:
        if not self._is_running:
            self._refuse_soon(job, DecoderUnavailable("The decoder pool is not running"))
            return
        now = time.monotonic()
        standing = record.standing(job.version_key[1])
        until = standing.quarantined_until(now)
        if until is not None:
            self._refuse_soon(job, _quarantined(until - now))
        elif standing.is_on_probation:
            if standing.on_trial is None:
                standing.on_trial = job
                self._penalty.push(job)
            else:
                standing.held.append(job)
        elif standing.strikes(now) or record.recorder.mean_wall_s > self._settings.hog_call_s:
            self._penalty.push(job)
        else:
            self._shared[hash(record.decoder_id) % len(self._shared)].push(job)

    def _lane_after_loss(self, lane: Lane, job: Job) -> Lane:
        return self._penalty if job.isolated and job.record is not None else lane

    def _refuse_soon(self, job: Job, error: DecodeError) -> None:
        """Later, because `submit` never calls back before it returns."""
        asyncio.get_running_loop().call_soon(lambda: self._finish(job, error=error))

    # The way out.

    def _finish(
        self, job: Job, *, result: WorkResult | None = None, error: DecodeError | None = None
    ) -> None:
        if self._unanswered.pop(job.sequence, None) is None:
            return
        job.outcome = _outcome(job, result, error)
        if job.record is None:
            _hand_out(job)
        else:
            self._count(job, job.record, result, error)
            self._hand_out_in_order(job.record)
        if not self._unanswered:
            self._all_answered.set()

    def _count(
        self, job: Job, record: DecoderRecord, result: WorkResult | None, error: DecodeError | None
    ) -> None:
        if result is not None:
            record.recorder.record(
                wall_s=result.wall_us / _US_PER_S, cpu_s=result.cpu_us / _US_PER_S
            )
        if error is not None and not isinstance(error, DecoderUnavailable):
            record.recorder.fail(error, datetime.now(UTC))
        standing = record.standing(job.version_key[1])
        if isinstance(error, ScriptLimitExceeded | DecoderCrashed):
            self._strike(job, record, standing, error)
        elif result is not None and standing.is_on_probation:
            standing.behave()
        if standing.on_trial is job:
            standing.on_trial = None
            held, standing.held = standing.held, type(standing.held)()
            for waiting in held:
                self._route(waiting, record)

    def _strike(
        self, job: Job, record: DecoderRecord, standing: Standing, error: DecodeError
    ) -> None:
        decoder_id, version = job.version_key
        self.report(events.STRIKE_GIVEN, decoder_id=decoder_id, version=version, reason=error.code)
        now = time.monotonic()
        if not standing.strike(now):
            return
        until = standing.quarantined_until(now) or now
        self.report(events.QUARANTINE_STARTED, decoder_id=decoder_id, duration_s=until - now)
        for lane in self._fleet.lanes:
            for waiting in lane.queue.discard(decoder_id, lambda other: _shares_fate(other, job)):
                self._refuse_soon(waiting, _quarantined(until - now))

    def _hand_out_in_order(self, record: DecoderRecord) -> None:
        order = record.order
        while order and order[0].outcome is not None:
            _hand_out(order.popleft())

    def _watch_later(self) -> None:
        delay_s = self._settings.wall_limit_s / _WATCHES_PER_LIMIT
        self._watch = asyncio.get_running_loop().call_later(delay_s, self._watch_now)

    def _watch_now(self) -> None:
        self._watch = None
        self._fleet.watch()
        if self._unanswered:
            self._watch_later()


def _travels_alone(job: Job) -> bool:
    return job.isolated or (job.record is not None and job.record.recorder.is_slow)


def _shares_fate(other: Job, job: Job) -> bool:
    return other.record is job.record and other.version_key == job.version_key


def _quarantined(left_s: float) -> DecoderQuarantined:
    return DecoderQuarantined(
        "The decoder exceeded its limits too often and is not run for another "
        f"{max(1, round(left_s))} s; change the script or release it"
    )


def _is_json(body: bytes | None) -> bool:
    """A worker that a script has taken over may send anything."""
    if body is None:
        return False
    try:
        _valid_json.decode(body)
        str(body, "utf-8")
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return False
    return True


def _outcome(job: Job, result: WorkResult | None, error: DecodeError | None) -> DecodeOutcome:
    decoder_id, version = job.version_key
    if result is None:
        return DecodeOutcome(decoder_id=decoder_id, version=version, body=None, error=error)
    return DecodeOutcome(
        decoder_id=decoder_id,
        version=version,
        body=result.body if error is None else None,
        warnings=tuple(result.warnings),
        logs=tuple(result.logs),
        error=error,
        cpu_s=result.cpu_us / _US_PER_S,
        wall_s=result.wall_us / _US_PER_S,
        convention=None if result.convention is None else Convention(result.convention),
    )


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
