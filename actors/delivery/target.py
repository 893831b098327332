"""TargetActor: sends what the outbox holds for one data target, in order, until it has arrived.

What it holds of the outbox, and when it looks into it, is `OutboxCache`'s. Whether anything may go
now is asked of the target's breaker, its pace and the tenure; what an attempt means is `Judge`'s to say.

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
from typing import Any, Final

import structlog

from actors import events
from actors.delivery.breaker import Breaker
from actors.delivery.condition import TargetCondition
from actors.delivery.head_of_line import HeadsOfLine
from actors.delivery.judgement import EXPIRY_GRACE, Attempt, Judge
from actors.delivery.outbox_cache import OutboxCache
from actors.delivery.outcome_recorder import OutcomeRecorder
from actors.delivery.pacing import Pace
from actors.messages import (
    DeliveriesCreated,
    DeliveriesDue,
    DeliveriesWithdrawn,
    LookIntoOutbox,
    ResumeSending,
    Tick,
)
from actors.ownership import SOLE_TENURE, Tenure
from actors.runtime import Actor, Timer
from protocols.errors import (
    ConnectionLost,
    DeliveryFault,
    DeliveryRefused,
    DeliveryRetryable,
    InvalidInput,
    LeaseLost,
    NotFound,
)
from protocols.identifiers import new_delivery_id
from protocols.messages import DeliveryId, TargetId
from protocols.targets import Outcome, Push, Target
from protocols.targets.policy import DeliveryPolicy
from storage.delivery.outbox import DeliveryOutcome, Outbox, OutboxItem, TargetNote
from storage.delivery.target_events import NewEvent, TargetEventType

CAPACITY: Final = 1_000
_STOP_PATIENCE_S: Final = 3.0
# Of what is left for stopping the process, what waiting for receivers may take.
_STOP_SHARE: Final = 0.5
# A tenure that is too short is renewed within this time, or not at all.
_RESUME_S: Final = 0.5
# Differences of instants are rounded: who waits for less may find that no time has passed.
_SHORTEST_WAIT_S: Final = 0.001
# What travels together is collected for so long, unless there is enough before.
_COLLECT_S: Final = 0.2

OpenTarget = Callable[[TargetId], Awaitable[tuple[Target, DeliveryPolicy]]]

log = structlog.get_logger(__name__)


class TargetActor(Actor):
    """One data target. A target that cannot be opened keeps its deliveries and says why."""

    def __init__(
        self,
        target_id: TargetId,
        *,
        outbox: Outbox,
        open_target: OpenTarget,
        tenure: Tenure = SOLE_TENURE,
        on_listeners: Callable[[Sequence[TargetId]], None] = lambda _target_ids: None,
        capacity: int = CAPACITY,
    ) -> None:
        """`open_target` makes the target ready, see `Target.from_settings` and `Target.open`;
        `on_listeners` is told of other targets that deliveries were made for."""
        super().__init__()
        self._target_id = target_id
        self._outbox = outbox
        self._open_target = open_target
        self._tenure = tenure
        self._capacity = capacity
        self._target: Target | None = None
        self._recorder = OutcomeRecorder(
            outbox,
            tenure,
            create_task=self.create_task,
            take_note=self._take_note,
            on_recorded=self._recorded,
            on_refused=self._stop_for_successor,
            on_listeners=on_listeners,
        )
        self._adopt(DeliveryPolicy())
        self._senders: set[asyncio.Task[None]] = set()
        self._resume_timer: Timer | None = None
        self._resume_s = 0.0
        self._collecting_until_s: float | None = None
        self._stopping = False
        self._is_refused = False

    def _adopt(self, policy: DeliveryPolicy) -> None:
        monotonic = self.clock.monotonic
        self._breaker = Breaker(monotonic, most_in_flight=policy.max_in_flight)
        self._condition = TargetCondition(self._breaker, self.clock.now)
        self._heads = HeadsOfLine(self._breaker)
        self._judge = Judge(policy, self._condition, self._heads)
        self._pace = Pace(policy.max_rate_per_s, monotonic)
        self._cache = OutboxCache(
            self._target_id,
            self._outbox,
            capacity=self._capacity,
            ordering=policy.ordering,
            unrecorded=self._recorder.unrecorded,
            clock=self.clock,
            schedule=self.schedule,
        )
        self._lanes = self._cache.lanes

    # -- life --------------------------------------------------------------------------------

    async def on_start(self) -> None:
        health = await self._outbox.health(self._target_id)
        if health.disabled_at is not None:
            return
        try:
            target, policy = await self._open_target(self._target_id)
        except (InvalidInput, NotFound, DeliveryRefused) as error:
            log.warning(events.TARGET_MISCONFIGURE, target_id=self._target_id, reason=str(error))
            return
        except DeliveryRetryable as error:
            raise ConnectionLost(str(error)) from error
        self._adopt(policy)
        if not target.takes_pushes:
            await target.close()
            return
        # From here on it is closed when this instance goes.
        self._target = target
        self._condition.restore(health)
        try:
            await self._outbox.fit_lanes(self._target_id, policy.ordering, self._tenure.lease)
        except LeaseLost as error:
            self._stop_for_successor(error)
            return
        blocked = await self._outbox.blocked_lanes(self._target_id)
        self._lanes.keep_blocked(blocked)
        self._heads.restore(blocked, self.clock.monotonic())
        self._pump()

    def on_receive(self, message: Any) -> None:
        match message:
            case DeliveriesCreated():
                self._cache.add(message.items)
            case DeliveriesWithdrawn():
                self._cache.withdraw(message.delivery_ids)
            case DeliveriesDue():
                self._cache.on_due()
            case Tick():
                self._cache.outdate()
            case LookIntoOutbox():
                self._cache.look()
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
        await self._recorder.record()
        await self._close()

    async def on_restart(self, error: Exception | None) -> None:
        self._stopping = True
        await self._close()

    async def _close(self) -> None:
        target, self._target = self._target, None
        if target is not None:
            await target.close()

    # -- sending -----------------------------------------------------------------------------

    def _pump(self) -> None:
        if self._target is None or self._stopping:
            return
        if self._cache.wants_read:
            self._cache.begin_read()
            self.create_task(self._read())
        batch_size = self._target.batch_size
        while self._lanes.has_ready and self._may_begin(len(self._senders) + 1):
            sender = self.create_task(self._send(self._target))
            self._senders.add(sender)
            sender.add_done_callback(self._senders.discard)
            if len(self._senders) * batch_size >= len(self._lanes):
                return

    async def _read(self) -> None:
        await self._cache.read()
        self._pump()

    def _may_begin(self, in_flight: int) -> bool:
        """Whether one of so many attempts may begin now; if not, see to it that this is asked again."""
        if self._stopping or self._target is None or self._condition.is_disabled:
            return False
        # Each is asked once: it may be over a moment later, and then nothing would be seen to.
        if (wait_s := max(self._breaker.wait_s, self._pace.wait_s)) > 0:
            return self._not_before(wait_s)
        if in_flight > self._breaker.allowance:
            # Who is in flight asks again.
            return False
        if not self._tenure.may_begin():
            return self._not_before(_RESUME_S)
        if self._target.freezes_batches and (wait_s := self._collect_s) > 0:
            return self._not_before(wait_s)
        return True

    def _not_before(self, wait_s: float) -> bool:
        wait_s = max(wait_s, _SHORTEST_WAIT_S)
        resume_s = self.clock.monotonic() + wait_s
        if self._resume_timer is None or resume_s < self._resume_s:
            if self._resume_timer is not None:
                self._resume_timer.cancel()
            self._resume_s = resume_s
            self._resume_timer = self.schedule(wait_s, ResumeSending())
        return False

    @property
    def _collect_s(self) -> float:
        """For how long more is still to be collected before a batch goes out."""
        assert self._target is not None
        now_s = self.clock.monotonic()
        if len(self._lanes) >= self._target.batch_size:
            return 0.0
        if self._collecting_until_s is None:
            self._collecting_until_s = now_s + _COLLECT_S
        return self._collecting_until_s - now_s

    async def _send(self, target: Target) -> None:
        while self._lanes.has_ready and self._may_begin(len(self._senders)):
            if items := self._without_expired(self._take(target)):
                self._pace.take(len(items))
                await self._send_together(target, items)
            self._pump()
        # At once, and not when the task is done: the last of those that end together has to find
        # itself alone, or each would leave what waits to another.
        if (sender := asyncio.current_task()) is not None:
            self._senders.discard(sender)
        self._pump()

    async def _send_together(self, target: Target, items: Sequence[OutboxItem]) -> None:
        batch_id = None
        if target.freezes_batches:
            batch_id = await self._freeze(items)
            # That may have taken long.
            while not (self._stopping or self._tenure.may_begin()):
                await self.clock.sleep(_RESUME_S)
        if self._stopping:
            return
        started_s = self.clock.monotonic()
        answers = await self._attempt(target, [_push(item, batch_id) for item in items])
        now_s = self.clock.monotonic()
        attempt = Attempt(
            duration_s=now_s - started_s,
            at=self.clock.now(),
            at_s=now_s,
            is_as_one=target.freezes_batches,
        )
        outcomes = self._judge.judge(items, answers, attempt, lane_of=self._lanes.lane_of)
        for item, outcome in zip(items, outcomes, strict=True):
            self._settle(item, outcome)

    def _take(self, target: Target) -> list[OutboxItem]:
        if target.freezes_batches:
            self._collecting_until_s = None
            return self._lanes.take_batch(
                target.batch_size, target.max_batch_bytes, target.push_overhead_bytes
            )
        items: list[OutboxItem] = []
        while len(items) < target.batch_size and (item := self._lanes.take()) is not None:
            items.append(item)
        return items

    def _without_expired(self, items: list[OutboxItem]) -> list[OutboxItem]:
        """End those whose time is over, and return the others."""
        now = self.clock.now()
        timely = [item for item in items if now <= item.expires_at + EXPIRY_GRACE]
        if len(timely) < len(items):
            for item in items:
                if now > item.expires_at + EXPIRY_GRACE:
                    lane = self._lanes.lane_of(item)
                    self._settle(item, self._judge.expired(item, lane=lane, now=now))
        return timely

    async def _freeze(self, items: Sequence[OutboxItem]) -> DeliveryId:
        """Return the id of the batch that these are, which outlasts this process."""
        if (batch_id := items[0].batch_id) is not None:
            return batch_id
        batch_id = new_delivery_id()
        try:
            await self._outbox.freeze(
                batch_id, [item.delivery_id for item in items], self._tenure.lease
            )
        except LeaseLost as error:
            self._stop_for_successor(error)
        return batch_id

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
            return [DeliveryRetryable(sentence, fault=DeliveryFault.THROTTLED) for _ in batch]

    # -- what became of it -------------------------------------------------------------------

    def _settle(self, item: OutboxItem, outcome: DeliveryOutcome) -> None:
        if outcome.next_at is None or (outcome.is_aside and outcome.lane_due_at is None):
            self._lanes.done(item)
        else:
            self._lanes.block(item, outcome.lane_due_at or outcome.next_at)
        self._recorder.add(outcome, self._lanes.lane_of(item))

    def _recorded(self, batch: Sequence[DeliveryOutcome]) -> None:
        now = self.clock.now()
        dues = [
            due_at
            for outcome in batch
            for due_at in (outcome.next_at, outcome.lane_due_at)
            if due_at is not None
        ]
        if dues:
            self._cache.wake_in((min(dues) - now).total_seconds())

    def _take_note(self) -> TargetNote | None:
        note = self._condition.take_note(self._target_id)
        for event in () if note is None else note.events:
            self._log_event(event)
        return note

    def _log_event(self, event: NewEvent) -> None:
        is_over = event.type is TargetEventType.RECOVERED
        write = log.info if is_over else log.warning
        write(
            events.TARGET_RECOVER if is_over else events.TARGET_FAIL,
            target_id=self._target_id,
            event_type=event.type.value,
            reason=event.data.get("reason") or event.data.get("lastError"),
        )

    def _stop_for_successor(self, error: LeaseLost) -> None:
        """Begin nothing more; who owns this actor will soon end it, and what it still has in flight."""
        log.warning(events.TARGET_OUTCOMES_REFUSE, target_id=self._target_id, reason=str(error))
        self._stopping = self._is_refused = True
        self._tenure.refuse()


def _push(item: OutboxItem, batch_id: DeliveryId | None) -> Push:
    return Push(
        delivery_id=item.delivery_id,
        message_id=item.message_id,
        device_id=item.device_id,
        attempt=item.attempts + 1,
        created_at=item.created_at,
        body=item.body,
        content_type="application/json",
        is_replay=item.generation > 0,
        event_type=item.event_type,
        batch_id=batch_id,
    )
