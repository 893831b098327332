"""What an attempt means for its delivery and its lane."""

from collections.abc import Sequence
from datetime import timedelta

import pytest

from actors.delivery.breaker import Breaker
from actors.delivery.condition import TargetCondition
from actors.delivery.head_of_line import HeadsOfLine
from actors.delivery.judgement import Attempt, Judge
from protocols.errors import (
    DeliveryError,
    DeliveryFault,
    DeliveryRefused,
    DeliveryRetryable,
)
from protocols.targets import Delivered
from protocols.targets.policy import DeliveryPolicy, HeadOfLine
from storage.delivery.outbox import DeliveryOutcome, DeliveryState, OutboxItem
from tests.actors.samples import NOW, item

BUSY = DeliveryRetryable("It is busy.")
LANE = 1


class Scene:
    def __init__(self, policy: DeliveryPolicy | None = None) -> None:
        self.now = NOW
        self.breaker = Breaker(self.monotonic, most_in_flight=8)
        self.condition = TargetCondition(self.breaker, lambda: self.now)
        heads = HeadsOfLine(self.breaker)
        self.judge = Judge(policy or DeliveryPolicy(), self.condition, heads)

    def monotonic(self) -> float:
        return (self.now - NOW).total_seconds()

    def attempt(
        self, one: OutboxItem, answer: Delivered | DeliveryError, lane: int | None = LANE
    ) -> DeliveryOutcome:
        (outcome,) = self.attempt_together([one], [answer], lane=lane)
        return outcome

    def attempt_together(
        self,
        items: Sequence[OutboxItem],
        answers: Sequence[Delivered | DeliveryError],
        lane: int | None = LANE,
    ) -> list[DeliveryOutcome]:
        attempt = Attempt(
            duration_s=0.1, at=self.now, at_s=self.monotonic(), is_as_one=len(items) > 1
        )
        return self.judge.judge(items, answers, attempt, lane_of=lambda _item: lane)

    def open_breaker(self) -> None:
        for _ in range(5):
            self.breaker.note_failure(DeliveryFault.CONNECTION, status_code=None, wait_s=0)


@pytest.fixture
def scene() -> Scene:
    return Scene()


def delay_s(outcome: DeliveryOutcome) -> float:
    assert outcome.next_at is not None
    return (outcome.next_at - outcome.at).total_seconds()


def test_what_arrived_has_come_to_its_end_and_opens_its_lane(scene: Scene) -> None:
    outcome = scene.attempt(item(1), Delivered(duration_s=0.1, status_code=204))
    assert (outcome.state, outcome.next_at, outcome.lane_due_at) == ("delivered", None, None)


def test_failure_is_tried_again_on_the_schedule_and_keeps_its_lane_until_then(
    scene: Scene,
) -> None:
    outcome = scene.attempt(item(1), BUSY)
    assert outcome.state is DeliveryState.RETRYING
    assert 4 <= delay_s(outcome) <= 6
    assert outcome.lane_due_at == outcome.next_at
    assert outcome.is_spent


def test_refused_message_is_dead_at_once(scene: Scene) -> None:
    outcome = scene.attempt(item(1), DeliveryRefused("Too large.", fault=DeliveryFault.MESSAGE))
    assert (outcome.state, outcome.next_at, outcome.lane_due_at) == ("dead", None, None)
    note = scene.condition.take_note(outcome.target_id)
    assert note is not None
    assert [event.type.value for event in note.events] == ["delivery.exhausted"]


def test_eleventh_attempt_is_the_last(scene: Scene) -> None:
    assert scene.attempt(item(1, attempts=9), BUSY).state is DeliveryState.RETRYING
    assert scene.attempt(item(1, attempts=10), BUSY).state is DeliveryState.DEAD


def test_attempt_after_72_hours_is_the_last_whatever_its_number(scene: Scene) -> None:
    scene.now += timedelta(hours=72)
    assert scene.attempt(item(1), BUSY).state is DeliveryState.EXPIRED


def test_probe_of_an_outage_spends_no_attempt_and_kills_nothing(scene: Scene) -> None:
    scene.open_breaker()
    one = item(1, attempts=10)
    for _ in range(100):
        scene.now += timedelta(seconds=scene.breaker.wait_s)
        assert scene.breaker.allowance == 1
        outcome = scene.attempt(one, BUSY)
        assert outcome.state is DeliveryState.RETRYING
        assert not outcome.is_spent
        assert not outcome.is_aside
        assert delay_s(outcome) == pytest.approx(scene.breaker.wait_s)


