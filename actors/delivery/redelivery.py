"""RedeliveryActor: has sent again what people wished for, no faster than they and the targets allow.

The wishes stand in the database, with how far they have got, and are looked for every second: so this
actor goes on wherever housekeeping goes, and nobody needs to tell it.

It never pours more into the outbox than a target takes. Of what it has made for a target at most
`AHEAD` deliveries wait at a time, half of what a TargetActor holds in memory: the live messages of a
slow target would else stand behind a million of the past, and find no room beside them. So a replay to
a target that takes nothing stands still behind those, and goes on when the target does, or when
somebody pulls them. What was made before a restart is not counted among them.
"""

from collections.abc import Callable, Collection
from dataclasses import dataclass, replace
from typing import Any, Final

import structlog

from actors import events
from actors.messages import Tick
from actors.runtime import Actor
from protocols.errors import Conflict, StorageUnavailable
from protocols.messages import DeliveryId, TargetId
from storage.delivery.redelivery import Redelivery
from storage.delivery.redelivery_slices import RedeliverySlices, Slice

AHEAD: Final = 500

# Some 3 ms of the one writer; what is live comes in between.
_SLICE: Final = 100
_SLICES_PER_ROUND: Final = 20
_BUSY_S: Final = 0.05
_IDLE_S: Final = 1.0
# What may be made up for after a pause, so that a rate is a rate and not an average over minutes.
_BURST_S: Final = 1.0

log = structlog.get_logger(__name__)


@dataclass(slots=True)
class _Pace:
    """How many deliveries a wish may have made at once: a bucket that fills at its rate."""

    credit: float
    at_s: float

    def refill(self, rate_per_s: int, now_s: float) -> int:
        grown = self.credit + rate_per_s * (now_s - self.at_s)
        self.credit = min(grown, rate_per_s * _BURST_S)
        self.at_s = now_s
        return int(self.credit)


class RedeliveryActor(Actor):
    """One for the whole hub."""

    def __init__(
        self, *, slices: RedeliverySlices, wake: Callable[[Collection[TargetId]], None]
    ) -> None:
        """`wake` has targets read their outbox, wherever they are; it must only tell."""
        super().__init__()
        self._slices = slices
        self._wake = wake
        self._paces: dict[int, _Pace] = {}
        self._waiting: dict[TargetId, set[DeliveryId]] = {}
        self._is_cut_off = False

    def on_start(self) -> None:
        self.schedule(0.0, Tick())

    async def on_receive(self, message: Any) -> None:
        match message:
            case Tick():
                self.schedule(_BUSY_S if await self._round() else _IDLE_S, Tick())
            case _:
                raise TypeError(f"RedeliveryActor does not know {type(message).__name__}")

    async def _round(self) -> bool:
        """Move every wish on by what it may; return whether any moved."""
        try:
            wishes = await self._slices.open_wishes()
            self._forget(wishes)
            has_moved = [await self._advance(wish) for wish in wishes]
        except StorageUnavailable as error:
            if not self._is_cut_off:
                log.warning(events.REDELIVERY_WAIT, reason=str(error))
            self._is_cut_off = True
            return False
        if self._is_cut_off:
            log.info(events.REDELIVERY_RESUME)
        self._is_cut_off = False
        return any(has_moved)

    async def _advance(self, wish: Redelivery) -> bool:
        """Make what the wish's rate and the target's appetite leave room for; return whether it moved."""
        may = min(self._pace(wish), await self._room(wish.target_id))
        has_moved = False
        for _ in range(_SLICES_PER_ROUND):
            if may <= 0:
                break
            found = await self._slices.next_slice(wish, min(may, _SLICE))
            made = await self._make(wish, found)
            if made is None:
                break
            has_moved = True
            may -= len(made)
            if found.is_last:
                break
            wish = replace(wish, after_id=found.after_id, made=wish.made + len(made))
        if has_moved:
            self._wake([wish.target_id])
        return has_moved

    async def _make(self, wish: Redelivery, found: Slice) -> list[DeliveryId] | None:
        """Return what was made; None if the wish is not this actor's to move on at present."""
        try:
            made = await self._slices.make(wish, found, self.clock.now())
        except Conflict:
            # Two wishes for the same deliveries, from two processes that both keep house for a moment.
            return None
        if made is None:
            return None
        self._paces[wish.id].credit -= len(made)
        self._waiting.setdefault(wish.target_id, set()).update(made)
        if found.is_last:
            count = wish.made + len(made)
            log.info(events.REDELIVERY_FINISH, target_id=wish.target_id, count=count)
        return made

    def _pace(self, wish: Redelivery) -> int:
        now_s = self.clock.monotonic()
        pace = self._paces.setdefault(wish.id, _Pace(wish.wish.rate_per_s * _BUSY_S, now_s))
        return pace.refill(wish.wish.rate_per_s, now_s)

    async def _room(self, target_id: TargetId) -> int:
        waiting = self._waiting.get(target_id)
        if waiting and len(waiting) > AHEAD - _SLICE:
            waiting = self._waiting[target_id] = await self._slices.still_waiting(waiting)
        return AHEAD - len(waiting or ())

    def _forget(self, wishes: list[Redelivery]) -> None:
        """Keep nothing of wishes and targets that are done."""
        ids = {wish.id for wish in wishes}
        targets = {wish.target_id for wish in wishes}
        self._paces = {one: pace for one, pace in self._paces.items() if one in ids}
        self._waiting = {one: made for one, made in self._waiting.items() if one in targets}
