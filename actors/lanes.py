"""The order of deliveries to one data target: one lane for each device, one in flight in each.

A lane is ready when its head may be sent. A head that failed blocks its lane until it is due again:
the lane's items are then forgotten here, because the outbox holds them, and one device in back-off
must not fill the memory that the others need. A replayed delivery has a lane of its own: it never
enters the live order.
"""

from collections import deque
from collections.abc import Collection, Iterable
from datetime import datetime

from protocols.messages import DeliveryId, DeviceId
from storage.outbox import OutboxItem


class Lanes:
    """A cache of what the outbox holds, at most `capacity` items; owned by one TargetActor."""

    def __init__(self, *, capacity: int) -> None:
        self._capacity = capacity
        self._lanes: dict[DeviceId | DeliveryId, deque[OutboxItem]] = {}
        self._ready: deque[DeviceId | DeliveryId] = deque()
        self._blocked: dict[DeviceId, datetime] = {}
        self._known: set[DeliveryId] = set()

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

    def add(self, items: Iterable[OutboxItem]) -> bool:
        """Take items in order; return False if some were left to the outbox for lack of room.

        Items of a blocked lane are left to the outbox too: they come back with their head.
        """
        for item in items:
            if item.delivery_id in self._known:
                continue
            if item.device_id in self._blocked and not item.generation:
                continue
            if len(self._known) >= self._capacity:
                return False
            self._append(item)
        return True

    def take(self) -> OutboxItem | None:
        """Return the next head that may be sent; its lane stays closed until `done` or `block`."""
        if not self._ready:
            return None
        return self._lanes[self._ready.popleft()][0]

    def done(self, item: OutboxItem) -> None:
        """Open the lane again: its head has come to its end."""
        key = _key(item)
        lane = self._lanes[key]
        lane.popleft()
        self._known.discard(item.delivery_id)
        if lane:
            self._ready.append(key)
        else:
            del self._lanes[key]

    def block(self, item: OutboxItem, due_at: datetime) -> None:
        """Forget the lane: its head is in back-off and the outbox holds it and all behind it."""
        for waiting in self._lanes.pop(_key(item)):
            self._known.discard(waiting.delivery_id)
        if not item.generation:
            self._blocked[item.device_id] = due_at

    def keep_blocked(self, dues: Iterable[tuple[DeviceId, datetime]]) -> None:
        """Learn which lanes were in back-off before this cache was made."""
        self._blocked.update(dues)

    def unblock(self, now: datetime, *, but: Collection[DeviceId] = ()) -> None:
        """Let the lanes that are due take items again, just before the outbox is read for them.

        `but` are those whose head the outbox does not know to be in back-off yet.
        """
        for device_id in [
            device_id
            for device_id, due_at in self._blocked.items()
            if due_at <= now and device_id not in but
        ]:
            del self._blocked[device_id]

    def _append(self, item: OutboxItem) -> None:
        key = _key(item)
        self._known.add(item.delivery_id)
        lane = self._lanes.get(key)
        if lane is None:
            self._lanes[key] = deque((item,))
            self._ready.append(key)
        else:
            lane.append(item)


def _key(item: OutboxItem) -> DeviceId | DeliveryId:
    return item.delivery_id if item.generation else item.device_id