def test_outage_ends_a_delivery_only_when_its_time_is_over(scene: Scene) -> None:
    scene.open_breaker()
    scene.now += timedelta(hours=71, minutes=59, seconds=50)
    assert scene.breaker.allowance == 1
    assert delay_s(scene.attempt(item(1), BUSY)) == pytest.approx(10)
    scene.now += timedelta(minutes=11)
    assert scene.breaker.allowance == 1
    assert scene.attempt(item(1), BUSY).state is DeliveryState.EXPIRED


def test_receiver_that_is_gone_costs_no_delivery_an_attempt(scene: Scene) -> None:
    outcome = scene.attempt(item(1), DeliveryRetryable("Gone.", fault=DeliveryFault.GONE))
    assert (outcome.state, outcome.is_spent) == ("retrying", False)


def test_head_that_fails_by_itself_steps_aside_after_an_hour(scene: Scene) -> None:
    one = item(1)
    waited = timedelta()
    for attempts in range(5):
        one.attempts = attempts
        outcome = scene.attempt(one, BUSY)
        scene.breaker.note_success()
        if outcome.is_aside:
            break
        assert outcome.lane_due_at == outcome.next_at
        assert outcome.next_at is not None
        waited += outcome.next_at - scene.now
        scene.now = outcome.next_at
    # The attempt after the fourth delay is two hours away, the hour is over before.
    assert one.attempts == 4
    assert outcome.is_aside
    assert outcome.lane_due_at is not None
    held = waited + (outcome.lane_due_at - scene.now)
    assert held.total_seconds() == pytest.approx(3_600)


def test_head_that_has_had_its_hour_lets_the_others_pass_at_once() -> None:
    scene = Scene(DeliveryPolicy(head_of_line_max_s=3))
    scene.attempt(item(1), BUSY)
    one = item(2)
    assert scene.attempt(one, BUSY).is_aside
    scene = Scene(DeliveryPolicy(head_of_line_max_s=10))
    first = scene.attempt(one, BUSY)
    assert not first.is_aside
    scene.now += timedelta(seconds=11)
    second = scene.attempt(one, BUSY)
    assert (second.is_aside, second.lane_due_at) == (True, None)


def test_outage_does_not_count_towards_the_hour() -> None:
    scene = Scene(DeliveryPolicy(head_of_line_max_s=600))
    one = item(1)
    scene.attempt(one, BUSY)
    scene.open_breaker()
    scene.now += timedelta(hours=5)
    while not scene.breaker.is_closed:
        assert scene.breaker.allowance
        scene.breaker.note_success()
    one.attempts = 1
    outcome = scene.attempt(one, BUSY)
    assert not outcome.is_aside
    assert outcome.held_s == 0


def test_target_that_wants_its_order_kept_waits_for_its_head_to_the_end() -> None:
    scene = Scene(DeliveryPolicy(head_of_line=HeadOfLine.BLOCK, head_of_line_max_s=1))
    for attempts in range(10):
        outcome = scene.attempt(item(1, attempts=attempts), BUSY)
        scene.breaker.note_success()
        assert (outcome.is_aside, outcome.lane_due_at) == (False, outcome.next_at)


def test_what_stands_in_no_lane_holds_none(scene: Scene) -> None:
    outcome = scene.attempt(item(1, generation=1), BUSY, lane=None)
    assert (outcome.lane, outcome.lane_due_at, outcome.is_aside) == (None, None, False)


def test_what_waited_too_long_ends_without_an_attempt(scene: Scene) -> None:
    outcome = scene.judge.expired(item(1, attempts=2), lane=LANE, now=scene.now)
    assert (outcome.state, outcome.was_made, outcome.is_spent) == ("expired", False, False)


def test_message_that_fails_by_itself_during_an_outage_spends_its_attempt(scene: Scene) -> None:
    scene.open_breaker()
    in_part = DeliveryRetryable("Taken in part.", fault=DeliveryFault.MESSAGE)
    outcome = scene.attempt(item(1, attempts=1), in_part)
    assert outcome.is_spent
    assert delay_s(outcome) >= 24


def test_batch_counts_once_for_its_target_and_alike_for_all_that_is_in_it(scene: Scene) -> None:
    down = DeliveryRetryable("Nobody is there.", fault=DeliveryFault.CONNECTION)
    items = [item(number) for number in range(1, 11)]
    outcomes = scene.attempt_together(items, [down] * len(items))
    assert scene.breaker.is_closed
    assert all(outcome.is_spent for outcome in outcomes)


def test_all_of_a_lane_in_a_batch_can_hold_it(scene: Scene) -> None:
    first, second = scene.attempt_together([item(1), item(2)], [BUSY, BUSY])
    assert (first.lane, second.lane) == (LANE, LANE)
    assert first.lane_due_at == second.lane_due_at == first.next_at
