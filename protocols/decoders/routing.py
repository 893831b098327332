"""Which lane a job takes, and what its outcome means for the decoder's next ones."""

import asyncio
from collections import deque
from collections.abc import Callable, Sequence
from typing import Protocol

from protocols.decoders import events
from protocols.decoders.fleet import Fleet
from protocols.decoders.job import Job
from protocols.decoders.lane import Lane
from protocols.decoders.penalties import Standing
from protocols.decoders.settings import DecoderSettings
from protocols.errors import (
    DecodeError,
    DecoderCrashed,
    DecoderQuarantined,
    DecoderResting,
    DecoderUnavailable,
    ScriptLimitExceeded,
)

# Errors that say nothing about the script, because it did not run to its end.
_NOT_RUN = (DecoderUnavailable, DecoderQuarantined)


class Reporter(Protocol):
    def __call__(self, event: str, **data: str | int | float | None) -> None: ...


class Routing:
    """The lanes: one per shared worker, by the decoder's id; one for the untrusted; one for tests."""

    def __init__(
        self,
        settings: DecoderSettings,
        fleet: Fleet,
        *,
        refuse: Callable[[Job, DecodeError], None],
        report: Reporter,
        clock: Callable[[], float],
    ) -> None:
        """`refuse` settles a job that will not run. It is called from the loop, never in `route`."""
        self.is_open = False
        self._hog_call_s = settings.hog_call_s
        self._fleet = fleet
        self._refuse = refuse
        self._report = report
        self._clock = clock
        self._shared = [
            Lane(f"shared-{number}", settings, shared=True, travels_alone=_travels_alone)
            for number in range(settings.workers)
        ]
        self._penalty = Lane("penalty", settings, shared=False, travels_alone=_travels_alone)
        self._tests = Lane("tests", settings, shared=False, travels_alone=_travels_alone)
        for lane in (*self._shared, self._penalty, self._tests):
            fleet.add(lane)
            lane.is_wanted = lane is not self._tests

    def route(self, job: Job) -> None:
        """Puts a job where it belongs. Every job is settled in the end, one way or another."""
        if not self.is_open:
            self._refuse_soon(job, DecoderUnavailable("The decoder pool is not running"))
        elif job.record is None or job.standing is None:
            self._fleet.want(self._tests)
            self._tests.push(job)
        elif job.record.recorder.mean_cpu_s > self._hog_call_s or not job.standing.is_trusted:
            self._route_apart(job, job.standing)
        else:
            self._shared[hash(job.record.decoder_id) % len(self._shared)].push(job)

    def judge(
        self, job: Job, standing: Standing, error: DecodeError | None, *, spent_s: float
    ) -> None:
        """Draws the consequences of an outcome; the call took so much time of the processor."""
        if error is None and standing.is_trusted and standing.on_trial is None:
            return
        if isinstance(error, ScriptLimitExceeded | DecoderCrashed):
            self._strike(job, standing, error, spent_s)
        elif standing.is_on_probation and not isinstance(error, _NOT_RUN):
            standing.behave()
        if standing.on_trial is job:
            standing.on_trial = None
            held, standing.held = standing.held, deque()
            for waiting in held:
                self.route(waiting)

    def send_again(self, lane: Lane, job: Job) -> None:
        """A worker did not run this job, because it does not have the script any more."""
        if job.standing is None or job.standing.is_trusted or lane is self._penalty:
            lane.put_back([job])
        else:
            self.route(job)

    def repeat_if_doubtful(self, job: Job) -> bool:
        """A script exceeded a limit: has the call repeated where it holds up nobody, if it is trusted.

        A machine that stands still for a moment looks to the engine like a script that spins.
        What waits for the same worker waits for the verdict instead.
        """
        standing = job.standing
        if standing is None or not standing.doubt(job, self._clock()):
            return False
        job.isolated = True
        standing.held += self._take_out(self._shared, job, standing)
        self._penalty.put_back([job])
        return True

    def cut_short(self, job: Job, standing: Standing, spent_s: float) -> DecodeError:
        """A trial was cut: the version rests; the error says how long."""
        now = self._clock()
        standing.cut_short(now, spent_s)
        left_s = (standing.shut_out_until(now) or now) - now
        decoder_id, version = job.version_key
        self._report(events.TRIAL_CUT, decoder_id=decoder_id, version=version, rest_s=left_s)
        return _shut_out(standing, now)

    def put_back(self, lane: Lane, jobs: Sequence[Job]) -> None:
        """Jobs whose worker died run again; those that are isolated, where nobody waits for them."""
        for place in {id(lane): lane, id(self._penalty): self._penalty}.values():
            place.put_back([job for job in jobs if self._lane_after_loss(lane, job) is place])

    def _route_apart(self, job: Job, standing: Standing) -> None:
        now = self._clock()
        until = standing.shut_out_until(now)
        if until is not None:
            self._refuse_soon(job, _shut_out(standing, now))
        elif not standing.is_on_probation:
            standing.strikes(now)
            self._penalty.push(job)
        elif standing.on_trial is None:
            standing.on_trial = job
            job.is_trial = standing.wants_trial
            self._penalty.push(job)
        else:
            standing.held.append(job)

    def _strike(self, job: Job, standing: Standing, error: DecodeError, spent_s: float) -> None:
        decoder_id, version = job.version_key
        now = self._clock()
        is_quarantined = standing.strike(now, spent_s)
        until = standing.shut_out_until(now)
        left_s = 0.0 if until is None else until - now
        self._report(
            events.STRIKE_GIVEN,
            decoder_id=decoder_id,
            version=version,
            reason=error.code,
            rest_s=left_s,
        )
        if is_quarantined:
            self._report(events.QUARANTINE_STARTED, decoder_id=decoder_id, duration_s=left_s)
        if until is None:
            self._penalty.put_back(self._take_out(self._shared, job, standing))
            return
        for waiting in self._take_out(self._fleet.lanes, job, standing):
            self._refuse_soon(waiting, _shut_out(standing, now))

    def _take_out(self, lanes: Sequence[Lane], job: Job, standing: Standing) -> list[Job]:
        """Everything of that job's version that waits in these lanes."""
        decoder_id = job.version_key[0]
        return [
            waiting
            for lane in lanes
            for waiting in lane.queue.discard(decoder_id, lambda other: other.standing is standing)
        ]

    def _lane_after_loss(self, lane: Lane, job: Job) -> Lane:
        return self._penalty if job.isolated and job.record is not None else lane

    def _refuse_soon(self, job: Job, error: DecodeError) -> None:
        """Later, because `submit` never calls back before it returns."""
        asyncio.get_running_loop().call_soon(self._refuse, job, error)


def _travels_alone(job: Job) -> bool:
    return job.isolated or (job.record is not None and job.record.recorder.is_slow)


def _shut_out(standing: Standing, now: float) -> DecoderQuarantined:
    until = standing.quarantined_until(now)
    if until is None:
        rest_s = max(0.0, (standing.shut_out_until(now) or now) - now)
        return DecoderResting(
            f"The decoder took very long and runs again in {_whole_s(rest_s)} s; until then its "
            "messages are kept",
            rest_s=rest_s,
        )
    return DecoderQuarantined(
        "The decoder exceeded its limits too often and is not run for another "
        f"{_whole_s(until - now)} s; change the script or release it"
    )


def _whole_s(seconds: float) -> int:
    return max(1, round(seconds))
