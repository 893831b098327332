"""RouterActor: takes messages from the journal, in order, to the actors of their devices.

It holds what it has admitted until the writer has settled it (`AdmissionWindow`), so that a crash of
any actor between journal and database loses nothing: what was lost is dispatched again. Plans and
states of devices are read in bulk, all that a batch needs at once.

Messages of a device whose plan is being read wait in `_waiting`; every other device goes on.
"""

import asyncio
import itertools
from collections.abc import Collection, Iterable
from functools import partial
from typing import Any

import structlog

from actors import events, paths
from actors.admission import AdmissionWindow
from actors.messages import (
    AdmissionRestated,
    AwaitCommit,
    CommitReached,
    ConfigurationChanged,
    DecodeAgain,
    DeferUplinks,
    DeviceCrashed,
    DispatchUplink,
    DrainUplinks,
    DriveDeferred,
    ForgetUplinks,
    PartitionsAssigned,
    ResumeDeferred,
    ResumeUplinks,
    SetAsideUplink,
    Tick,
    UplinksAdmitted,
    UplinksJournaled,
    UplinksSettled,
)
from actors.plan_book import PlanBook
from actors.runtime import Actor, ActorRef, Directory, Restarted
from protocols.messages import DeviceId
from storage.device_state import DeviceStates
from storage.journal import Cursors, JournalEntry, JournalReader, partition_of

WINDOW = 4_096
# Two process crashes at the same cursor: one of the next messages may be the reason, so that they
# are taken one by one until the cursor has moved.
_CAUTIOUS_AFTER_CRASHES = 2
_SET_ASIDE_AFTER_CRASHES = 2
_SWEEP_S = 0.025
_LOAD_CHUNK = 500
_PUT_AWAY_S = 0.75

# An epoch is what lies between two restatements; a router that is made anew goes on counting.
_epochs = itertools.count(1)

log = structlog.get_logger(__name__)


