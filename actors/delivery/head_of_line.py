"""For how long a failing message has kept the others of its lane waiting, by its own fault.

The clock of a lane runs from its head's first failure on, and only while the breaker is closed:
an outage is the target's, and no message's.
"""

from collections.abc import Iterable

from actors.delivery.breaker import Breaker
from protocols.messages import DeliveryId
from storage.delivery.outbox import BlockedLane


class _Head:
    __slots__ = ("at_s", "delivery_id", "held_s", "open_s")

    def __init__(self, delivery_id: DeliveryId, held_s: float, at_s: float, open_s: float) -> None:
        self.delivery_id = delivery_id
        self.held_s = held_s
        self.at_s = at_s
        self.open_s = open_s


class HeadsOfLine:
    """The heads that have failed, by lane; plain."""

    def __init__(self, breaker: Breaker) -> None:
        self._breaker = breaker
        self._heads: dict[int, _Head] = {}

    def restore(self, lanes: Iterable[BlockedLane], now_s: float) -> None:
        """Learn of heads that failed before this was made."""
        for lane in lanes:
            self._heads[lane.lane] = _Head(
                lane.delivery_id, lane.held_s, now_s, self._breaker.open_s
            )

    def note_failure(self, lane: int, delivery_id: DeliveryId, now_s: float) -> float:
        """Return the seconds for which this head has held its lane up until now."""
        open_s = self._breaker.open_s
        head = self._heads.get(lane)
        if head is None or head.delivery_id != delivery_id:
            self._heads[lane] = _Head(delivery_id, 0.0, now_s, open_s)
            return 0.0
        head.held_s += max(0.0, (now_s - head.at_s) - (open_s - head.open_s))
        head.at_s, head.open_s = now_s, open_s
        return head.held_s

    def forget(self, lane: int) -> None:
        """The head has come to its end, or stepped aside."""
        self._heads.pop(lane, None)
