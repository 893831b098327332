"""What waits to be appended to one partition: one batch is on its way, and the next collects."""

from asyncio import Future
from collections import deque
from dataclasses import dataclass, field

from aiokafka.producer.message_accumulator import BatchBuilder

from protocols.errors import TingbroError
from protocols.messages import MessageId
from storage.journal import Appended
from storage.kafka.records import Record


@dataclass(slots=True, eq=False)
class Append:
    """One caller that waits. `future` may be done before the record is anywhere: it gave up."""

    record: Record
    message_id: MessageId
    future: "Future[Appended]"

    def resolve(self, position: int | None) -> None:
        if not self.future.done():
            self.future.set_result(Appended(self.message_id, position, is_duplicate=False))

    def refuse(self, error: TingbroError) -> None:
        if not self.future.done():
            self.future.set_exception(error)


@dataclass(slots=True, eq=False)
class Lane:
    """One partition. `is_busy` while a task sends what is queued."""

    partition: int
    queue: deque[Append] = field(default_factory=deque)
    sent: list[Append] = field(default_factory=list)
    sent_at: float | None = None
    """By the loop's clock; None when nothing is on its way."""
    is_busy: bool = False

    def fill(self, batch: BatchBuilder, now: float) -> None:
        """Move into the batch what it has room for; the first fits always."""
        while self.queue:
            record = self.queue[0].record
            added = batch.append(
                timestamp=None, key=record.key, value=record.value, headers=record.headers
            )
            if added is None:
                break
            self.sent.append(self.queue.popleft())
        batch.close()
        self.sent_at = now

    def take_sent(self) -> list[Append]:
        sent, self.sent = self.sent, []
        self.sent_at = None
        return sent

    def take_queued(self) -> list[Append]:
        queued = list(self.queue)
        self.queue.clear()
        return queued
