"""JournalActor: takes part in reading the journal, and passes on what it is assigned.

When partitions are to be given up the router admits nothing more; what is admitted is settled, for as long as
the others can wait; then the devices are put away, since another process will answer for them.
"""

import asyncio
from collections.abc import Callable
from typing import Any

import structlog

from actors import events, paths
from actors.messages import (
    ClaimsLost,
    DrainUplinks,
    ForgetUplinks,
    PartitionsAssigned,
    UplinksJournaled,
)
from actors.runtime import Actor
from protocols.errors import ConnectionLost, JournalMismatch, StorageUnavailable
from storage.journal import Cursors, JournalEntry, JournalReader

DRAIN_S = 2.0
"""How long what was admitted may take to its end. With putting the devices away it stays below the
3 s that other members of the group are willing to wait."""
_FORGET_S = 1.0

log = structlog.get_logger(__name__)


class JournalActor(Actor):
    """One for each process that decodes; it is also the journal's listener. Restarted, it joins anew."""

    def __init__(
        self,
        *,
        reader: JournalReader,
        on_assigned: Callable[[], None],
        on_mismatch: Callable[[JournalMismatch], None],
    ) -> None:
        """`on_assigned` is called before anything of newly assigned partitions can be admitted,
        `on_mismatch` when nobody but a person can help; both must only tell."""
        super().__init__()
        self._reader = reader
        self._on_assigned = on_assigned
        self._on_mismatch = on_mismatch
        self._running: asyncio.Task[None] | None = None

    def on_start(self) -> None:
        self._running = self.create_task(self._run())

    def on_receive(self, message: Any) -> None:
        match message:
            case ClaimsLost():
                self._reader.lose(message.partitions)
            case _:
                raise TypeError(f"JournalActor does not know {type(message).__name__}")

    async def on_stop(self) -> None:
        await self._leave()

    async def on_restart(self, _error: Exception | None) -> None:
        await self._leave()

    async def _run(self) -> None:
        try:
            await self._reader.run(self)
        except StorageUnavailable as error:
            raise ConnectionLost(str(error)) from error
        except JournalMismatch as error:
            self._on_mismatch(error)

    async def _leave(self) -> None:
        """End the run, which gives up in order what it holds."""
        if self._running is not None:
            self._running.cancel()
            await asyncio.wait((self._running,))

    # -- as the journal's listener -----------------------------------------------------------

    def assigned(self, cursors: Cursors, *, crashes: int) -> None:
        log.info(events.JOURNAL_ASSIGN, partitions=sorted(cursors), crashes=crashes)
        self._on_assigned()
        self._tell_router(PartitionsAssigned(cursors, crashes))

    def appended(self, entries: list[JournalEntry]) -> None:
        self._tell_router(UplinksJournaled(entries))

    async def revoked(self) -> None:
        drained, forgotten = asyncio.Event(), asyncio.Event()
        self._tell_router(DrainUplinks(drained.set))
        is_clean = await _within(DRAIN_S, drained)
        self._tell_router(ForgetUplinks(forgotten.set))
        is_clean &= await _within(_FORGET_S, forgotten)
        if is_clean:
            log.info(events.JOURNAL_REVOKE)
        else:
            log.warning(events.JOURNAL_DRAIN_TIMEOUT, timeout_s=DRAIN_S)

    def _tell_router(self, message: Any) -> None:
        if (router := self.system.find(paths.ROUTER)) is not None:
            router.tell(message)


async def _within(seconds: float, event: asyncio.Event) -> bool:
    try:
        async with asyncio.timeout(seconds):
            await event.wait()
    except TimeoutError:
        return False
    return True