class RouterActor(Actor):
    """One for each process that decodes. Its mailbox is bounded by the window and the journal."""

    def __init__(
        self,
        *,
        journal: JournalReader,
        plans: PlanBook,
        states: DeviceStates,
        devices: Directory[DeviceId],
        writer: ActorRef[Any],
        window: int = WINDOW,
    ) -> None:
        super().__init__()
        self._journal = journal
        self._plans = plans
        self._states = states
        self._devices = devices
        self._writer = writer
        self._is_cautious = False
        self._window_size = window
        self._window = AdmissionWindow(window=window, monotonic=self.clock.monotonic)
        self._fresh: list[JournalEntry] = []
        self._reading: int | None = None
        self._read_last = -1
        self._unread: set[int] = set()
        self._waiting: dict[DeviceId, list[JournalEntry]] = {}
        self._resuming: set[DeviceId] = set()
        self._driving: set[DeviceId] = set()
        self._set_aside: set[int] = set()
        self._sweeping = False
        self._numbers = itertools.count()
        self._epoch = 0
        self._barriers: dict[int, asyncio.Future[None]] = {}
        self._drain: DrainUplinks | None = None

    async def on_start(self) -> None:
        """Go on behind the cursors: what was admitted before and not settled is admitted again."""
        for path in (paths.WRITER, paths.DECODERS):
            if (ref := self.system.find(path)) is not None:
                self.watch(ref)
        self._begin(await self._journal.cursors())

    def on_receive(self, message: Any) -> None:
        match message:
            case UplinksJournaled():
                self._take(message.entries)
            case PartitionsAssigned():
                self._drain = None
                if message.crashes >= _CAUTIOUS_AFTER_CRASHES:
                    self._is_cautious = True
                    self._window.widen(1)
                self._begin(message.cursors)
            case ForgetUplinks():
                self._forget(message)
            case UplinksSettled():
                self._settle(message.positions)
            case Tick():
                self._sweep()
            case ConfigurationChanged():
                self._plans.forget(message.device_id)
            case DriveDeferred():
                self._driving.add(message.device_id)
                self._wait_for([message.device_id])
            case DeviceCrashed():
                self._recover(message)
            case Restarted():
                self._dispatch_again(message.path)
            case CommitReached():
                if (barrier := self._barriers.pop(message.number, None)) is not None:
                    barrier.set_result(None)
            case DrainUplinks():
                self._drain = message
                self._answer_drain()
            case _:
                raise TypeError(f"RouterActor does not know {type(message).__name__}")

    # -- in: journal -------------------------------------------------------------------------

    def _begin(self, cursors: Cursors) -> None:
        """Settle these partitions from here on, and no others."""
        self._window.begin(cursors)
        self._window.behind.update(cursors)
        self._unread = set(cursors)
        self._restate_admission()
        # What came late for a device that was put away has made it anew, also where it is not ours.
        self._begin_again(self._ours_active())
        self._catch_up()

    def _forget(self, message: ForgetUplinks) -> None:
        self._window.begin({})
        self._set_aside.clear()
        for waiting in (self._waiting, self._resuming, self._driving, self._fresh):
            waiting.clear()
        self._restate_admission()
        self.create_task(self._put_away(message))

    async def _put_away(self, message: ForgetUplinks) -> None:
        await self._devices.put_away_all(_PUT_AWAY_S)
        message.on_forgotten()

    def _take(self, entries: list[JournalEntry]) -> None:
        if self._drain is not None:
            return
        if self._reading is not None:
            room = self._window_size + 1 - len(self._fresh)
            self._fresh += [e for e in entries if partition_of(e.position) == self._reading][:room]
        self._admit(entries)

    def _admit(self, entries: list[JournalEntry], *, resuming: bool = False) -> None:
        admitted = self._window.admit(entries)
        if not admitted:
            return
        self._writer.tell(UplinksAdmitted([entry.position for entry in admitted]))
        if not self._sweeping:
            self._sweeping = True
            self.schedule(_SWEEP_S, Tick())
        if resuming:
            self._begin_again({entry.uplink.device_id for entry in admitted})
        else:
            self._route(admitted)

    def _catch_up(self) -> None:
        """Read what found no room once there is some; one partition at a time."""
        room = self._window.room
        enough = 1 if self._is_cautious else max(1, self._window_size // 2)
        behind = self._window.behind
        if self._reading is None and self._drain is None and behind and room >= enough:
            # In turn, so that one with a long backlog does not keep the others waiting.
            self._reading = min(
                behind, key=lambda partition: (partition <= self._read_last, partition)
            )
            self._read_last = self._reading
            self.create_task(self._read(self._reading, self._epoch))

    async def _read(self, partition: int, epoch: int) -> None:
        """Admit from the journal what the window had no room for, then what came meanwhile."""
        limit, after = self._window.room, self._window.last.get(partition)
        entries: list[JournalEntry] = []
        try:
            if after is not None:
                entries = await self._journal.unsettled_after(after, limit)
        finally:
            fresh, self._fresh = self._fresh, []
            self._reading = None
        if partition in self._window.last and self._drain is None and epoch == self._epoch:
            is_first = partition in self._unread
            self._unread.discard(partition)
            self._window.behind.discard(partition)
            self._admit(entries, resuming=is_first)
            if len(entries) >= limit or len(fresh) > self._window_size:
                self._window.behind.add(partition)
            else:
                self._admit(fresh)
        self._catch_up()

    # -- on: devices -------------------------------------------------------------------------

    def _route(self, entries: list[JournalEntry]) -> None:
        missing: list[DeviceId] = []
        for entry in entries:
            device_id = entry.uplink.device_id
            waiting = self._waiting.get(device_id)
            if waiting is not None:
                waiting.append(entry)
                continue
            plan = self._plans.get(device_id)
            if plan is not None and self._devices.is_active(device_id):
                self._devices.tell(device_id, DispatchUplink(entry, plan, None, self._epoch))
            else:
                self._waiting[device_id] = [entry]
                missing.append(device_id)
        if missing:
            self.create_task(self._load(missing))

    def _wait_for(self, device_ids: Iterable[DeviceId]) -> None:
        missing = [device_id for device_id in device_ids if device_id not in self._waiting]
        for device_id in missing:
            self._waiting[device_id] = []
        for start in range(0, len(missing), _LOAD_CHUNK):
            self.create_task(self._load(missing[start : start + _LOAD_CHUNK]))

    async def _load(self, device_ids: list[DeviceId]) -> None:
        """Read plans and states of these devices, then pass on what has waited for them."""
        epoch = None
        # A restart meanwhile makes what was read too old: more may be on its way to the disk.
        while epoch != self._epoch:
            epoch = self._epoch
            if not self._resuming.isdisjoint(device_ids):
                # What the instance before has told the writer must be in the state that is read.
                await self._all_committed()
            plans = await self._plans.load(device_ids)
            states = await self._states.load(device_ids)
        for device_id in device_ids:
            waiting = self._waiting.pop(device_id, None)
            if waiting is None:
                continue  # forgotten meanwhile
            entries = waiting
            plan, state = plans[device_id], states[device_id]
            resumed = device_id in self._resuming
            if resumed:
                self._resuming.discard(device_id)
                entries = self._outstanding_of(device_id)
                self._devices.tell(device_id, ResumeUplinks(entries, plan, state, self._epoch))
            else:
                for entry in entries:
                    row = None if self._devices.is_active(device_id) else state
                    self._devices.tell(device_id, DispatchUplink(entry, plan, row, self._epoch))
            if device_id in self._driving:
                self._driving.discard(device_id)
                row = None if self._devices.is_active(device_id) else state
                self._devices.tell(device_id, ResumeDeferred(plan, row, self._epoch))

    async def _all_committed(self) -> None:
        number = next(self._numbers)
        barrier: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._barriers[number] = barrier
        self._writer.tell(AwaitCommit(partial(self.actor_ref.tell, CommitReached(number))))
        await barrier

    def _outstanding_of(self, device_id: DeviceId) -> list[JournalEntry]:
        return [
            entry
            for entry in self._window.of_device(device_id)
            if entry.position not in self._set_aside
        ]

    def _sweep(self) -> None:
        for entry in self._window.late():
            device_id = entry.uplink.device_id
            if self._devices.is_active(device_id):
                self._devices.tell(device_id, DeferUplinks(entry.position))
        self._sweeping = len(self._window) > 0
        if self._sweeping:
            self.schedule(_SWEEP_S, Tick())

    # -- out: writer -------------------------------------------------------------------------

    def _settle(self, positions: list[int]) -> None:
        self._window.settle(positions)
        self._set_aside.difference_update(positions)
        if self._is_cautious:
            self._is_cautious = False
            self._window.widen(self._window_size)
        self._catch_up()
        self._answer_drain()

    def _answer_drain(self) -> None:
        if self._drain is not None and not len(self._window):
            self._drain.on_drained()

    # -- after crashes -----------------------------------------------------------------------

    def _recover(self, message: DeviceCrashed) -> None:
        position = message.position
        if position is not None and self._window.count_crash(position) >= _SET_ASIDE_AFTER_CRASHES:
            entry = self._window.entry(position)
            if entry is not None and position not in self._set_aside:
                log.error(
                    events.UPLINK_SET_ASIDE,
                    message_id=entry.uplink.message_id,
                    device_id=message.device_id,
                    reason=message.error,
                )
                self._set_aside.add(position)
                self._writer.tell(SetAsideUplink(position, entry.uplink, message.error))
        device_id = message.device_id
        if self._journal.holds(device_id) or self._window.of_device(device_id):
            self._begin_again([device_id])

    def _dispatch_again(self, path: str) -> None:
        """An actor that held messages was replaced: have the devices tell or ask it once more."""
        log.warning(events.UPLINKS_DISPATCH_AGAIN, actor=path, count=len(self._window))
        if path == paths.DECODERS:
            self.create_task(self._decode_again())
            return
        self._restate_admission()
        for number in tuple(self._barriers):
            self._barriers.pop(number).set_result(None)
        # Results without a position are lost, too, so that devices without any here begin anew.
        admitted = {entry.uplink.device_id for entry in self._window.entries()}
        self._begin_again(admitted.union(self._ours_active()))

    def _ours_active(self) -> list[DeviceId]:
        return list(filter(self._journal.holds, self._devices.active_keys()))

    def _begin_again(self, device_ids: Collection[DeviceId]) -> None:
        self._resuming.update(device_ids)
        self._wait_for(device_ids)

    def _restate_admission(self) -> None:
        positions = [entry.position for entry in self._window.entries()]
        self._epoch = next(_epochs)
        self._writer.tell(AdmissionRestated(positions, dict(self._window.last), self._epoch))

    async def _decode_again(self) -> None:
        """Tell every active device, a few at a time, so that everything else goes on."""
        device_ids = self._devices.active_keys()
        for start in range(0, len(device_ids), _LOAD_CHUNK):
            for device_id in device_ids[start : start + _LOAD_CHUNK]:
                if self._devices.is_active(device_id):
                    self._devices.tell(device_id, DecodeAgain())
            await asyncio.sleep(0)
