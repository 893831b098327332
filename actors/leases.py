"""LeaseActor: makes the rounds of renewing and claiming, and watches that none comes too late."""

import asyncio
from typing import Any, Protocol

import structlog

from actors import events
from actors.messages import NextRound, TenuresLapse
from actors.runtime import Actor, Timer
from protocols.errors import StorageUnavailable

# While the database is away.
_TRY_AGAIN_S = 0.5

log = structlog.get_logger(__name__)


class LeaseRounds(Protocol):
    """What there is to do; see `LeasedOwnership`, which outlives any instance of the actor."""

    @property
    def lapses_in_s(self) -> float | None: ...
    async def make_round(self) -> float: ...
    def lapse(self) -> None: ...
    async def close(self) -> None: ...


class LeaseActor(Actor):
    """One for each process that may hold leases. A round never keeps it from noticing a lapse."""

    def __init__(self, rounds: LeaseRounds) -> None:
        super().__init__()
        self._rounds = rounds
        self._round: asyncio.Task[None] | None = None
        self._is_asked_again = False
        self._next: Timer | None = None
        self._lapse: Timer | None = None
        self._is_out = False
        self._has_lapsed = False

    def on_start(self) -> None:
        self._watch_for_lapse()
        self._begin_round()

    def on_receive(self, message: Any) -> None:
        match message:
            case NextRound():
                self._begin_round()
            case TenuresLapse():
                self._lapse = None
                self._has_lapsed = True
                self._note_outage("No renewal has come through in time.")
                self._rounds.lapse()
            case _:
                raise TypeError(f"LeaseActor does not know {type(message).__name__}")

    async def on_stop(self) -> None:
        """Everything that was held has been stopped before, in the order of the tree."""
        if self._round is not None:
            self._round.cancel()
            await asyncio.wait((self._round,))
        await self._rounds.close()

    def _begin_round(self) -> None:
        if self._round is not None:
            self._is_asked_again = True
            return
        if self._next is not None:
            self._next.cancel()
            self._next = None
        self._round = self.create_task(self._make_round())

    async def _make_round(self) -> None:
        try:
            delay_s = await self._rounds.make_round()
        except StorageUnavailable as error:
            self._note_outage(str(error))
            delay_s = _TRY_AGAIN_S
        else:
            self._note_success()
        self._watch_for_lapse()
        self._round = None
        if self._is_asked_again:
            self._is_asked_again = False
            self._begin_round()
        else:
            self._next = self.schedule(delay_s, NextRound())

    def _note_success(self) -> None:
        self._has_lapsed = False
        if self._is_out:
            self._is_out = False
            log.info(events.LEASE_RENEW_RESUME)

    def _watch_for_lapse(self) -> None:
        if self._lapse is not None:
            self._lapse.cancel()
            self._lapse = None
        lapses_in_s = self._rounds.lapses_in_s
        if lapses_in_s is not None and not self._has_lapsed:
            self._lapse = self.schedule(max(0.0, lapses_in_s), TenuresLapse())

    def _note_outage(self, reason: str) -> None:
        if not self._is_out:
            self._is_out = True
            log.warning(events.LEASE_RENEW_FAIL, reason=reason)
