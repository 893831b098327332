"""The order of one device's messages, and what is deferred of it.

Rules:

1. Results leave in the order in which the messages were accepted.
2. A head that waits too long is *deferred*: its row is written with its jobs undone, so that the
   journal can move on. All that stands behind it is deferred too, and stays behind it.
3. A deferred message whose jobs come to an end is *settled again* (`position` None): its jobs are
   updated and its deliveries made. Only when nothing is deferred any more do new messages go the
   direct way.
4. Memory is bounded: of the deferred messages at most `HELD_LIMIT` are held here, the others only
   by the database (`stored`), which is asked for the oldest of them when none is held.
5. A decoder in quarantine gives no result at all: what waits for it is parked in the database
   until somebody drives the queue again.

The queue is a plain class: it knows no actor and no database. Its methods return the results that
are to be written, in order; `Slot.requests` are the decodes that are to be run.
"""

import itertools
from collections import deque
from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime

from protocols.decoders import DecodeOutcome, DecodeRequest
from protocols.errors import DecoderQuarantined
from protocols.identifiers import new_delivery_id
from protocols.messages import DecoderId, Uplink
from storage.deferred import DeferredMessage
from storage.plans import DevicePlan, Route
from storage.results import DeliveryDraft, JobResult, JobState, MessageResult

HELD_LIMIT = 64

_tokens = itertools.count(1)


class Slot:
    """One message and the jobs it waits for."""

    __slots__ = (
        "_jobs",
        "_routes",
        "_unplanned",
        "is_parked",
        "position",
        "requests",
        "token",
        "uplink",
        "waiting",
    )

    def __init__(
        self,
        position: int,
        uplink: Uplink,
        plan: DevicePlan,
        now: datetime,
        unplanned: Sequence[JobResult] = (),
    ) -> None:
        """`unplanned` are the jobs that ended because the plan no longer holds their decoder."""
        self.position = position
        self.uplink = uplink
        self.token = next(_tokens)
        self.is_parked = False
        self._unplanned = tuple(unplanned)
        self._routes: Sequence[Route] = plan.routes
        self._jobs: list[JobResult | None] = [
            passed_on(now) if route.decoder is None else None for route in plan.routes
        ]
        self.requests = [
            (job, DecodeRequest(
                source=route.decoder,
                payload=uplink.payload,
                metadata=plan.metadata,
                received_at=uplink.received_at,
            ))
            for job, route in enumerate(plan.routes)
            if route.decoder is not None
        ]  # fmt: skip
        self.waiting = len(self.requests)

    @property
    def unanswered(self) -> list[tuple[int, DecodeRequest]]:
        """The requests whose outcome has not come."""
        return [(job, request) for job, request in self.requests if self._jobs[job] is None]

    def finish(self, job: int, outcome: DecodeOutcome, now: datetime) -> None:
        """Take the outcome of one job; an outcome that came before is kept."""
        if isinstance(outcome.error, DecoderQuarantined):
            self.is_parked = True
        elif self._jobs[job] is None:
            self._jobs[job] = decoded(outcome, now)
            self.waiting -= 1

    def result(
        self, *, live: bool, device_state: bytes | None, generation: int = 0
    ) -> MessageResult:
        """Return the result; `live` if this is the first that is written of this message."""
        jobs = tuple(job for job in self._jobs if job is not None) + self._unplanned
        return MessageResult(
            uplink=self.uplink,
            position=self.position if live else None,
            order=self.position,
            jobs=jobs,
            deliveries=self._deliveries(),
            device_state=device_state,
            generation=generation,
        )

    def deferral(self, now: datetime, device_state: bytes | None) -> MessageResult:
        """Return the result that says: accepted, kept, all jobs still to be done."""
        return MessageResult(
            uplink=self.uplink,
            position=self.position,
            order=self.position,
            jobs=tuple(deferred(route, now) for route in self._routes),
            deliveries=(),
            device_state=device_state,
            generation=0,
        )

    def _deliveries(self) -> tuple[DeliveryDraft, ...]:
        return tuple(
            DeliveryDraft(new_delivery_id(), target_id, job.decoder_id)
            for job, route in zip(self._jobs, self._routes, strict=True)
            if job is not None and job.state in _PUSHED
            for target_id in route.target_ids
        )


