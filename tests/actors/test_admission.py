from actors.admission import DEFER_AFTER_S, AdmissionWindow
from protocols.messages import DeviceId
from tests.actors.samples import entry


class _Clock:
    def __init__(self) -> None:
        self.now_s = 100.0

    def __call__(self) -> float:
        return self.now_s


def test_window_admits_what_finds_room_and_is_behind_with_the_rest() -> None:
    window = AdmissionWindow(window=2)

    admitted = window.admit([entry(1), entry(2), entry(3)])

    assert [e.position for e in admitted] == [1, 2]
    assert window.behind
    assert window.room == 0


def test_entry_that_was_admitted_before_is_not_admitted_again() -> None:
    window = AdmissionWindow(window=10)
    window.admit([entry(1), entry(2)])

    assert [e.position for e in window.admit([entry(2), entry(3)])] == [3]


def test_settled_positions_give_their_credits_back() -> None:
    window = AdmissionWindow(window=2)
    window.admit([entry(1), entry(2)])

    window.settle([2])

    assert window.room == 1
    assert [e.position for e in window.entries()] == [1]


def test_entry_is_late_once_after_the_patience_has_passed() -> None:
    clock = _Clock()
    window = AdmissionWindow(window=10, monotonic=clock)
    window.admit([entry(1)])
    clock.now_s += DEFER_AFTER_S * 1.01
    window.admit([entry(2)])

    assert [e.position for e in window.late()] == [1]
    assert list(window.late()) == []


def test_nothing_is_late_when_every_message_takes_as_long() -> None:
    clock = _Clock()
    window = AdmissionWindow(window=100, monotonic=clock)
    for position in range(1, 50):
        window.admit([entry(position)])
        clock.now_s += 0.2
        window.settle([position])
    window.admit([entry(60)])

    clock.now_s += 0.3

    assert list(window.late()) == []


def test_crashes_are_counted_for_each_position() -> None:
    window = AdmissionWindow(window=10)
    window.admit([entry(1), entry(2)])

    assert [window.count_crash(p) for p in (1, 2, 1, 9)] == [1, 1, 2, 0]


def test_entries_of_one_device_come_in_order() -> None:
    window = AdmissionWindow(window=10)
    window.admit([entry(1, 5), entry(2, 6), entry(3, 5)])

    assert [e.position for e in window.of_device(DeviceId(5))] == [1, 3]
