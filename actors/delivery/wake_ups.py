"""WakeUpActor: tells other processes of deliveries for targets that they hold, and listens for them.

The outbox is the truth and a wake-up only saves time: one that is lost, because a process died
between commit and signal or a connection broke, is made up for by looking every two seconds. Signals
are sent outside of the transactions that made the deliveries, and collected for a moment, so that a
busy hub sends some tens a second and not one for each commit.
"""

import asyncio
from collections.abc import Collection
from random import random
from typing import Any

import structlog

from actors import events
from actors.delivery.targets import TargetRoster
from actors.messages import SendWakeUps, Tick, WakeElsewhere, WokenUp
from actors.runtime import Actor
from protocols.errors import StorageUnavailable
from protocols.messages import TargetId
from storage.signals import Signals

_COLLECT_S = 0.02
_LOOK_S = 2.0
_JITTER = 0.2
_LISTEN_AGAIN_S = 1.0

log = structlog.get_logger(__name__)


class WakeUpActor(Actor):
    """One for each process that makes or sends deliveries, in a hub of several."""

    def __init__(self, *, signals: Signals, roster: TargetRoster) -> None:
        super().__init__()
        self._signals = signals
        self._roster = roster
        self._to_wake: set[TargetId] = set()
        self._sending: asyncio.Task[None] | None = None
        self._is_out = False

    def on_start(self) -> None:
        self.create_task(self._listen())
        self._look_later()

    def on_receive(self, message: Any) -> None:
        match message:
            case WakeElsewhere():
                self._collect(message.target_ids)
            case SendWakeUps():
                if self._sending is None:
                    self._sending = self.create_task(self._send())
            case WokenUp():
                self._roster.look(message.target_ids)
            case Tick():
                self.create_task(self._look())
            case _:
                raise TypeError(f"WakeUpActor does not know {type(message).__name__}")

    async def on_stop(self) -> None:
        """Everybody who makes deliveries has stopped before, in the order of the tree."""
        if self._sending is not None:
            await asyncio.wait((self._sending,))
        await self._send()

    def _collect(self, target_ids: Collection[TargetId]) -> None:
        if not self._to_wake:
            self.schedule(_COLLECT_S, SendWakeUps())
        self._to_wake.update(target_ids)

    async def _send(self) -> None:
        """Send what has been collected, and what is meanwhile if its timer has gone off."""
        target_ids, self._to_wake = self._to_wake, set()
        try:
            if target_ids:
                await self._signals.notify(sorted(target_ids))
        except StorageUnavailable as error:
            self._note_outage(error)
        finally:
            self._sending = None
        if self._to_wake:
            self.schedule(_COLLECT_S, SendWakeUps())

    async def _listen(self) -> None:
        def tell(target_ids: Collection[TargetId]) -> None:
            me.tell(WokenUp(target_ids))

        me = self.actor_ref
        while True:
            try:
                await self._signals.listen(tell)
            except StorageUnavailable as error:
                self._note_outage(error)
                await self.clock.sleep(_LISTEN_AGAIN_S)

    async def _look(self) -> None:
        try:
            await self._roster.look_for_forgotten()
        except StorageUnavailable as error:
            self._note_outage(error)
        else:
            if self._is_out:
                self._is_out = False
                log.info(events.WAKE_UPS_RESUME)
        self._look_later()

    def _look_later(self) -> None:
        self.schedule(_LOOK_S * (1 - _JITTER * random()), Tick())

    def _note_outage(self, error: StorageUnavailable) -> None:
        if not self._is_out:
            self._is_out = True
            log.warning(events.WAKE_UPS_FAIL, reason=str(error))
