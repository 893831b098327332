import time
from collections.abc import Callable

from actors.admission import DEFER_AFTER_S, DEFER_AT_LAST_S, AdmissionWindow
from protocols.messages import DeviceId
from storage.journal import EMBEDDED, position_of
from tests.actors.samples import entry


class _Clock:
    def __init__(self) -> None:
        self.now_s = 100.0

    def __call__(self) -> float:
        return self.now_s


def a_window(*, window: int, monotonic: Callable[[], float] = time.monotonic) -> AdmissionWindow:
    """A window that may admit from the embedded journal and from the first partition of a topic."""
    admission = AdmissionWindow(window=window, monotonic=monotonic)
    admission.begin({EMBEDDED: 0, 1: position_of(1, 0)})
    return admission


def test_window_admits_what_finds_room_and_is_behind_with_the_rest() -> None:
    window = a_window(window=2)

    admitted = window.admit([entry(1), entry(2), entry(3)])

    assert [e.position for e in admitted] == [1, 2]
    assert window.behind == {EMBEDDED}
    assert window.room == 0


def test_entry_that_was_admitted_before_is_not_admitted_again() -> None:
    window = a_window(window=10)
    window.admit([entry(1), entry(2)])

    assert [e.position for e in window.admit([entry(2), entry(3)])] == [3]


def test_settled_positions_give_their_credits_back() -> None:
    window = a_window(window=2)
    window.admit([entry(1), entry(2)])

    window.settle([2])

    assert window.room == 1
    assert [e.position for e in window.entries()] == [1]


def test_entry_is_late_once_after_the_patience_has_passed() -> None:
    clock = _Clock()
    window = a_window(window=10, monotonic=clock)
    window.admit([entry(1)])
    clock.now_s += DEFER_AFTER_S * 1.01
    window.admit([entry(2), entry(3)])
    assert list(window.late()) == [], "nobody has overtaken it"
    window.settle([2])

    assert [e.position for e in window.late()] == [1]
    assert list(window.late()) == []


def test_who_waits_in_a_long_queue_is_not_late() -> None:
    clock = _Clock()
    window = a_window(window=10, monotonic=clock)
    window.admit([entry(1), entry(2), entry(3)])
    clock.now_s += DEFER_AFTER_S * 10
    window.settle([1])

    assert list(window.late()) == []


def test_who_is_overtaken_by_nobody_is_late_at_last() -> None:
    clock = _Clock()
    window = a_window(window=10, monotonic=clock)
    window.admit([entry(1)])
    clock.now_s += DEFER_AT_LAST_S * 1.01

    assert [e.position for e in window.late()] == [1]


def test_nothing_is_late_when_every_message_takes_as_long() -> None:
    clock = _Clock()
    window = a_window(window=100, monotonic=clock)
    for position in range(1, 50):
        window.admit([entry(position)])
        clock.now_s += 0.2
        window.settle([position])
    window.admit([entry(60)])

    clock.now_s += 0.3

    assert list(window.late()) == []


def test_crashes_are_counted_for_each_position() -> None:
    window = a_window(window=10)
    window.admit([entry(1), entry(2)])

    assert [window.count_crash(p) for p in (1, 2, 1, 9)] == [1, 1, 2, 0]


def test_entries_of_one_device_come_in_order() -> None:
    window = a_window(window=10)
    window.admit([entry(1, 5), entry(2, 6), entry(3, 5)])

    assert [e.position for e in window.of_device(DeviceId(5))] == [1, 3]


def test_full_window_leaves_each_partition_to_its_own_reading() -> None:
    window = a_window(window=2)
    window.admit([entry(1), entry(2)])
    window.admit([entry(3), entry(position_of(1, 1))])
    assert window.behind == {EMBEDDED, 1}

    window.settle([1, 2])
    window.behind.discard(1)

    # Position 4 must not pass 3, which is still to be read.
    admitted = window.admit([entry(4), entry(position_of(1, 1))])
    assert [e.position for e in admitted] == [position_of(1, 1)]


def test_partition_that_is_not_assigned_is_not_admitted_from() -> None:
    window = a_window(window=2)
    assert window.admit([entry(position_of(7, 1))]) == []
    window.begin({7: position_of(7, 0)})
    admitted = window.admit([entry(position_of(7, 1)), entry(1)])
    assert [e.position for e in admitted] == [position_of(7, 1)]


def test_beginning_anew_forgets_what_was_admitted() -> None:
    window = a_window(window=2)
    window.admit([entry(1), entry(2), entry(3)])
    window.begin({EMBEDDED: 1})
    assert (len(window), window.behind) == (0, set())
    assert [e.position for e in window.admit([entry(1), entry(2)])] == [2]
