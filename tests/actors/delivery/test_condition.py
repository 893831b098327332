"""What is kept of how a target fares, and what people are told of it."""

from datetime import timedelta

import pytest

from actors.delivery.breaker import Breaker
from actors.delivery.condition import TargetCondition
from protocols.errors import DeliveryFault, DeliveryRetryable
from protocols.messages import TargetId
from storage.delivery.outbox import TargetNote
from storage.delivery.target_events import TargetEventType
from storage.delivery.target_health import TargetHealth
from tests.actors.samples import NOW

TARGET = TargetId(7)


class Scene:
    def __init__(self) -> None:
        self.now = NOW
        self.condition = self.another()

    def another(self) -> TargetCondition:
        breaker = Breaker(lambda: (self.now - NOW).total_seconds(), most_in_flight=8)
        return TargetCondition(breaker, lambda: self.now)

    def fail(self, times: int = 1, fault: DeliveryFault = DeliveryFault.RECEIVER) -> None:
        for _ in range(times):
            self.condition.note_failure(DeliveryRetryable("It is busy.", fault=fault))

    def note(self) -> TargetNote:
        note = self.condition.take_note(TARGET)
        assert note is not None
        return note

    def told(self) -> list[TargetEventType]:
        note = self.condition.take_note(TARGET)
        return [] if note is None else [event.type for event in note.events]


@pytest.fixture
def scene() -> Scene:
    return Scene()


def test_target_that_fares_well_has_nothing_to_write(scene: Scene) -> None:
    scene.condition.note_success()
    assert scene.condition.take_note(TARGET) is None


def test_fourth_failure_on_end_is_told_once_and_the_recovery_too(scene: Scene) -> None:
    scene.fail(3)
    assert scene.told() == []
    scene.fail(2)
    assert scene.told() == [TargetEventType.FAILING]
    scene.fail(5)
    scene.condition.note_success()
    assert scene.told() == [TargetEventType.RECOVERED]
    scene.condition.note_success()
    assert scene.condition.take_note(TARGET) is None


def test_few_failures_are_written_and_forgotten_with_the_next_success(scene: Scene) -> None:
    scene.fail(2)
    health = scene.note().health
    assert (health.failures, health.failing_since, health.last_error) == (2, NOW, "It is busy.")
    scene.condition.note_success()
    assert scene.note() == TargetNote(TARGET, TargetHealth(), [])


def test_owner_is_told_as_soon_as_the_breaker_opens_over_what_he_has_to_mend(scene: Scene) -> None:
    scene.fail(2, DeliveryFault.CONFIGURATION)
    assert scene.told() == []
    scene.fail(1, DeliveryFault.CONFIGURATION)
    assert scene.told() == [TargetEventType.FAILING]


def test_receiver_that_is_gone_disables_its_target(scene: Scene) -> None:
    scene.fail(1, DeliveryFault.GONE)
    note = scene.note()
    assert scene.condition.is_disabled
    assert (note.health.disabled_at, note.health.disabled_reason) == (NOW, "It is busy.")
    assert [event.type for event in note.events] == [TargetEventType.DISABLED]


@pytest.mark.parametrize(("gap_h", "is_disabled"), [(20, True), (30, False)])
def test_target_that_fails_every_day_for_five_days_is_disabled(
    scene: Scene, gap_h: int, is_disabled: bool
) -> None:
    for _ in range(8):
        scene.fail()
        scene.now += timedelta(hours=gap_h)
    assert scene.condition.is_disabled is is_disabled


def test_another_instance_goes_on_from_what_was_written(scene: Scene) -> None:
    scene.fail(5, DeliveryFault.CONNECTION)
    written = scene.note().health
    assert (written.breaker, written.openings) == ("open", 1)
    assert written.open_until == NOW + timedelta(seconds=30)
    scene.now += timedelta(seconds=10)
    scene.condition = scene.another()
    scene.condition.restore(written)
    assert scene.condition.breaker.wait_s == pytest.approx(20)
    assert scene.condition.take_note(TARGET) is None
    scene.condition.note_success()
    assert scene.told() == [TargetEventType.RECOVERED]


def test_clock_that_was_set_back_does_not_keep_a_breaker_open_for_longer_than_it_was(
    scene: Scene,
) -> None:
    scene.fail(5, DeliveryFault.CONNECTION)
    written = scene.note().health
    scene.now -= timedelta(days=300)
    scene.condition = scene.another()
    scene.condition.restore(written)
    assert scene.condition.breaker.wait_s <= 24 * 3600


def test_deliveries_that_are_exhausted_by_the_thousand_are_told_once_a_minute(
    scene: Scene,
) -> None:
    for _ in range(1_000):
        scene.condition.note_exhausted("It is busy.")
    scene.now += timedelta(minutes=1)
    scene.condition.note_exhausted("It is busy.")
    counts = [event.data["count"] for event in scene.note().events]
    assert counts == [1, 1_000]


def test_that_a_target_is_disabled_is_written_once_because_people_enable_it(scene: Scene) -> None:
    scene.fail(fault=DeliveryFault.GONE)
    assert scene.note().health.disabled_at == NOW
    scene.fail()
    assert scene.note().health.disabled_at is None
    assert scene.condition.is_disabled
