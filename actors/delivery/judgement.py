"""What one attempt means for its delivery: arrived, to be tried again and when, or not any more."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from actors.delivery.condition import TargetCondition
from actors.delivery.head_of_line import HeadsOfLine
from protocols.errors import DeliveryError, DeliveryFault, DeliveryRefused
from protocols.targets import Delivered
from protocols.targets.policy import DeliveryPolicy, HeadOfLine
from protocols.targets.schedule import DELAYS_S, next_delay_s
from storage.delivery.outbox import DeliveryOutcome, DeliveryState, OutboxItem

# The attempt that is due at the very moment of expiry is still made, however late its timer goes off.
EXPIRY_GRACE = timedelta(seconds=60)
_EXPIRED = "It could not be delivered within 72 hours."


@dataclass(frozen=True, slots=True, kw_only=True)
class Attempt:
    """What there is to know of one attempt beside its answers, when it has ended."""

    duration_s: float
    at: datetime
    at_s: float
    """The same by the monotonic clock."""
    is_as_one: bool = False
    """Its pushes travel as one thing: it counts once for the target, and they stay together."""


class Judge:
    """Applies schedule, expiry and the policy of one target; tells its condition what it learns."""

    def __init__(
        self, policy: DeliveryPolicy, condition: TargetCondition, heads: HeadsOfLine
    ) -> None:
        self._policy = policy
        self._condition = condition
        self._heads = heads

    def judge(
        self,
        items: Sequence[OutboxItem],
        answers: Sequence[Delivered | DeliveryError],
        attempt: Attempt,
        *,
        lane_of: Callable[[OutboxItem], int | None],
    ) -> list[DeliveryOutcome]:
        """Return what came of each of the pushes of one attempt."""
        outcomes: list[DeliveryOutcome] = []
        heads: dict[int, DeliveryOutcome] = {}
        is_outage = False
        for item, answer in zip(items, answers, strict=True):
            if not (attempt.is_as_one and outcomes):
                is_outage = self._note(answer)
            lane = lane_of(item)
            # Of several of a lane it is the first of those that are tried again that holds it.
            head = None if lane is None else heads.get(lane)
            outcome = self._judge(
                item, answer, attempt, lane=lane if head is None else None, is_outage=is_outage
            )
            if outcome.next_at is not None and lane is not None:
                heads.setdefault(lane, outcome)
                if head is not None:
                    # It is the head in its turn, if somebody has fetched the one before.
                    outcome.lane, outcome.lane_due_at = lane, head.lane_due_at
            outcomes.append(outcome)
        if attempt.is_as_one:
            _keep_together(outcomes)
        return outcomes

    def expired(self, item: OutboxItem, *, lane: int | None, now: datetime) -> DeliveryOutcome:
        """Return the end of what waited for longer than it may, without another attempt."""
        self._condition.note_exhausted(_EXPIRED)
        outcome = _outcome(item, None, lane=lane, duration_s=0.0, now=now)
        outcome.state, outcome.error = DeliveryState.EXPIRED, _EXPIRED
        outcome.is_spent = outcome.was_made = False
        if lane is not None:
            self._heads.forget(lane)
        return outcome

    def _note(self, answer: Delivered | DeliveryError) -> bool:
        """Tell the condition of an answer; return whether it failed because the target is out."""
        if isinstance(answer, Delivered):
            self._condition.note_success()
            return False
        was_closed = self._condition.breaker.is_closed
        self._condition.note_failure(answer)
        return not was_closed and answer.fault is not DeliveryFault.MESSAGE

    def _judge(
        self,
        item: OutboxItem,
        answer: Delivered | DeliveryError,
        attempt: Attempt,
        *,
        lane: int | None,
        is_outage: bool,
    ) -> DeliveryOutcome:
        outcome = _outcome(item, answer, lane=lane, duration_s=attempt.duration_s, now=attempt.at)
        if not isinstance(answer, Delivered):
            self._plan(outcome, item, answer, is_outage=is_outage)
            if outcome.next_at is None:
                self._condition.note_exhausted(str(answer))
        if lane is not None:
            self._hold(outcome, lane, is_outage=not outcome.is_spent, now_s=attempt.at_s)
        return outcome

    def _plan(
        self, outcome: DeliveryOutcome, item: OutboxItem, error: DeliveryError, *, is_outage: bool
    ) -> None:
        """Say when it is tried again, if it is. A probe of an outage is no attempt of the message's."""
        now = outcome.at
        delay_s: float | None
        if isinstance(error, DeliveryRefused):
            delay_s = None
        elif is_outage or error.fault is DeliveryFault.GONE:
            left_s = (item.expires_at - now).total_seconds()
            wait_s = max(self._condition.breaker.wait_s, DELAYS_S[1])
            delay_s = min(wait_s, left_s) if left_s > 0 else None
            outcome.is_spent = False
        else:
            delay_s = next_delay_s(
                attempts=item.attempts + 1,
                now=now,
                expires_at=item.expires_at,
                retry_after_s=error.retry_after_s,
            )
        if delay_s is not None:
            outcome.state, outcome.next_at = (
                DeliveryState.RETRYING,
                now + timedelta(seconds=delay_s),
            )
        elif not isinstance(error, DeliveryRefused) and now >= item.expires_at:
            outcome.state = DeliveryState.EXPIRED
        else:
            outcome.state = DeliveryState.DEAD

    def _hold(self, outcome: DeliveryOutcome, lane: int, *, is_outage: bool, now_s: float) -> None:
        """Say for how long the lane waits for its head, which steps aside when that is too long."""
        if outcome.next_at is None:
            self._heads.forget(lane)
            return
        outcome.lane_due_at = outcome.next_at
        outcome.held_s = self._heads.note_failure(lane, outcome.delivery_id, now_s)
        if is_outage or self._policy.head_of_line is HeadOfLine.BLOCK:
            return
        left_s = self._policy.head_of_line_max_s - outcome.held_s
        if (outcome.next_at - outcome.at).total_seconds() > left_s:
            outcome.is_aside = True
            outcome.lane_due_at = outcome.at + timedelta(seconds=left_s) if left_s > 0 else None
            self._heads.forget(lane)


