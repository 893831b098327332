"""Writing down what became of attempts: in batches, each of what came while the last one was written."""

import asyncio
from collections.abc import Callable, Coroutine, Sequence
from typing import Any

from actors.ownership import Tenure
from protocols.errors import LeaseLost
from protocols.messages import DeliveryId, TargetId
from storage.delivery.outbox import DeliveryOutcome, Outbox, TargetNote


class OutcomeRecorder:
    """For one TargetActor, in whose tasks it writes and whose tenure it writes under."""

    def __init__(
        self,
        outbox: Outbox,
        tenure: Tenure,
        *,
        create_task: Callable[[Coroutine[Any, Any, None]], object],
        take_note: Callable[[], TargetNote | None],
        on_recorded: Callable[[Sequence[DeliveryOutcome]], None],
        on_refused: Callable[[LeaseLost], None],
        on_listeners: Callable[[Sequence[TargetId]], None],
    ) -> None:
        """`take_note` gives what else is to be written with a batch; `on_listeners` is told the
        targets that deliveries of events were made for."""
        self._outbox = outbox
        self._tenure = tenure
        self._create_task = create_task
        self._take_note = take_note
        self._on_recorded = on_recorded
        self._on_refused = on_refused
        self._on_listeners = on_listeners
        self._outcomes: list[DeliveryOutcome] = []
        self._note: TargetNote | None = None
        self._is_recording = False
        self._writing = asyncio.Lock()
        self._is_refused = False
        self.unrecorded: dict[DeliveryId, int | None] = {}
        """What has been attempted and is not on disk as such yet, with its lane."""

    def add(self, outcome: DeliveryOutcome, lane: int | None) -> None:
        self._outcomes.append(outcome)
        self.unrecorded[outcome.delivery_id] = lane
        if not self._is_recording:
            self._is_recording = True
            self._create_task(self.record())

    async def record(self) -> None:
        """Write until nothing is left, nor just being written. Raises StorageUnavailable; nothing is
        forgotten by it."""
        self._is_recording = True
        try:
            async with self._writing:
                await self._write_all()
        finally:
            self._is_recording = False

    async def _write_all(self) -> None:
        while not self._is_refused:
            note, self._note = self._note or self._take_note(), None
            if not self._outcomes and note is None:
                return
            batch, self._outcomes = self._outcomes, []
            await self._write(batch, note)

    async def _write(self, batch: list[DeliveryOutcome], note: TargetNote | None) -> None:
        try:
            listeners = await self._outbox.record(batch, self._tenure.lease, note)
        except LeaseLost as error:
            self._is_refused = True
            self._outcomes.clear()
            self._on_refused(error)
            return
        except BaseException:
            self._outcomes = batch + self._outcomes
            self._note = note
            raise
        for outcome in batch:
            self.unrecorded.pop(outcome.delivery_id, None)
        self._on_recorded(batch)
        if listeners:
            self._on_listeners(listeners)
