"""What a TargetActor holds of its outbox, and when it has to look into it again.

Theory of operation. The outbox on disk is the truth; `Lanes` is a cache of it. New deliveries come
straight from the writer while the cache keeps up. When it is full the cache is *behind*: it ignores
what the writer tells and is read again as soon as there is room. While a read is under way
what the writer tells is collected beside it (`_fresh`) and added after what was read, so that
neither a delivery nor the order of a device's deliveries is lost between the two. A lane that is due
stays closed until its failed head is on disk as such: before that the outbox would hand out what
stands behind it, and not the head. Any other lane that the outbox hands something out of is open, whatever
is believed here: its head was fetched, and the word of it has been lost or is still to come.
"""

from collections.abc import Callable, Collection, Mapping
from typing import Final

from actors.delivery.lanes import Lanes
from actors.messages import DeliveriesDue
from actors.runtime import Clock, Timer
from protocols.messages import DeliveryId, TargetId
from protocols.targets.policy import Ordering
from storage.delivery.outbox import Outbox, OutboxItem

# Looking for what is due, or on a mere suspicion, takes at most a fifth of the time: to pass over a
# million that wait behind a head in back-off takes up to two seconds.
_REST_PER_LOOK: Final = 4.0
# Differences of instants are rounded: who waits for less may find that no time has passed.
_SHORTEST_REST_S: Final = 0.001


class OutboxCache:
    """Owned by one TargetActor, which is told `DeliveriesDue` when it is time to read again."""

    def __init__(
        self,
        target_id: TargetId,
        outbox: Outbox,
        *,
        capacity: int,
        ordering: Ordering,
        unrecorded: Mapping[DeliveryId, int | None],
        clock: Clock,
        schedule: Callable[[float, DeliveriesDue], Timer],
    ) -> None:
        """`unrecorded`: what was attempted and is not on disk as such, with its lane."""
        self.lanes = Lanes(capacity=capacity, ordering=ordering)
        self._target_id = target_id
        self._outbox = outbox
        self._capacity = capacity
        self._ordering = ordering
        self._unrecorded = unrecorded
        self._clock = clock
        self._schedule = schedule
        self._behind = True
        self._reading = False
        self._must_read_again = False
        self._must_reread_lanes = False
        self._fresh: list[OutboxItem] = []
        self._due_timer: Timer | None = None
        self._due_s = 0.0
        self._must_look = False
        self._may_look_s = 0.0

    @property
    def wants_read(self) -> bool:
        return self._behind and not self._reading and self.lanes.room >= self._capacity // 4

    def begin_read(self) -> None:
        """Note that `read` is about to be called, in a task."""
        self._reading = True

    def add(self, items: list[OutboxItem]) -> None:
        """Take what the writer tells of."""
        # A reading of the outbox may have been quicker than the word of the commit.
        items = [item for item in items if item.delivery_id not in self._unrecorded]
        if self._reading:
            self._fresh.extend(items[: self._capacity - len(self._fresh) + 1])
        elif not self._behind and not self.lanes.add(items):
            self._behind = True

    def withdraw(self, delivery_ids: Collection[DeliveryId]) -> None:
        """Forget these; the lanes that they blocked may be open now."""
        self.lanes.withdraw(delivery_ids)
        self._must_reread_lanes = True
        self.outdate()

    def outdate(self) -> None:
        """Believe the cache only after a read that begins from now on."""
        self._behind = self._must_read_again = True

    def on_due(self) -> None:
        """The timer has gone off."""
        self._due_timer = None
        self.look()

    def look(self) -> None:
        """Read the outbox, though not at once if reading it takes long."""
        rest_s = self._may_look_s - self._clock.monotonic()
        if self._reading:
            self._must_look = True
        elif rest_s > _SHORTEST_REST_S:
            self.wake_in(rest_s)
        else:
            self.outdate()

    async def read(self) -> None:
        """Fill the cache from the outbox; one that covers the outbox is not behind.

        Raises: StorageUnavailable.
        """
        now, began_s = self._clock.now(), self._clock.monotonic()
        limit = self.lanes.room
        self._must_read_again = False
        self.lanes.begin_read()
        own = set(self._unrecorded.values())
        try:
            if self._must_reread_lanes:
                self._must_reread_lanes = False
                blocked = await self._outbox.blocked_lanes(self._target_id)
                self.lanes.unblock_all(but=own)
                self.lanes.keep_blocked(lane for lane in blocked if lane.lane not in own)
            self.lanes.unblock(now, but=own)
            items = await self._outbox.waiting(
                self._target_id,
                now=now,
                limit=limit,
                excluding=self.lanes.known | self._unrecorded.keys(),
                ordering=self._ordering,
            )
            due_at = await self._outbox.next_due_at(self._target_id, now=now)
        finally:
            fresh, self._fresh = self._fresh, []
            self._reading = False
        self._behind = self._must_read_again or len(items) >= limit or len(fresh) > self._capacity
        self.lanes.unblock_found(items, but=own)
        self.lanes.add(items)
        if not self._behind and not self.lanes.add(fresh):
            self._behind = True
        if due_at is not None:
            self.wake_in((due_at - now).total_seconds())
        self._rest(self._clock.monotonic() - began_s)

    def wake_in(self, delay_s: float) -> None:
        """Read the outbox again in so many seconds, or before if that is planned already."""
        due_s = self._clock.monotonic() + max(0.0, delay_s)
        if self._due_timer is not None:
            if self._due_s <= due_s:
                return
            self._due_timer.cancel()
        self._due_s = due_s
        self._due_timer = self._schedule(max(0.0, delay_s), DeliveriesDue())

    def _rest(self, read_s: float) -> None:
        rest_s = _REST_PER_LOOK * read_s
        self._may_look_s = self._clock.monotonic() + rest_s
        if self._must_look:
            self._must_look = False
            self.wake_in(rest_s)
