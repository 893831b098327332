"""The order of deliveries to one data target: lanes, and one delivery in flight in each.

In the usual order each device has a lane; in strict order there is one for all; without order there
is none. A lane is ready when its head may be sent. A head that failed blocks its lane until it is
due again: the lane's items are then forgotten here, because the outbox holds them, and one device in
back-off must not fill the memory that the others need. What is replayed and what stepped aside has a
lane of its own each: it never enters the live order.

What was fetched by somebody while it was in flight is *withdrawn*: it keeps nothing waiting, however its
attempt ends, because the outbox does not know it as the head of its lane any more.

Where several deliveries travel as one thing, a *batch* takes as many from the front of each lane as
there is room for: they arrive together, so that their order is kept. One that has been tried is
frozen: its items are together again on every later attempt.
"""

from collections import deque
from collections.abc import Collection, Iterable
from datetime import datetime

from protocols.messages import DeliveryId
from protocols.targets.policy import Ordering
from storage.delivery.deliveries import STRICT_LANE
from storage.delivery.outbox import BlockedLane, OutboxItem

Key = int | DeliveryId


class _Lane:
    """`taken` of the items, those at the front, are in flight."""

    __slots__ = ("items", "taken")

    def __init__(self, item: OutboxItem) -> None:
        self.items = deque((item,))
        self.taken = 0


