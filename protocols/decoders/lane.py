"""A queue and the worker that empties it."""

import asyncio
from collections.abc import Callable, Sequence

from protocols.decoders.fair_queue import FairQueue
from protocols.decoders.job import Job
from protocols.decoders.settings import DecoderSettings
from protocols.decoders.worker_link import WorkerLink

# While the worker runs one batch, the next already waits at its door.
SHARED_DEPTH = 2
_BACKOFF_FIRST_S = 0.05
_BACKOFF_CAP_S = 5.0


class Lane:
    """What is pushed within one turn of the loop leaves together; nothing waits for a timer."""

    def __init__(
        self,
        name: str,
        settings: DecoderSettings,
        *,
        shared: bool,
        travels_alone: Callable[[Job], bool],
    ) -> None:
        """A lane that is not `shared` hands its worker one job at a time."""
        self.name = name
        self.link: WorkerLink | None = None
        self.starts = 0
        self.is_wanted = False
        self.is_shared = shared
        self.queue = FairQueue()
        self._depth = SHARED_DEPTH if shared else 1
        self._batch_items = settings.batch_items if shared else 1
        self._batch_bytes = settings.batch_bytes
        self._travels_alone = travels_alone
        self._pump_is_due = False
        self._early_deaths = 0

    @property
    def is_ready(self) -> bool:
        return self.link is not None and self.link.is_ready

    def push(self, job: Job) -> None:
        self.queue.push(job)
        self._pump_soon()

    def put_back(self, jobs: Sequence[Job]) -> None:
        self.queue.put_back(jobs)
        self._pump_soon()

    def pump(self) -> None:
        """Gives the worker as much as it may have."""
        link = self.link
        while link is not None and link.is_open and link.batches < self._depth and self.queue:
            batch = self.queue.take(
                max_items=self._batch_items,
                max_bytes=self._batch_bytes,
                travels_alone=self._travels_alone,
            )
            link.send(batch)

    def backoff_s(self, *, was_useful: bool) -> float:
        """How long to wait before the next worker: not at all unless several died at birth."""
        self._early_deaths = 0 if was_useful else self._early_deaths + 1
        if self._early_deaths <= 1:
            return 0.0
        return min(_BACKOFF_FIRST_S * 2.0 ** (self._early_deaths - 2), _BACKOFF_CAP_S)

    def _pump_soon(self) -> None:
        if not self._pump_is_due:
            self._pump_is_due = True
            asyncio.get_running_loop().call_soon(self._pump_now)

    def _pump_now(self) -> None:
        self._pump_is_due = False
        self.pump()