_PUSHED = frozenset((JobState.DECODED, JobState.NO_DECODER))


class DeviceQueue:
    """Owned by one device's actor; not thread-safe."""

    def __init__(self, *, stored: int) -> None:
        """`stored` is the number of deferred messages that the database holds of this device."""
        self._live: deque[Slot] = deque()
        self._held: deque[Slot] = deque()
        self._by_token: dict[int, Slot] = {}
        self._stored = stored
        self._is_parked = False
        self._released = 0

    @property
    def is_idle(self) -> bool:
        """Nothing is held in memory, so that nothing is lost if the actor goes away."""
        return not self._live and not self._held

    @property
    def wants_stored(self) -> bool:
        """The next messages of this device have to be fetched from the database."""
        return self._stored > 0 and not self._is_parked and self.is_idle

    @property
    def is_parked(self) -> bool:
        """All waits in the database for a decoder that is shut out."""
        return self._is_parked

    @property
    def is_deferring(self) -> bool:
        return self._stored > 0 or bool(self._held)

    def take(
        self, position: int, uplink: Uplink, plan: DevicePlan, *, now: datetime, state: bytes | None
    ) -> tuple[Slot | None, list[MessageResult]]:
        """Take a new message; return the slot whose requests are to be run, and what to write."""
        slot = Slot(position, uplink, plan, now)
        if not self.is_deferring:
            self._live.append(slot)
            self._by_token[slot.token] = slot
            return slot, self._settle(state)
        result = slot.deferral(now, state)
        if self._stored or len(self._held) >= HELD_LIMIT:
            self._stored += 1
            return None, [result]
        self._held.append(slot)
        self._by_token[slot.token] = slot
        return slot, [result]

    def finish(
        self, token: int, job: int, outcome: DecodeOutcome, *, now: datetime, state: bytes | None
    ) -> list[MessageResult]:
        """Take the outcome of a job; an unknown token belongs to a slot that was given up."""
        slot = self._by_token.get(token)
        if slot is None:
            return []
        slot.finish(job, outcome, now)
        if slot.is_parked:
            return self._park(slot, now, state)
        return self._settle(state)

    def defer(self, position: int, *, now: datetime, state: bytes | None) -> list[MessageResult]:
        """Defer all that is live if the message at `position` is, and is the first that waits."""
        if not self._live or self._live[0].position > position:
            return []
        results = [slot.deferral(now, state) for slot in self._live]
        self._held.extend(self._live)
        self._live.clear()
        while len(self._held) > HELD_LIMIT:
            del self._by_token[self._held.pop().token]
            self._stored += 1
        return results

    def waiting_slots(self) -> list[Slot]:
        """Return, in order, the slots that wait for a decoder."""
        return [slot for slot in (*self._held, *self._live) if slot.waiting]

    def not_done(self, messages: Sequence[DeferredMessage]) -> list[DeferredMessage]:
        """Leave out what this queue has let go already: a read may be older than its result.

        Counting such a message a second time would end the deferral while others still wait.
        """
        return [message for message in messages if message.position > self._released]

    def refill(
        self, messages: Sequence[DeferredMessage], plan: DevicePlan, now: datetime
    ) -> tuple[list[Slot], list[MessageResult]]:
        """Take deferred messages back from the database, oldest first, if none is held."""
        if self._held:
            return [], []
        slots = []
        for message in messages:
            narrowed, unplanned = planned(plan, message.decoder_ids, now)
            slot = Slot(message.position, message.uplink, narrowed, now, unplanned)
            self._held.append(slot)
            self._by_token[slot.token] = slot
            slots.append(slot)
        self._stored = max(0, self._stored - len(slots))
        return slots, self._settle(None)

    def drive(self) -> None:
        """Try again what was parked; there is at least one such message in the database."""
        self._is_parked = False
        self._stored = max(1, self._stored)

    def nothing_stored(self) -> None:
        """Learn that the database holds no deferred message of this device."""
        self._stored = 0

    def position_of(self, token: int) -> int | None:
        """Return the position of the slot that an outcome belongs to."""
        slot = self._by_token.get(token)
        return None if slot is None else slot.position

    def _settle(self, state: bytes | None) -> list[MessageResult]:
        results: list[MessageResult] = []
        held, live = self._held, self._live
        while held and not held[0].waiting:
            self._released = held[0].position
            results.append(self._release(held).result(live=False, device_state=None))
        if not held:
            while live and not live[0].waiting:
                results.append(self._release(live).result(live=True, device_state=state))
        return results

    def _release(self, slots: deque[Slot]) -> Slot:
        slot = slots.popleft()
        del self._by_token[slot.token]
        return slot

    def _park(self, slot: Slot, now: datetime, state: bytes | None) -> list[MessageResult]:
        results: list[MessageResult] = []
        if slot in self._live:
            results = self._settle(state)
            results += self.defer(slot.position, now=now, state=state)
        while self._held:
            self._stored += 1
            del self._by_token[self._held.popleft().token]
        self._is_parked = True
        return results


