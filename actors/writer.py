"""WriterActor: writes the results of messages, and with them the cursors, in one transaction.

While one transaction is being committed the next batch collects: the batch is as large as the disk
is slow, and no timer is needed. A result for a position that is already written, or already on its
way, is dropped: after a crash of some actor the router dispatches again, and the first result wins.
"""

import asyncio
import itertools
from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import replace
from datetime import datetime
from typing import Any

import structlog

from actors import events, paths
from actors.messages import (
    AdmissionRestated,
    AwaitCommit,
    ClaimsLost,
    SetAsideUplink,
    UplinksAdmitted,
    UplinksSettled,
    WriteResult,
)
from actors.runtime import Actor
from actors.watermark import Watermark
from protocols.errors import ClaimLost, ConnectionLost, StorageUnavailable
from protocols.messages import DeviceId, MessageId
from storage.journal import Cursors, partition_of
from storage.results import JobResult, JobState, MessageResult, ResultStore

# Far below the number of values that one statement may have; larger ones gain nothing.
_BATCH_LIMIT = 2_000
_RETRY_S = (0.1, 0.5, 1.0, 2.0, 5.0)

Publish = Callable[[Sequence[MessageResult]], Awaitable[None]]

log = structlog.get_logger(__name__)


class WriterActor(Actor):
    """One for each process that decodes; what is live is bounded by the router's credits."""

    def __init__(
        self,
        *,
        results: ResultStore,
        on_committed: Callable[[Sequence[MessageResult]], None],
        on_untold: Callable[[], None],
        publish: Publish | None = None,
    ) -> None:
        """`on_committed` is called on the loop with what is on disk, `on_untold` when the outbox
        may hold what nobody was told of; both must only tell. `publish` is awaited before a batch
        is committed, and maybe again: its readers are told at least once."""
        super().__init__()
        self._publish = publish
        self._results = results
        self._on_committed = on_committed
        self._on_untold = on_untold
        self._watermarks: dict[int, Watermark] = {}
        self._epoch: int | None = None
        self._batch: dict[int, MessageResult] = {}
        self._numbers = itertools.count()
        self._live: dict[MessageId, int] = {}
        self._states: dict[DeviceId, bytes | None] = {}
        self._writing: set[int] = set()
        self._lost: set[int] = set()
        self._awaited: list[AwaitCommit] = []
        self._committing: asyncio.Task[None] | None = None

    async def on_start(self) -> None:
        # What an instance before this one has handed over may still be on its way to the disk.
        await self._results.flush()
        # An instance before this one may have committed results without having told anybody.
        self._on_untold()

    def on_receive(self, message: Any) -> None:
        match message:
            case WriteResult():
                if message.epoch is None or message.epoch == self._epoch:
                    self._take(message.result)
            case UplinksAdmitted():
                for partition, positions in _by_partition(message.positions).items():
                    if (watermark := self._watermarks.get(partition)) is not None:
                        watermark.admit(positions)
            case AdmissionRestated():
                self._restate(message)
            case SetAsideUplink():
                self._take(set_aside(message, self.clock.now()))
            case AwaitCommit():
                self._awaited.append(message)
            case _:
                raise TypeError(f"WriterActor does not know {type(message).__name__}")
        if (self._batch or self._awaited) and self._committing is None:
            self._committing = self.create_task(self._commit_all())

    async def on_stop(self) -> None:
        """Write what has been told, so that the next start has less to do again."""
        if self._committing is not None:
            await asyncio.wait((self._committing,))
        await self._commit_all()

    def _restate(self, message: AdmissionRestated) -> None:
        admitted = _by_partition(message.positions)
        self._watermarks = {
            partition: Watermark(last, admitted.get(partition, ()))
            for partition, last in message.last.items()
        }
        self._epoch = message.epoch

    def _take(self, result: MessageResult) -> None:
        position = result.position
        if position is None:
            # Before the admission is known it was told to the instance before this one, and the
            # router lets its device begin again; what stands outside of any order is done again.
            if self._epoch is not None:
                self._merge(result)
            return
        known = self._watermarks.get(partition_of(position))
        if known is None:
            # Of a partition that was given up, or of an admission that is still to be restated.
            return
        if known.is_settled(position):
            self._tell_settled([position])
        elif known.is_open(position) and position not in self._writing:
            self._writing.add(position)
            self._states[result.uplink.device_id] = result.device_state
            self._append_live(result)

    def _merge(self, result: MessageResult) -> None:
        """A deferral that is still to be written becomes the result that it was waiting for.

        It moves to the end: results of this device that were told in between stand before it, and
        the order of the batch is the order in which targets are told.
        """
        number = None if result.generation else self._live.pop(result.uplink.message_id, None)
        if number is None:
            self._batch[next(self._numbers)] = result
            return
        position = self._batch.pop(number).position
        state = self._states[result.uplink.device_id]
        self._append_live(replace(result, position=position, device_state=state))

    def _append_live(self, result: MessageResult) -> None:
        number = next(self._numbers)
        self._live[result.uplink.message_id] = number
        self._batch[number] = result

    async def _commit_all(self) -> None:
        try:
            while self._batch or self._awaited:
                batch, awaited = self._take_batch()
                if batch:
                    await self._commit(batch)
                for one in awaited:
                    one.on_committed()
        finally:
            self._committing = None

    def _take_batch(self) -> tuple[list[MessageResult], list[AwaitCommit]]:
        """Return the oldest results, as many as fit one transaction, and who waits for just these."""
        numbers = list(itertools.islice(self._batch, _BATCH_LIMIT))
        batch = [self._batch.pop(number) for number in numbers]
        for result in batch:
            self._live.pop(result.uplink.message_id, None)
        if self._batch:
            return batch, []
        self._states.clear()
        awaited, self._awaited = self._awaited, []
        return batch, awaited

    async def _commit(self, batch: list[MessageResult]) -> None:
        positions = [result.position for result in batch if result.position is not None]
        written = await self._commit_patiently(batch)
        self._writing.difference_update(positions)
        settled = [position for position in positions if partition_of(position) not in self._lost]
        for partition, of_partition in _by_partition(settled).items():
            if (watermark := self._watermarks.get(partition)) is not None:
                watermark.settle(of_partition)
        if settled:
            self._tell_settled(settled)
        self._on_committed(written)

    def _cursors_after(self, batch: list[MessageResult]) -> Cursors:
        positions = [result.position for result in batch if result.position is not None]
        return {
            partition: watermark.after(of_partition)
            for partition, of_partition in _by_partition(positions).items()
            if (watermark := self._watermarks.get(partition)) is not None
        }

    def _tell_settled(self, positions: list[int]) -> None:
        if (router := self.system.find(paths.ROUTER)) is not None:
            router.tell(UplinksSettled(positions))

    async def _commit_patiently(self, batch: list[MessageResult]) -> Sequence[MessageResult]:
        """Commit, however long the storage takes to come back; return what took effect.

        What belongs to another process by now is left out, and whoever reads the journal is told.
        """
        self._lost.clear()
        attempt = 0
        while batch:
            try:
                if self._publish is not None:
                    await self._publish(batch)
                report = await self._results.commit(batch, cursors=self._cursors_after(batch))
            except ClaimLost as error:
                batch = self._leave_out(batch, error)
            except (StorageUnavailable, ConnectionLost) as error:
                if not attempt:
                    log.error(events.RESULTS_WAIT, reason=str(error), count=len(batch))
                await asyncio.sleep(_RETRY_S[min(attempt, len(_RETRY_S) - 1)])
                attempt += 1
            else:
                if attempt:
                    log.info(events.RESULTS_RESUME, attempts=attempt)
                if report.repeated:
                    self._on_untold()
                return report.written
        return ()

    def _leave_out(self, batch: list[MessageResult], error: ClaimLost) -> list[MessageResult]:
        left = self._results.without(batch, error.partitions)
        log.warning(
            events.RESULTS_LEAVE_OUT,
            partitions=sorted(error.partitions),
            count=len(batch) - len(left),
        )
        self._lost |= error.partitions
        if (journal := self.system.find(paths.JOURNAL)) is not None:
            journal.tell(ClaimsLost(error.partitions))
        return left


def _by_partition(positions: Iterable[int]) -> dict[int, list[int]]:
    by_partition: dict[int, list[int]] = {}
    for position in positions:
        by_partition.setdefault(partition_of(position), []).append(position)
    return by_partition


def set_aside(message: SetAsideUplink, now: datetime) -> MessageResult:
    """Return the result of a message that crashed its actor: kept raw, with the reason."""
    job = JobResult(
        decoder_id=None,
        state=JobState.SET_ASIDE,
        decoder_version=None,
        body=None,
        warnings=(),
        error_code="poison",
        error=message.error,
        settled_at=now,
    )
    return MessageResult(
        uplink=message.uplink,
        position=message.position,
        order=message.position,
        jobs=(job,),
        deliveries=(),
        device_state=None,
        generation=0,
    )
