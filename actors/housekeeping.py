"""HousekeepingActor: deletes what has been kept long enough, and ends what cannot be delivered.

What waits for a target that is gone is cancelled. What is past its time is expired by its
target's actor when it comes to it; here the rest is: behind an open breaker, of disabled targets and of those
that are only pulled from.

Messages that are being decoded while their target is deleted make deliveries for it afterwards; so
the orphans are looked for time and again, not only when a target goes.

A deletion of thousands of rows in one transaction holds up every acknowledgement behind it; so each
slice is a few rows and the next one waits its turn.
"""

import asyncio
from collections.abc import Callable, Sequence
from datetime import timedelta
from typing import Any

import structlog

from actors import events
from actors.messages import CancelOrphans, Tick
from actors.runtime import Actor
from storage.delivery.outbox import Outbox
from storage.delivery.target_standing import TargetStanding, TargetStandings
from storage.retention import Retention, RetentionKind

_ROUND_S = 60.0
# How often all that waits is looked at, and not only the oldest.
_THOROUGH_EVERY = 60
# Until then it is left to the actor of the target, whose last attempt may be under way.
_EXPIRY_GRACE = timedelta(minutes=5)
_PAUSE_S = 0.05

log = structlog.get_logger(__name__)


class HousekeepingActor(Actor):
    """One for the whole hub."""

    def __init__(
        self,
        *,
        retention: Retention,
        keep: dict[RetentionKind, timedelta],
        outbox: Outbox,
        standings: TargetStandings,
        on_standings: Callable[[Sequence[TargetStanding]], None],
    ) -> None:
        """`keep` says how long rows of each kind are kept; a kind that is missing is kept for ever.
        `on_standings` is told once a round how data targets stand."""
        super().__init__()
        self._outbox = outbox
        self._retention = retention
        self._keep = keep
        self._standings = standings
        self._on_standings = on_standings
        self._rounds = 0

    def on_start(self) -> None:
        self.schedule(_ROUND_S, Tick())

    async def on_receive(self, message: Any) -> None:
        match message:
            case CancelOrphans():
                await self._cancel_orphans()
            case Tick():
                await self._cancel_orphans()
                await self._expire()
                self._on_standings(await self._standings.read(self.clock.now()))
                for kind, kept in self._keep.items():
                    await self._delete(kind, kept)
                self.schedule(_ROUND_S, Tick())
            case _:
                raise TypeError(f"HousekeepingActor does not know {type(message).__name__}")

    async def _cancel_orphans(self) -> None:
        for target_id in await self._outbox.targets_gone():
            await self._outbox.cancel_for_target(target_id, reason="The data target was deleted.")

    async def _expire(self) -> None:
        is_thorough = self._rounds % _THOROUGH_EVERY == 0
        self._rounds += 1
        for target_id in await self._outbox.targets_with_waiting():
            expired = await self._outbox.expire(
                target_id, grace=_EXPIRY_GRACE, is_thorough=is_thorough
            )
            if expired:
                log.warning(events.HOUSEKEEPING_EXPIRE, target_id=target_id, count=expired)

    async def _delete(self, kind: RetentionKind, kept: timedelta) -> None:
        older_than = self.clock.now() - kept
        total = 0
        while deleted := await self._retention.delete_slice(kind, older_than=older_than):
            total += deleted
            await asyncio.sleep(_PAUSE_S)
        if total:
            log.info(events.HOUSEKEEPING_DELETE, kind=kind.value, count=total)