def planned(
    plan: DevicePlan, decoder_ids: Sequence[DecoderId | None], now: datetime
) -> tuple[DevicePlan, list[JobResult]]:
    """Return the plan for these jobs alone, and how the jobs end that it no longer holds."""
    routes = {None if r.decoder is None else r.decoder.decoder_id: r for r in plan.routes}
    kept = tuple(routes[decoder_id] for decoder_id in decoder_ids if decoder_id in routes)
    gone = [disconnected(decoder_id, now) for decoder_id in decoder_ids if decoder_id not in routes]
    return replace(plan, routes=kept), gone


def disconnected(decoder_id: DecoderId | None, now: datetime) -> JobResult:
    """Return the job whose connection was removed while it was deferred."""
    if decoder_id is None:
        return passed_on(now)
    return JobResult(
        decoder_id=decoder_id,
        state=JobState.FAILED,
        decoder_version=None,
        body=None,
        warnings=(),
        error_code="decoder_disconnected",
        error="The device was disconnected from this decoder before the message was decoded.",
        settled_at=now,
    )


def passed_on(now: datetime) -> JobResult:
    """Return the job of a route without a decoder: the payload itself is the message."""
    return JobResult(
        decoder_id=None,
        state=JobState.NO_DECODER,
        decoder_version=None,
        body=None,
        warnings=(),
        error_code=None,
        error=None,
        settled_at=now,
    )


def decoded(outcome: DecodeOutcome, now: datetime) -> JobResult:
    """Return the job that a decoder has done or failed at."""
    error = outcome.error
    return JobResult(
        decoder_id=DecoderId(outcome.decoder_id),
        state=JobState.DECODED if error is None else JobState.FAILED,
        decoder_version=outcome.version,
        body=outcome.body if error is None else None,
        warnings=outcome.warnings,
        error_code=None if error is None else error.code,
        error=None if error is None else str(error),
        settled_at=now,
    )


def deferred(route: Route, now: datetime) -> JobResult:
    """Return the job that is still to be done."""
    decoder = route.decoder
    return JobResult(
        decoder_id=None if decoder is None else DecoderId(decoder.decoder_id),
        state=JobState.DEFERRED,
        decoder_version=None if decoder is None else decoder.version,
        body=None,
        warnings=(),
        error_code=None,
        error=None,
        settled_at=now,
    )
