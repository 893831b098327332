from datetime import timedelta

from hypothesis import given
from hypothesis import strategies as st

from actors.delivery.lanes import Lanes
from protocols.identifiers import new_delivery_id
from protocols.targets.policy import Ordering
from storage.delivery.outbox import OutboxItem
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


def test_in_strict_order_one_delivery_holds_up_all_others() -> None:
    lanes = Lanes(capacity=10, ordering=Ordering.STRICT)
    first, second = item(1, 1), item(2, 2)
    lanes.add([first, second])

    assert lanes.take() is first
    assert lanes.take() is None
    lanes.block(first, NOW + timedelta(seconds=5))
    lanes.add([second])
    assert not lanes.has_ready


def test_without_order_nothing_waits_for_anything() -> None:
    lanes = Lanes(capacity=10, ordering=Ordering.NONE)
    first, second, third = item(1, 1), item(2, 1), item(3, 1)
    lanes.add([first, second])

    assert [lanes.take(), lanes.take()] == [first, second]
    lanes.block(first, NOW + timedelta(seconds=5))
    lanes.add([third])
    assert lanes.take() is third


def test_what_stepped_aside_neither_waits_for_its_device_nor_holds_it_up() -> None:
    lanes = Lanes(capacity=10)
    aside, head = item(1, is_aside=True), item(2)
    lanes.add([aside, head])

    assert lanes.take() is aside
    lanes.block(aside, NOW + timedelta(hours=2))
    assert lanes.take() is head


def test_batch_takes_from_the_front_of_each_lane_as_much_as_there_is_room_for() -> None:
    lanes = Lanes(capacity=10)
    a1, a2, b1, b2 = item(1, 1), item(2, 1), item(3, 2), item(4, 2)
    lanes.add([a1, a2, b1, b2])

    assert lanes.take_batch(3, 1_000) == [a1, a2, b1]
    assert lanes.take_batch(3, 1_000) == []
    for one in (a1, a2, b1):
        lanes.done(one)
    assert lanes.take_batch(3, 1_000) == [b2]


def test_batch_holds_no_more_bytes_than_it_may_but_always_one_item() -> None:
    lanes = Lanes(capacity=10)
    small, large, last = item(1, body=b"x" * 10), item(2, body=b"x" * 2_000), item(3)
    lanes.add([small, large, last])

    for expected in (small, large, last):
        assert lanes.take_batch(10, 1_000) == [expected]
        lanes.done(expected)


def test_batch_that_failed_is_together_again_and_nothing_else_is_in_it() -> None:
    lanes = Lanes(capacity=10)
    batch_id = new_delivery_id()
    a1, a2 = item(1, 1, batch_id=batch_id), item(2, 1, batch_id=batch_id)
    b1, b2 = item(3, 2, batch_id=batch_id), item(4, 2)
    lanes.add([a1, a2, b1, b2])

    assert lanes.take_batch(500, 10_000) == [a1, a2, b1]
    for one in (a1, a2, b1):
        lanes.block(one, NOW + timedelta(seconds=5))
    assert len(lanes) == 0


def test_what_is_withdrawn_is_not_sent_and_what_stands_behind_it_is() -> None:
    lanes = Lanes(capacity=10)
    first, second, third = item(1), item(2), item(3)
    other = item(4, 2)
    lanes.add([first, second, third, other])

    lanes.withdraw([first.delivery_id, second.delivery_id, other.delivery_id, new_delivery_id()])

    assert drain(lanes) == [third]
    assert len(lanes) == 0


def test_what_is_in_flight_stays_until_its_end_when_it_is_withdrawn() -> None:
    lanes = Lanes(capacity=10)
    first, second = item(1), item(2)
    lanes.add([first, second])
    assert lanes.take() is first

    lanes.withdraw([first.delivery_id])

    assert lanes.take() is None
    lanes.done(first)
    assert drain(lanes) == [second]


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


def test_batch_stands_in_the_order_of_the_outbox_whichever_lane_was_ready_first() -> None:
    lanes = Lanes(capacity=10)
    behind, other, last = item(2, 1), item(3, 2), item(4, 3)
    first = item(1, 1)
    lanes.add([first, behind, other, last])
    assert lanes.take() is first
    lanes.done(first)

    assert lanes.take_batch(10, None) == [behind, other, last]
