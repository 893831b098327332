"""TargetActor: sends what the outbox holds for one data target, in order, until it has arrived.

Theory of operation. The outbox on disk is the truth; `Lanes` is a cache of it. New deliveries come
straight from the writer while the cache keeps up. When it is full the actor is *behind*: it ignores
what the writer tells and reads the outbox again as soon as there is room. While a read is under way
what the writer tells is collected beside it (`_fresh`) and added after what was read, so that
neither a delivery nor the order of a device's deliveries is lost between the two. A lane that is due
stays closed until its failed head is on disk as such: before that the outbox would hand out what
stands behind it, and not the head.

A failed attempt is written with the time of the next one; a restart therefore neither repeats the
waiting nor skips it. Outcomes are written in batches: whatever has come to an end while the last
batch was being committed. A process killed between an answer and its commit sends that delivery
once more, under the same id.

In a hub of several processes the target is this process's for a *tenure* only, see `actors/ownership.py`.
A send begins only if it will end within it, and takes no longer than an act may, whatever
the target's own timeout says. Outcomes are written in the name of the tenure: should another process
have taken over, which this one was too late to notice, they are refused. The actor then stops at
once, and its successor sends again what was in flight, under the same id.
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from datetime import timedelta
from typing import Any

import structlog

from actors import events
from actors.lanes import Lanes
from actors.messages import (
    DeliveriesCreated,
    DeliveriesWithdrawn,
    LookIntoOutbox,
    ResumeSending,
    Tick,
)
from actors.ownership import SOLE_TENURE, Tenure
from actors.runtime import Actor, Timer
from protocols.errors import (
    ConnectionLost,
    DeliveryError,
    DeliveryRefused,
    DeliveryRetryable,
    InvalidInput,
    LeaseLost,
    NotFound,
)
from protocols.messages import DeliveryId, DeviceId, TargetId
from protocols.targets import Delivered, Outcome, Push, Target
from protocols.targets.schedule import next_delay_s
from storage.outbox import DeliveryOutcome, DeliveryState, Outbox, OutboxItem

CAPACITY = 1_000
# Enough to keep a receiver busy over its round trip; more only fills its queue.
MAX_IN_FLIGHT = 16
_STOP_PATIENCE_S = 3.0
# Of what is left for stopping the process, what waiting for receivers may take.
_STOP_SHARE = 0.5
# A tenure that is too short is renewed within this time, or not at all.
_RESUME_S = 0.5
# Looking on a mere suspicion takes at most a fifth of the time: reading what waits behind a receiver
# that is away for long costs up to seconds.
_REST_PER_LOOK = 4.0

log = structlog.get_logger(__name__)


class TargetActor(Actor):
    """One data target. A target that cannot be opened keeps its deliveries and says why."""

    def __init__(
        self,
        target_id: TargetId,
        *,
        outbox: Outbox,
        open_target: Callable[[TargetId], Awaitable[Target]],
        tenure: Tenure = SOLE_TENURE,
        capacity: int = CAPACITY,
        max_in_flight: int = MAX_IN_FLIGHT,
    ) -> None:
        """`open_target` makes the target ready, see `Target.from_settings` and `Target.open`."""
        super().__init__()
        self._target_id = target_id
        self._outbox = outbox
        self._open_target = open_target
        self._tenure = tenure
        self._max_in_flight = max_in_flight
        self._capacity = capacity
        self._lanes = Lanes(capacity=capacity)
        self._target: Target | None = None
        self._behind = True
        self._reading = False
        self._must_read_again = False
        self._fresh: list[OutboxItem] = []
        self._senders: set[asyncio.Task[None]] = set()
        self._outcomes: list[DeliveryOutcome] = []
        self._unrecorded: dict[DeliveryId, DeviceId] = {}
        self._recording = False
        self._due_timer: Timer | None = None
        self._due_s = 0.0
        self._resume_timer: Timer | None = None
        self._must_look = False
        self._may_look_s = 0.0
        self._stopping = False
        self._is_refused = False

    @property
    def in_flight(self) -> int:
        return len(self._senders)

    async def on_start(self) -> None:
        try:
            self._target = await self._open_target(self._target_id)
        except (InvalidInput, NotFound, DeliveryRefused) as error:
            log.warning(events.TARGET_MISCONFIGURE, target_id=self._target_id, reason=str(error))
            return
        except DeliveryRetryable as error:
            raise ConnectionLost(str(error)) from error
        self._lanes.keep_blocked(await self._outbox.blocked_lanes(self._target_id))
        self._pump()

    def on_receive(self, message: Any) -> None:
        match message:
            case DeliveriesCreated():
                self._add(message.items)
            case Tick():
                self._due_timer = None
                self._behind = self._must_read_again = True
            case LookIntoOutbox() | DeliveriesWithdrawn():
                self._look()
            case ResumeSending():
                self._resume_timer = None
            case _:
                raise TypeError(f"TargetActor does not know {type(message).__name__}")
        self._pump()

    async def on_stop(self) -> None:
        """Let what is in flight come to its end for a while, and write the outcomes."""
        self._stopping = True
        if self._senders and not self._is_refused:
            patience_s = self._tenure.act_limit_s or _STOP_PATIENCE_S
            left_s = self.system.stop_time_left_s() * _STOP_SHARE
            await asyncio.wait(self._senders, timeout=min(patience_s, left_s))
        await self._record()
        await self._close()

    async def on_restart(self, error: Exception | None) -> None:
        self._stopping = True
        await self._close()

    async def _close(self) -> None:
        target, self._target = self._target, None
        if target is not None:
            await target.close()

    def _add(self, items: list[OutboxItem]) -> None:
        # A reading of the outbox may have been quicker than the word of the commit.
        items = [item for item in items if item.delivery_id not in self._unrecorded]
        if self._reading:
            self._fresh.extend(items[: self._capacity - len(self._fresh) + 1])
        elif not self._behind and not self._lanes.add(items):
            self._behind = True

    def _pump(self) -> None:
        if self._target is None or self._stopping:
            return
        if self._behind and not self._reading and self._lanes.room >= self._capacity // 4:
            self._reading = True
            self.create_task(self._read())
        if self._lanes.has_ready and not self._may_begin():
            return
        batch_size = self._target.batch_size
        while self._lanes.has_ready and len(self._senders) < self._max_in_flight:
            sender = self.create_task(self._send(self._target, batch_size))
            self._senders.add(sender)
            sender.add_done_callback(self._senders.discard)
            if len(self._senders) * batch_size >= len(self._lanes):
                return

    def _may_begin(self) -> bool:
        """Whether a send may begin now; if not, see to it that this is asked again."""
        if self._tenure.may_begin():
            return True
        if self._resume_timer is None:
            self._resume_timer = self.schedule(_RESUME_S, ResumeSending())
        return False

    def _look(self) -> None:
        """Read the outbox, though not at once if reading it takes long."""
        rest_s = self._may_look_s - self.clock.monotonic()
        if self._reading:
            self._must_look = True
        elif rest_s > 0:
            self._wake_in(rest_s)
        else:
            self._behind = self._must_read_again = True

    async def _read(self) -> None:
        """Fill the cache from the outbox; a target whose cache covers the outbox is not behind."""
        now, began_s = self.clock.now(), self.clock.monotonic()
        limit = self._lanes.room
        self._must_read_again = False
        self._lanes.unblock(now, but=set(self._unrecorded.values()))
        excluding = self._lanes.known | self._unrecorded.keys()
        try:
            items = await self._outbox.waiting(
                self._target_id, now=now, limit=limit, excluding=excluding
            )
            due_at = await self._outbox.next_due_at(self._target_id)
        finally:
            fresh, self._fresh = self._fresh, []
            self._reading = False
        self._behind = self._must_read_again or len(items) >= limit or len(fresh) > self._capacity
        self._lanes.add(items)
        if not self._behind and not self._lanes.add(fresh):
            self._behind = True
        if due_at is not None:
            self._wake_in((due_at - now).total_seconds())
        self._rest(self.clock.monotonic() - began_s)
        self._pump()

    def _rest(self, read_s: float) -> None:
        rest_s = _REST_PER_LOOK * read_s
        self._may_look_s = self.clock.monotonic() + rest_s
        if self._must_look:
            self._must_look = False
            self._wake_in(rest_s)

    def _wake_in(self, delay_s: float) -> None:
        """Read the outbox again in so many seconds, or before if that is planned already."""
        due_s = self.clock.monotonic() + max(0.0, delay_s)
        if self._due_timer is not None:
            if self._due_s <= due_s:
                return
            self._due_timer.cancel()
        self._due_s = due_s
        self._due_timer = self.schedule(max(0.0, delay_s), Tick())

    async def _send(self, target: Target, batch_size: int) -> None:
        while not self._stopping and self._may_begin():
            items: list[OutboxItem] = []
            while len(items) < batch_size and (item := self._lanes.take()) is not None:
                items.append(item)
            if not items:
                return
            started_s = self.clock.monotonic()
            answers = await self._attempt(target, [_push(item) for item in items])
            duration_s = self.clock.monotonic() - started_s
            for item, answer in zip(items, answers, strict=True):
                self._finish(item, answer, duration_s)
            self._pump()

    async def _attempt(self, target: Target, batch: Sequence[Push]) -> Sequence[Outcome]:
        limit_s = self._tenure.act_limit_s
        if limit_s is None:
            return await target.deliver(batch)
        try:
            async with asyncio.timeout(limit_s) as limit:
                return await target.deliver(batch)
        except TimeoutError:
            if not limit.expired():
                raise
            sentence = f"The receiver took longer than the {limit_s:g} s that an attempt may take."
            return [DeliveryRetryable(sentence) for _ in batch]

    def _finish(
        self, item: OutboxItem, answer: Delivered | DeliveryError, duration_s: float
    ) -> None:
        outcome = self._judge(item, answer, duration_s)
        if outcome.next_at is None:
            self._lanes.done(item)
        else:
            self._lanes.block(item, outcome.next_at)
        self._outcomes.append(outcome)
        self._unrecorded[item.delivery_id] = item.device_id
        if not self._recording:
            self._recording = True
            self.create_task(self._record())

    def _judge(
        self, item: OutboxItem, answer: Delivered | DeliveryError, duration_s: float
    ) -> DeliveryOutcome:
        now = self.clock.now()
        state, next_at = DeliveryState.DELIVERED, None
        error = None if isinstance(answer, Delivered) else answer
        if error is not None:
            delay_s = None
            if not isinstance(error, DeliveryRefused):
                delay_s = next_delay_s(
                    attempts=item.attempts + 1,
                    now=now,
                    expires_at=item.expires_at,
                    retry_after_s=error.retry_after_s,
                )
            if delay_s is not None:
                state, next_at = DeliveryState.RETRYING, now + timedelta(seconds=delay_s)
            else:
                expired = not isinstance(error, DeliveryRefused) and now >= item.expires_at
                state = DeliveryState.EXPIRED if expired else DeliveryState.DEAD
        return DeliveryOutcome(
            delivery_id=item.delivery_id,
            target_id=item.target_id,
            device_id=item.device_id,
            organization_id=item.organization_id,
            attempt=item.attempts + 1,
            was_retrying=item.attempts > 0,
            state=state,
            at=now,
            next_at=next_at,
            status_code=answer.status_code,
            error_code=None if error is None else error.code,
            error=None if error is None else str(error),
            duration_s=duration_s,
            response_excerpt=None if error is None else error.response_excerpt,
        )

    async def _record(self) -> None:
        """Write outcomes until none is left; each batch is what came while the last one was written."""
        try:
            while self._outcomes:
                batch, self._outcomes = self._outcomes, []
                try:
                    await self._outbox.record(batch, self._tenure.lease)
                except LeaseLost as error:
                    self._stop_for_successor(error)
                    return
                except BaseException:
                    self._outcomes = batch + self._outcomes
                    raise
                self._recorded(batch)
        finally:
            self._recording = False

    def _stop_for_successor(self, error: LeaseLost) -> None:
        """Begin nothing more; who owns this actor will soon end it, and what it still has in flight."""
        log.warning(events.TARGET_OUTCOMES_REFUSE, target_id=self._target_id, reason=str(error))
        self._stopping = self._is_refused = True
        self._outcomes.clear()
        self._tenure.refuse()

    def _recorded(self, batch: list[DeliveryOutcome]) -> None:
        for outcome in batch:
            self._unrecorded.pop(outcome.delivery_id, None)
        dues = [outcome.next_at for outcome in batch if outcome.next_at is not None]
        if dues:
            self._wake_in((min(dues) - self.clock.now()).total_seconds())


def _push(item: OutboxItem) -> Push:
    return Push(
        delivery_id=item.delivery_id,
        message_id=item.message_id,
        device_id=item.device_id,
        attempt=item.attempts + 1,
        created_at=item.created_at,
        body=item.body,
        content_type="application/json",
        is_replay=item.generation > 0,
    )
