from datetime import timedelta

from hypothesis import given
from hypothesis import strategies as st

from actors.lanes import Lanes
from storage.outbox import OutboxItem
from tests.actors.samples import NOW, item


def drain(lanes: Lanes) -> list[OutboxItem]:
    taken = []
    while (head := lanes.take()) is not None:
        taken.append(head)
        lanes.done(head)
    return taken


def test_second_delivery_of_a_device_waits_for_the_first() -> None:
    lanes = Lanes(capacity=10)
    first, second = item(1), item(2)
    lanes.add([first, second])

    assert lanes.take() is first
    assert lanes.take() is None
    lanes.done(first)
    assert lanes.take() is second


def test_devices_do_not_wait_for_each_other() -> None:
    lanes = Lanes(capacity=10)
    items = [item(1, 1), item(2, 2), item(3, 3)]
    lanes.add(items)

    assert [lanes.take() for _ in items] == items


def test_head_in_back_off_blocks_its_device_alone() -> None:
    lanes = Lanes(capacity=10)
    blocked, other = item(1, 1), item(2, 2)
    lanes.add([blocked, item(3, 1), other])
    assert lanes.take() is blocked

    lanes.block(blocked, NOW + timedelta(seconds=5))
    lanes.add([item(4, 1)])

    assert drain(lanes) == [other]
    assert len(lanes) == 0


def test_lane_takes_items_again_only_once_it_is_due() -> None:
    lanes = Lanes(capacity=10)
    head = item(1)
    lanes.add([head])
    lanes.take()
    lanes.block(head, NOW + timedelta(seconds=5))

    lanes.unblock(NOW + timedelta(seconds=4))
    lanes.add([head])
    assert not lanes.has_ready
    lanes.unblock(NOW + timedelta(seconds=5))
    lanes.add([head])
    assert lanes.take() is head


def test_replay_neither_waits_for_its_device_nor_holds_it_up() -> None:
    lanes = Lanes(capacity=10)
    live, replay = item(1), item(1, generation=1)
    lanes.add([live, replay])

    assert [lanes.take(), lanes.take()] == [live, replay]


def test_what_finds_no_room_is_left_to_the_outbox() -> None:
    lanes = Lanes(capacity=2)

    assert not lanes.add([item(1), item(2), item(3)])
    assert len(lanes) == 2


def test_item_that_is_known_is_not_added_again() -> None:
    lanes = Lanes(capacity=10)
    only = item(1)
    lanes.add([only])
    lanes.add([only])

    assert drain(lanes) == [only]


@given(st.lists(st.integers(1, 4), max_size=40), st.data())
def test_every_device_keeps_its_order_however_sends_interleave(
    devices: list[int], data: st.DataObject
) -> None:
    lanes = Lanes(capacity=100)
    lanes.add([item(position, device) for position, device in enumerate(devices)])
    in_flight: list[OutboxItem] = []
    finished: list[OutboxItem] = []
    while len(finished) < len(devices):
        if lanes.has_ready and (not in_flight or data.draw(st.booleans())):
            head = lanes.take()
            assert head is not None
            in_flight.append(head)
        else:
            done = in_flight.pop(data.draw(st.integers(0, len(in_flight) - 1)))
            lanes.done(done)
            finished.append(done)
    for device in set(devices):
        positions = [i.position for i in finished if i.device_id == device]
        assert positions == sorted(positions)
