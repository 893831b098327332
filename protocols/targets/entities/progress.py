"""How far messages have come of which a broker took some entities and not the others."""

from collections import OrderedDict
from dataclasses import dataclass
from typing import Final

from protocols.messages import DeliveryId

MAX_DELIVERIES: Final = 1_000
MAX_PLACES: Final = 50_000
"""About 2 MB; more than the entities of any one message of 1 MiB."""

MAX_NAMED: Final = 5


@dataclass(frozen=True, slots=True)
class Listing:
    """Entities that were not taken: how many, and what is said of the first few."""

    count: int = 0
    first: tuple[str, ...] = ()
    """At most `MAX_NAMED`."""

    def plus(self, other: "Listing") -> "Listing":
        return Listing(self.count + other.count, (*self.first, *other.first)[:MAX_NAMED])

    def __str__(self) -> str:
        more = self.count - len(self.first)
        return "; ".join(self.first) + (f"; and {more} more" if more else "")


@dataclass(frozen=True, slots=True)
class Progress:
    """What became of a message so far."""

    left: tuple[int, ...]
    """The places of the entities that are still to be sent."""
    refused: Listing
    """Those that the broker will never take."""


class ProgressMemory:
    """Remembers the latest; what it has forgotten is sent whole again, which does no harm."""

    def __init__(self) -> None:
        self._kept: OrderedDict[DeliveryId, Progress] = OrderedDict()
        self._places = 0

    def get(self, delivery_id: DeliveryId) -> Progress | None:
        return self._kept.get(delivery_id)

    def keep(self, delivery_id: DeliveryId, progress: Progress) -> None:
        self.forget(delivery_id)
        self._kept[delivery_id] = progress
        self._places += len(progress.left)
        while len(self._kept) > MAX_DELIVERIES or self._places > MAX_PLACES:
            self.forget(next(iter(self._kept)))

    def forget(self, delivery_id: DeliveryId) -> None:
        progress = self._kept.pop(delivery_id, None)
        if progress is not None:
            self._places -= len(progress.left)
