"""ReplayActor: decodes again what a decoder failed on, once the decoder is mended.

A replayed message gets deliveries of a new generation. They have ids of their own and never enter
the live order, because what a device has sent since then must not be overtaken by its past.
"""

import asyncio
from functools import partial
from typing import Any

import structlog

from actors import events
from actors.commit_barrier import all_committed
from actors.device_queue import Slot, planned
from actors.messages import DecodeUplink, ReplayFailed, WriteResult
from actors.runtime import Actor, ActorRef, Restarted
from protocols.decoders import DecodeOutcome, DecodeRequest
from protocols.errors import DecoderResting
from storage.deferred import DeferredStore, FailedJob
from storage.plans import DevicePlan, PlanStore
from storage.results import MessageResult

_CHUNK = 200

log = structlog.get_logger(__name__)


class ReplayActor(Actor):
    """One for each process that decodes; replays run one after the other, a chunk at a time."""

    def __init__(
        self,
        *,
        deferred: DeferredStore,
        plans: PlanStore,
        decoding: ActorRef[Any],
        writer: ActorRef[Any],
    ) -> None:
        super().__init__()
        self._deferred = deferred
        self._plans = plans
        self._decoding = decoding
        self._writer = writer
        self._asked: set[asyncio.Future[DecodeOutcome | None]] = set()

    def on_start(self) -> None:
        self.watch(self._decoding)

    async def on_receive(self, message: Any) -> int | None:
        """Answer how many failed jobs there are; they are then decoded in the background."""
        match message:
            case Restarted():
                # What the decoders held went with them, and nobody answers it any more.
                for asked in tuple(self._asked):
                    _answer(asked, None)
                return None
            case ReplayFailed():
                count = await self._deferred.count_failed(
                    message.decoder_id, since=message.since, until=message.until
                )
                self.create_task(self._replay(message))
                return count
            case _:
                raise TypeError(f"ReplayActor does not know {type(message).__name__}")

    async def _replay(self, message: ReplayFailed) -> None:
        after = None
        total = 0
        while True:
            jobs = await self._deferred.failed_jobs(
                message.decoder_id,
                since=message.since,
                until=message.until,
                after_message_id=after,
                limit=_CHUNK,
            )
            if not jobs:
                break
            await self._replay_chunk(jobs)
            # Without this a replay of millions would wait in memory for a disk that is full.
            await all_committed(self._writer)
            total += len(jobs)
            after = jobs[-1].uplink.message_id
        log.info(events.REPLAY_FINISH, decoder_id=message.decoder_id, count=total)

    async def _replay_chunk(self, jobs: list[FailedJob]) -> None:
        plans = await self._plans.load({job.uplink.device_id for job in jobs})
        for result in await asyncio.gather(
            *(self._decode(job, plans[job.uplink.device_id]) for job in jobs)
        ):
            if result is not None:
                self._writer.tell(WriteResult(result, None))

    async def _decode(self, job: FailedJob, plan: DevicePlan) -> MessageResult | None:
        """Return the new result; None if the job stays as it is, because nobody may decode it now."""
        narrowed, gone = planned(plan, [job.decoder_id], self.clock.now())
        if gone:
            return None
        slot = Slot(job.position, job.uplink, narrowed, self.clock.now())
        for number, request in slot.requests:
            outcome = await self._run(request)
            slot.finish(number, outcome, self.clock.now())
        if slot.waiting:
            return None
        return slot.result(live=False, device_state=None, generation=job.generation + 1)

    async def _run(self, request: DecodeRequest) -> DecodeOutcome:
        """Return the outcome, however long a script that took long on its first call rests."""
        outcome: DecodeOutcome | None = None
        while outcome is None or isinstance(outcome.error, DecoderResting):
            if outcome is not None and isinstance(outcome.error, DecoderResting):
                await self.clock.sleep(outcome.error.rest_s)
            asked: asyncio.Future[DecodeOutcome | None] = asyncio.Future()
            self._asked.add(asked)
            self._decoding.tell(DecodeUplink(request, partial(_answer, asked)))
            try:
                outcome = await asked
            finally:
                self._asked.discard(asked)
        return outcome


def _answer(asked: "asyncio.Future[DecodeOutcome | None]", outcome: DecodeOutcome | None) -> None:
    """Set what was asked for; None means that it has to be asked again."""
    if not asked.done():
        asked.set_result(outcome)