class Lanes:
    """A cache of what the outbox holds; owned by one TargetActor.

    It holds at most `capacity` items, and beyond that only what completes a frozen batch.
    """

    def __init__(self, *, capacity: int, ordering: Ordering = Ordering.PER_DEVICE) -> None:
        self._capacity = capacity
        self._ordering = ordering
        self._lanes: dict[Key, _Lane] = {}
        self._ready: deque[Key] = deque()
        self._blocked: dict[int, datetime] = {}
        self._lately: set[int] = set()
        self._withdrawn: set[DeliveryId] = set()
        self._known: dict[DeliveryId, Key] = {}

    def __len__(self) -> int:
        return len(self._known)

    @property
    def room(self) -> int:
        return self._capacity - len(self._known)

    @property
    def known(self) -> frozenset[DeliveryId]:
        """What is held or in flight: a read of the outbox must not bring it again."""
        return frozenset(self._known)

    @property
    def has_ready(self) -> bool:
        return bool(self._ready)

    def lane_of(self, item: OutboxItem) -> int | None:
        """Return the lane that an item stands in; None for one that stands in none."""
        if item.generation or item.is_aside or self._ordering is Ordering.NONE:
            return None
        return STRICT_LANE if self._ordering is Ordering.STRICT else item.device_id

    def add(self, items: Iterable[OutboxItem]) -> bool:
        """Take items in order; return False if some were left to the outbox for lack of room.

        Items of a blocked lane are left to the outbox too: they come back with their head.
        """
        for item in items:
            if item.delivery_id in self._known:
                continue
            lane = self.lane_of(item)
            if lane is not None and lane in self._blocked:
                continue
            if len(self._known) >= self._capacity and item.batch_id is None:
                return False
            self._append(item, item.delivery_id if lane is None else lane)
        return True

    def take(self) -> OutboxItem | None:
        """Return the next head that may be sent; its lane stays closed until `done` or `block`."""
        if not self._ready:
            return None
        lane = self._lanes[self._ready.popleft()]
        lane.taken = 1
        return lane.items[0]

    def take_batch(
        self, most: int, most_bytes: int | None, overhead_bytes: int = 0
    ) -> list[OutboxItem]:
        """Return what goes out together next: a frozen batch whole, else up to so many items.

        They stand in the order of the outbox, whichever lane was ready first: so a batch is the same
        whenever it is taken. Their bodies, `overhead_bytes` counted with each, come to `most_bytes` at the most; one that is
        larger by itself is alone.
        """
        if not self._ready:
            return []
        batch_id = self._lanes[self._ready[0]].items[0].batch_id
        if batch_id is not None:
            return sorted(self._take_frozen(batch_id), key=_place)
        taken: list[OutboxItem] = []
        size, is_full = 0, False
        for key in list(self._ready):
            lane = self._lanes[key]
            for item in lane.items:
                size += len(item.body) + overhead_bytes
                is_full = most_bytes is not None and size > most_bytes
                if item.batch_id is not None or (taken and is_full):
                    break
                lane.taken += 1
                taken.append(item)
                is_full = is_full or len(taken) == most
                if is_full:
                    break
            if lane.taken:
                self._ready.remove(key)
            if is_full:
                break
        return sorted(taken, key=_place)

    def done(self, item: OutboxItem) -> None:
        """Open the lane again, once all that was taken of it has come to its end."""
        key = self._key(item)
        self._known.pop(item.delivery_id, None)
        self._withdrawn.discard(item.delivery_id)
        lane = self._lanes.get(key)
        if lane is None:
            return
        # Of those that travel together the first is not always the first to end.
        lane.items.remove(item)
        lane.taken -= 1
        if not lane.items:
            del self._lanes[key]
        elif not lane.taken:
            self._ready.append(key)

    def block(self, item: OutboxItem, due_at: datetime) -> None:
        """Forget the lane: its head is in back-off and the outbox holds it and all behind it."""
        if item.delivery_id in self._withdrawn:
            self.done(item)
            return
        lane = self._lanes.pop(self._key(item), None)
        if lane is not None:
            for waiting in lane.items:
                self._known.pop(waiting.delivery_id, None)
        if (number := self.lane_of(item)) is not None:
            self._blocked[number] = due_at
            self._lately.add(number)

    def withdraw(self, delivery_ids: Collection[DeliveryId]) -> None:
        """Forget these, which have come to another end; what is in flight of them stays until then."""
        leaving = {one: self._known[one] for one in delivery_ids if one in self._known}
        for key in set(leaving.values()):
            lane = self._lanes[key]
            in_flight, waiting = list(lane.items)[: lane.taken], list(lane.items)[lane.taken :]
            stay = [item for item in waiting if item.delivery_id not in leaving]
            for item in waiting:
                if item.delivery_id in leaving:
                    del self._known[item.delivery_id]
            self._withdrawn.update(
                item.delivery_id for item in in_flight if item.delivery_id in leaving
            )
            lane.items = deque(in_flight + stay)
            if not lane.items:
                del self._lanes[key]
                self._ready.remove(key)

    def keep_blocked(self, lanes: Iterable[BlockedLane]) -> None:
        """Learn which lanes were in back-off before this cache was made."""
        self._blocked.update((lane.lane, lane.due_at) for lane in lanes)

    def unblock(self, now: datetime, *, but: Collection[int | None] = ()) -> None:
        """Let the lanes that are due take items again, just before the outbox is read for them.

        `but` are those whose head the outbox does not know to be in back-off yet.
        """
        for lane in [
            lane for lane, due_at in self._blocked.items() if due_at <= now and lane not in but
        ]:
            del self._blocked[lane]

    def begin_read(self) -> None:
        """From now on remember which lanes are blocked: a read of the outbox may be too early to know."""
        self._lately.clear()

    def unblock_all(self, *, but: Collection[int | None] = ()) -> None:
        """Believe of no lane that it is blocked, but of those of `but` and of those that have been
        since `begin_read`: the outbox knows better."""
        self._blocked = {
            lane: due for lane, due in self._blocked.items() if lane in but or lane in self._lately
        }

    def unblock_found(
        self, items: Iterable[OutboxItem], *, but: Collection[int | None] = ()
    ) -> None:
        """The same for the lanes of `items` alone, which the outbox has handed out as to be sent."""
        for lane in {self.lane_of(item) for item in items}:
            if lane is not None and lane not in but and lane not in self._lately:
                self._blocked.pop(lane, None)

    def _take_frozen(self, batch_id: DeliveryId) -> list[OutboxItem]:
        taken: list[OutboxItem] = []
        for key in list(self._ready):
            lane = self._lanes[key]
            for item in lane.items:
                if item.batch_id != batch_id:
                    break
                lane.taken += 1
                taken.append(item)
            if lane.taken:
                self._ready.remove(key)
        return taken

    def _append(self, item: OutboxItem, key: Key) -> None:
        self._known[item.delivery_id] = key
        lane = self._lanes.get(key)
        if lane is None:
            self._lanes[key] = _Lane(item)
            self._ready.append(key)
        else:
            lane.items.append(item)

    def _key(self, item: OutboxItem) -> Key:
        lane = self.lane_of(item)
        return item.delivery_id if lane is None else lane


def _place(item: OutboxItem) -> tuple[int, int, int, DeliveryId]:
    return item.position, item.decoder_id or 0, item.generation, item.delivery_id
