"""When nothing may be sent to a target, and how it comes back."""

import pytest

from actors.delivery.breaker import Breaker, BreakerState
from protocols.errors import DeliveryFault

MOST = 8


class Scene:
    """A breaker with its clock in the test's hand."""

    def __init__(self) -> None:
        self.now_s = 1_000.0
        self.breaker = Breaker(lambda: self.now_s, most_in_flight=MOST)

    def fail(
        self,
        times: int = 1,
        fault: DeliveryFault = DeliveryFault.RECEIVER,
        *,
        status_code: int | None = None,
        wait_s: float = 0.0,
    ) -> None:
        for _ in range(times):
            self.breaker.note_failure(fault, status_code=status_code, wait_s=wait_s)

    def succeed(self, times: int = 1) -> None:
        for _ in range(times):
            self.breaker.note_success()

    def open(self) -> None:
        self.fail(5, DeliveryFault.CONNECTION)
        assert self.breaker.state is BreakerState.OPEN


@pytest.fixture
def scene() -> Scene:
    return Scene()


def test_closed_lets_as_many_go_as_may(scene: Scene) -> None:
    assert scene.breaker.allowance == MOST


def test_half_of_ten_attempts_within_a_minute_open_it(scene: Scene) -> None:
    scene.succeed(5)
    scene.fail(4)
    assert scene.breaker.is_closed
    scene.fail()
    assert scene.breaker.state is BreakerState.OPEN
    assert scene.breaker.allowance == 0


def test_nine_failures_alone_do_not_open_it(scene: Scene) -> None:
    scene.fail(9)
    assert scene.breaker.is_closed


def test_what_is_older_than_a_minute_is_forgotten(scene: Scene) -> None:
    scene.fail(9)
    scene.now_s += 61
    scene.fail()
    assert scene.breaker.is_closed


@pytest.mark.parametrize(
    ("fault", "enough"), [(DeliveryFault.CONNECTION, 5), (DeliveryFault.CONFIGURATION, 3)]
)
def test_so_many_of_one_fault_on_end_open_it_however_much_succeeded_before(
    scene: Scene, fault: DeliveryFault, enough: int
) -> None:
    scene.succeed(1_000)
    scene.fail(enough - 1, fault)
    scene.succeed()
    scene.fail(enough - 1, fault)
    assert scene.breaker.is_closed
    scene.fail(1, fault)
    assert scene.breaker.state is BreakerState.OPEN


def test_message_that_is_refused_for_itself_says_nothing_about_the_target(scene: Scene) -> None:
    scene.fail(100, DeliveryFault.MESSAGE)
    assert scene.breaker.is_closed


def test_it_stays_open_for_half_a_minute_and_then_lets_one_probe(scene: Scene) -> None:
    scene.open()
    scene.now_s += 29.9
    assert scene.breaker.allowance == 0
    scene.now_s += 0.1
    assert scene.breaker.allowance == 1
    assert scene.breaker.state is BreakerState.HALF_OPEN


def test_each_probe_that_succeeds_doubles_how_many_may_go_until_it_is_closed(scene: Scene) -> None:
    scene.open()
    scene.now_s += 30
    allowances = []
    while not scene.breaker.is_closed:
        allowances.append(scene.breaker.allowance)
        scene.succeed()
    assert allowances == [1, 2, 4]
    assert scene.breaker.allowance == MOST


def test_probe_that_fails_doubles_how_long_it_stays_open_up_to_ten_minutes(scene: Scene) -> None:
    scene.open()
    waits = []
    for _ in range(7):
        waits.append(scene.breaker.wait_s)
        scene.now_s += scene.breaker.wait_s
        assert scene.breaker.allowance == 1
        scene.fail()
    assert waits == [30, 60, 120, 240, 480, 600, 600]


def test_closed_again_it_begins_with_half_a_minute_and_remembers_no_failure(scene: Scene) -> None:
    scene.open()
    scene.now_s += 30
    while not scene.breaker.is_closed:
        assert scene.breaker.allowance
        scene.succeed()
    scene.fail(4)
    assert scene.breaker.is_closed
    scene.fail(5, DeliveryFault.CONNECTION)
    assert scene.breaker.wait_s == 30


@pytest.mark.parametrize(("asked_s", "rest_s"), [(0, 60), (5, 60), (90, 90), (200_000, 86_400)])
def test_receiver_that_wants_fewer_messages_is_left_alone_for_as_long_as_it_says(
    scene: Scene, asked_s: float, rest_s: float
) -> None:
    scene.fail(1, DeliveryFault.THROTTLED, status_code=429, wait_s=asked_s)
    assert scene.breaker.is_closed
    assert scene.breaker.wait_s == rest_s
    assert scene.breaker.allowance == 0
    scene.now_s += rest_s
    assert scene.breaker.allowance == MOST


def test_receiver_that_does_not_answer_in_time_gets_one_at_a_time_for_a_minute(
    scene: Scene,
) -> None:
    scene.fail(1, DeliveryFault.THROTTLED)
    assert scene.breaker.allowance == 1
    scene.now_s += 60
    assert scene.breaker.allowance == MOST


def test_time_that_it_is_not_closed_is_counted_over_all_openings(scene: Scene) -> None:
    scene.now_s += 500
    assert scene.breaker.open_s == 0
    scene.open()
    scene.now_s += 30
    assert scene.breaker.open_s == 30
    while not scene.breaker.is_closed:
        assert scene.breaker.allowance
        scene.succeed()
    scene.now_s += 500
    assert scene.breaker.open_s == 30
    scene.open()
    scene.now_s += 7
    assert scene.breaker.open_s == 37


def test_another_instance_goes_on_being_open_for_what_is_left(scene: Scene) -> None:
    scene.breaker.restore(openings=3, open_for_s=12)
    assert scene.breaker.allowance == 0
    scene.now_s += 12
    assert scene.breaker.allowance == 1
    scene.fail()
    assert scene.breaker.wait_s == 240