def _keep_together(outcomes: Sequence[DeliveryOutcome]) -> None:
    """What travels as one thing is due as one thing, and leaves its lanes as one thing.

    It is due when the first of it is, which may be about to expire.
    """
    retried = [outcome for outcome in outcomes if outcome.next_at is not None]
    is_aside = any(outcome.is_aside for outcome in retried)
    next_at = min((one.next_at for one in retried if one.next_at is not None), default=None)
    for outcome in retried:
        outcome.next_at = next_at
        if is_aside and not outcome.is_aside:
            outcome.is_aside, outcome.lane_due_at = True, None
        elif not is_aside and outcome.lane_due_at is not None:
            outcome.lane_due_at = outcome.next_at


def _outcome(
    item: OutboxItem,
    answer: Delivered | DeliveryError | None,
    *,
    lane: int | None,
    duration_s: float,
    now: datetime,
) -> DeliveryOutcome:
    error = answer if isinstance(answer, DeliveryError) else None
    return DeliveryOutcome(
        delivery_id=item.delivery_id,
        target_id=item.target_id,
        device_id=item.device_id,
        organization_id=item.organization_id,
        attempt=item.attempts + 1,
        was_retrying=item.attempts > 0 or item.next_at is not None,
        state=DeliveryState.DELIVERED,
        at=now,
        next_at=None,
        status_code=None if answer is None else answer.status_code,
        error_code=None if error is None else error.code,
        error=None if error is None else str(error),
        duration_s=duration_s,
        response_excerpt=None if error is None else error.response_excerpt,
        exchange=None if answer is None else answer.exchange,
        lane=lane,
        is_aside=item.is_aside,
    )
