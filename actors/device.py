"""DeviceActor: the one owner of a device's order, deferral and learned state.

It is virtual: made by the first message, passivated when it has nothing to do, made again by the
next one. What it must not lose stands in the journal and the database; the router tells it again
after a crash (`ResumeUplinks`), and drops nothing that it has not seen settled.
"""

from collections.abc import Sequence
from functools import partial
from typing import Any

from actors import paths
from actors.device_queue import DeviceQueue, Slot
from actors.device_state import DeviceState
from actors.messages import (
    DecodeAgain,
    DecodeUplink,
    DeferredFetched,
    DeferUplinks,
    DeviceCrashed,
    DispatchUplink,
    FetchDeferred,
    ResumeDeferred,
    ResumeUplinks,
    Tick,
    UplinkDecoded,
    WriteResult,
)
from actors.runtime import Actor, ActorRef
from protocols.decoders import DecodeOutcome
from protocols.messages import DeviceId
from storage.deferred import DeferredMessage
from storage.device_state import DeviceStateRow
from storage.plans import DevicePlan
from storage.results import MessageResult

# A deferral told to the writer is on disk a few milliseconds later; a fetch that comes too early
# is repeated after this time, and after so many empty ones nothing can be on its way any more.
_FETCH_AGAIN_S = 0.1
_EMPTY_FETCHES = 20


class DeviceActor(Actor):
    """One device. All its handlers are quick and none waits."""

    registered = False

    def __init__(
        self,
        device_id: DeviceId,
        *,
        decoding: ActorRef[Any],
        writer: ActorRef[Any],
    ) -> None:
        super().__init__()
        self._device_id = device_id
        self._decoding = decoding
        self._writer = writer
        self._queue: DeviceQueue | None = None
        self._state = DeviceState()
        self._plan: DevicePlan | None = None
        self._epoch = 0
        self._handling: int | None = None
        self._fetching = False
        self._empty_fetches = 0
        self._has_asked = False

    def on_receive(self, message: Any) -> None:
        """Handle one of the messages to a device; what comes before its state is told again."""
        match message:
            case DispatchUplink():
                self._dispatch(message)
            case UplinkDecoded():
                self._finish(message)
            case DeferUplinks():
                self._defer(message.position)
            case ResumeUplinks():
                self._resume(message)
            case ResumeDeferred():
                self._resume_deferred(message)
            case DeferredFetched():
                self._refill(message)
            case Tick():
                self._fetching = False
                self._fetch_stored()
            case DecodeAgain():
                self._decode_again()
            case _:
                raise TypeError(f"DeviceActor does not know {type(message).__name__}")

    def on_restart(self, error: Exception | None) -> None:
        """Ask the router for what this instance has lost, and name the message it crashed on."""
        if (router := self.system.find(paths.ROUTER)) is not None:
            router.tell(DeviceCrashed(self._device_id, self._handling, repr(error)))

    def can_passivate(self) -> bool:
        # While it defers, what it has told the writer may not be in the state that is read next.
        queue = self._queue
        return queue is None or (queue.is_idle and (queue.is_parked or not queue.is_deferring))

    def _activate(self, row: DeviceStateRow, epoch: int) -> DeviceQueue:
        self._epoch = epoch
        self._fetching = False
        self._empty_fetches = 0
        self._state = DeviceState.load(row.state)
        self._queue = DeviceQueue(stored=row.deferred)
        return self._queue

    def _dispatch(self, message: DispatchUplink) -> None:
        queue = self._queue
        if message.state is not None:
            queue = self._activate(message.state, message.epoch)
        if queue is None:
            # The router's ResumeUplinks will hold this message too.
            self._ask_for_state()
            return
        entry = message.entry
        self._handling = entry.position
        self._plan = message.plan
        uplink = entry.uplink
        self._state.observe(uplink.received_at)
        slot, results = queue.take(
            entry.position, uplink, message.plan, now=self.clock.now(), state=self._state.dump()
        )
        self._write(results)
        if slot is not None:
            self._decode(slot)
        self._fetch_stored()
        self._handling = None

    def _finish(self, message: UplinkDecoded) -> None:
        if self._queue is None:
            return
        self._handling = self._queue.position_of(message.token)
        results = self._queue.finish(
            message.token,
            message.job,
            message.outcome,
            now=self.clock.now(),
            state=self._state.dump(),
        )
        self._write(results)
        if results:
            self._fetch_stored()
        self._handling = None

    def _defer(self, position: int) -> None:
        if self._queue is not None:
            now = self.clock.now()
            self._write(self._queue.defer(position, now=now, state=self._state.dump()))

    def _resume(self, message: ResumeUplinks) -> None:
        self._activate(message.state, message.epoch)
        self._plan = message.plan
        for entry in message.entries:
            self._dispatch(DispatchUplink(entry, message.plan, None, message.epoch))
        self._fetch_stored()

    def _resume_deferred(self, message: ResumeDeferred) -> None:
        if message.state is not None:
            self._activate(message.state, message.epoch)
        self._plan = message.plan
        if self._queue is None:
            self._ask_for_state()
        elif self._queue.is_idle:
            self._queue.drive()
            # An answer may have been lost with the actor that owed it.
            self._fetching = False
            self._empty_fetches = 0
            self._fetch_stored()

    def _ask_for_state(self) -> None:
        """Nobody has told this instance its state: it took the place of one that crashed, or was made
        by what came late for one that was put away, such as the outcome of a decode."""
        if not self._has_asked and (router := self.system.find(paths.ROUTER)) is not None:
            self._has_asked = True
            router.tell(DeviceCrashed(self._device_id, None, "It knows no state."))

    def _fetch_stored(self) -> None:
        if self._queue is None or self._fetching or not self._queue.wants_stored:
            return
        if (deferral := self.system.find(paths.DEFERRAL)) is not None:
            self._fetching = True
            deferral.tell(FetchDeferred(self._device_id))

    def _refill(self, message: DeferredFetched) -> None:
        self._fetching = False
        queue = self._queue
        if queue is None or self._plan is None or not queue.wants_stored:
            return
        messages: Sequence[DeferredMessage] = queue.not_done(message.messages)
        if not messages:
            self._empty_fetches += 1
            if self._empty_fetches < _EMPTY_FETCHES:
                self._fetching = True
                self.schedule(_FETCH_AGAIN_S, Tick())
                return
            # What is still there after so long has lost its result on the way to the writer.
            messages = message.messages
        if not messages:
            queue.nothing_stored()
            return
        self._empty_fetches = 0
        slots, results = queue.refill(messages, self._plan, self.clock.now())
        self._write(results)
        for slot in slots:
            self._decode(slot)
        self._fetch_stored()

    def _write(self, results: list[MessageResult]) -> None:
        for result in results:
            self._writer.tell(WriteResult(result, self._epoch))

    def _decode_again(self) -> None:
        for slot in self._queue.waiting_slots() if self._queue is not None else ():
            self._decode(slot)

    def _decode(self, slot: Slot) -> None:
        for job, request in slot.unanswered:
            on_done = partial(_decoded, self.actor_ref, slot.token, job)
            self._decoding.tell(DecodeUplink(request, on_done))


def _decoded(device: ActorRef[Any], token: int, job: int, outcome: DecodeOutcome) -> None:
    device.tell(UplinkDecoded(token, job, outcome))
