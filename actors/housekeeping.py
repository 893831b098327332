"""HousekeepingActor: deletes what has been kept long enough, and cancels what cannot be delivered.

Messages that are being decoded while their target is deleted make deliveries for it afterwards; so
the orphans are looked for time and again, not only when a target goes.

A deletion of thousands of rows in one transaction holds up every acknowledgement behind it; so each
slice is a few rows and the next one waits its turn.
"""

import asyncio
from datetime import timedelta
from typing import Any

import structlog

from actors import events
from actors.messages import CancelOrphans, Tick
from actors.runtime import Actor
from storage.outbox import Outbox
from storage.retention import Retention, RetentionKind

_ROUND_S = 60.0
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
    ) -> None:
        """`keep` says how long rows of each kind are kept; a kind that is missing is kept for ever."""
        super().__init__()
        self._outbox = outbox
        self._retention = retention
        self._keep = keep

    def on_start(self) -> None:
        self.schedule(_ROUND_S, Tick())

    async def on_receive(self, message: Any) -> None:
        match message:
            case CancelOrphans():
                await self._cancel_orphans()
            case Tick():
                await self._cancel_orphans()
                for kind, kept in self._keep.items():
                    await self._delete(kind, kept)
                self.schedule(_ROUND_S, Tick())
            case _:
                raise TypeError(f"HousekeepingActor does not know {type(message).__name__}")

    async def _cancel_orphans(self) -> None:
        for target_id in await self._outbox.targets_gone():
            await self._outbox.cancel_for_target(target_id, reason="The data target was deleted.")

    async def _delete(self, kind: RetentionKind, kept: timedelta) -> None:
        older_than = self.clock.now() - kept
        total = 0
        while deleted := await self._retention.delete_slice(kind, older_than=older_than):
            total += deleted
            await asyncio.sleep(_PAUSE_S)
        if total:
            log.info(events.HOUSEKEEPING_DELETE, kind=kind.value, count=total)
