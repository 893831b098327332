"""Appending to the topic: an append returns when Kafka has acknowledged its record.

Each partition has a lane: one batch of it is on its way, and what is appended meanwhile makes
the next, so that the batches are as large as the brokers are slow, without a timer. The producer is
idempotent and never gives a batch up; it is the callers that give up, after which nothing more is
taken in until Kafka answers again and what was on its way has arrived.

A topic that was made anew under the same name would begin again at offset 0, before the cursor, and be
passed over by every reader. So offsets are compared with what was seen before: one that goes back
closes the journal until a person has decided.
"""

import asyncio
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final, NoReturn, Self

import structlog
from aiokafka import AIOKafkaProducer
from aiokafka.errors import KafkaError

from protocols.errors import (
    ConnectionLost,
    HubFull,
    JournalMismatch,
    RowRefused,
    StorageUnavailable,
    TingbroError,
)
from protocols.messages import Uplink
from storage import events as storage_events
from storage.database import Database
from storage.journal import Appended, JournalAppender
from storage.kafka import events
from storage.kafka.agreement import WAY_OUT, check_settled, check_topic
from storage.kafka.cluster import Reach, cluster_view
from storage.kafka.lane import Append, Lane
from storage.kafka.producing import end_producer, open_producer
from storage.kafka.records import Record, record_of
from storage.kafka.registration import Registration, read_cursors, read_registration
from storage.kafka.settings import KafkaSettings

_WATCH_S: Final = 0.25
_RETRY_S: Final = 1.0
_CHECK_S: Final = 10.0
# Beside the value and key: headers, and what a batch and a record have around them.
_RECORD_OVERHEAD_BYTES: Final = 1_024

_log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class AppenderHealth:
    """Whether messages can be made durable at present. `reason` is a sentence for operators."""

    is_ok: bool
    reason: str | None = None
    needs_person: bool = False
    since: datetime | None = None


class KafkaAppender(JournalAppender):
    """See `JournalAppender`. Takes appends between `start` and `stop`."""

    def __init__(
        self,
        database: Database,
        settings: KafkaSettings,
        *,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._database = database
        self._settings = settings
        self._now = now
        self._health = AppenderHealth(is_ok=False, reason="The journal is starting")
        self._registration: Registration | None = None
        self._producer: AIOKafkaProducer | None = None
        self._is_broken = False
        self._largest_bytes = 0
        self._lanes: dict[int, Lane] = {}
        self._floors: dict[int, int] = {}
        self._waiting = 0
        self._waiting_bytes = 0
        self._trouble = asyncio.Event()
        self._keeper: asyncio.Task[None] | None = None
        self._checking: asyncio.Task[None] | None = None
        self._pumps: set[asyncio.Task[None]] = set()

    # -- life --------------------------------------------------------------------------------

    async def start(self) -> None:
        """Return after the first attempt to reach Kafka; it goes on by itself if that failed."""
        tried = asyncio.Event()
        self._keeper = asyncio.create_task(self._keep(tried))
        await tried.wait()

    async def stop(self) -> None:
        """Send what was taken in, if that is quickly done, and take in nothing more."""
        if self._keeper is None:
            return
        ending = [task for task in (self._keeper, self._checking) if task is not None]
        self._keeper = self._checking = None
        for task in ending:
            task.cancel()
        await asyncio.gather(*ending, return_exceptions=True)
        self._health = AppenderHealth(is_ok=False, reason="The journal is stopping")
        if self._pumps:
            await asyncio.wait(self._pumps, timeout=self._settings.acknowledge_timeout_s)
        self._give_up_waiting("The hub is stopping")
        await self._end_producer()
        if self._pumps:
            await asyncio.wait(self._pumps)

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.stop()

    @property
    def health(self) -> AppenderHealth:
        return self._health

    # -- taking in ---------------------------------------------------------------------------

    async def append(self, uplink: Uplink) -> Appended:
        registration = self._check_open()
        record = record_of(uplink)
        self._check_room(record)
        partition = registration.kafka_partition_for(uplink.device_id)
        lane = self._lanes.get(partition)
        if lane is None:
            lane = self._lanes[partition] = Lane(partition)
        future: asyncio.Future[Appended] = asyncio.get_running_loop().create_future()
        self._waiting += 1
        self._waiting_bytes += record.size_bytes
        lane.queue.append(Append(record, uplink.message_id, future))
        if not lane.is_busy:
            lane.is_busy = True
            pump = asyncio.create_task(self._pump(lane))
            self._pumps.add(pump)
            pump.add_done_callback(self._pumps.discard)
        return await future

    @property
    def waiting(self) -> int:
        return self._waiting

    def _check_open(self) -> Registration:
        if not self._health.is_ok or self._registration is None:
            self._refuse("closed", self._health.reason or "Kafka cannot be reached")
        return self._registration

    def _check_room(self, record: Record) -> None:
        limits = self._settings.limits
        if (
            self._waiting >= limits.backlog_entries
            or self._waiting_bytes + record.size_bytes > limits.backlog_bytes
        ):
            self._refuse("backlog", "More messages wait for Kafka than the hub may hold")
        if len(record.value) + _RECORD_OVERHEAD_BYTES > self._largest_bytes:
            raise RowRefused("The message is longer than Kafka's topic takes.")

    def _refuse(self, reason: str, sentence: str) -> NoReturn:
        _log.debug(storage_events.JOURNAL_APPEND_REFUSE, reason=reason, backlog=self._waiting)
        raise self._full(sentence)

    def _full(self, sentence: str) -> HubFull:
        text = f"{sentence.rstrip('.')}: try again later."
        return HubFull(text, retry_after_s=self._settings.limits.retry_after_s)

    @property
    def obstacle(self) -> str | None:
        return None if self._health.is_ok else self._health.reason

    # -- sending -----------------------------------------------------------------------------

    async def _pump(self, lane: Lane) -> None:
        """Send what is queued, batch after batch, until nothing is."""
        loop = asyncio.get_running_loop()
        # What is appended in this turn of the loop goes along.
        await asyncio.sleep(0)
        while lane.queue and self._producer is not None and not self._is_broken:
            assert self._registration is not None, "a producer is opened for a topic"
            producer, topic = self._producer, self._registration.topic
            batch = producer.create_batch()
            lane.fill(batch, loop.time())
            try:
                delivery = await producer.send_batch(batch, topic, partition=lane.partition)
                first = (await delivery).offset
            except (KafkaError, AssertionError) as error:
                # The library asserts that it knows the partition.
                self._on_failed(lane, error)
            else:
                self._on_acknowledged(lane, first)
        for append in self._taken_off(lane.take_queued()):
            append.refuse(self._full("Kafka cannot be reached"))
        lane.is_busy = False

    def _on_acknowledged(self, lane: Lane, first: int) -> None:
        """`first` is the offset of the batch, or -1 when Kafka knows only that it has it."""
        sent = self._taken_off(lane.take_sent())
        registration = self._registration
        assert registration is not None, "it is set before anything is sent"
        if 0 <= first < self._floors.get(lane.partition, 0):
            self._on_offset_back(lane, first)
            _refuse_all(sent, StorageUnavailable("The journal was replaced: try again later."))
            return
        if first >= 0:
            self._floors[lane.partition] = first + len(sent)
        for number, append in enumerate(sent):
            known = first >= 0
            append.resolve(registration.position(lane.partition, first + number) if known else None)

    def _on_offset_back(self, lane: Lane, offset: int) -> None:
        assert self._registration is not None
        self._close(
            f"Partition {lane.partition} of {self._registration.topic} gave offset {offset}, but "
            f"had given {self._floors[lane.partition] - 1} before: the topic was made anew, or "
            f"Kafka has lost records. {WAY_OUT} goes on with it.",
            needs_person=True,
        )
        self._is_broken = True
        self._trouble.set()

    def _on_failed(self, lane: Lane, error: Exception) -> None:
        """The producer cannot go on: after a batch that was not stored its numbers do not fit."""
        sent = self._taken_off(lane.take_sent())
        _refuse_all(sent, StorageUnavailable("Kafka did not acknowledge it: try again later."))
        if not self._is_broken:
            self._is_broken = True
            self._trouble.set()
            _log.warning(
                events.JOURNAL_BATCH_FAIL,
                partition=lane.partition,
                count=len(sent),
                reason=repr(error),
            )
            self._close("Kafka refused a batch")

    def _taken_off(self, appends: list[Append]) -> list[Append]:
        self._waiting -= len(appends)
        self._waiting_bytes -= sum(append.record.size_bytes for append in appends)
        return appends

    # -- keeping the connection --------------------------------------------------------------

    async def _keep(self, tried: asyncio.Event) -> None:
        while True:
            try:
                await self._connect()
                self._open()
                tried.set()
                await self._watch()
            except JournalMismatch as error:
                self._close(str(error), needs_person=True)
            except (ConnectionLost, StorageUnavailable) as error:
                self._close(str(error))
            tried.set()
            await asyncio.sleep(_RETRY_S)

    async def _connect(self) -> None:
        """Check that all agrees, and have a producer whose earlier batches have all arrived."""
        registration = await read_registration(self._database)
        cursors = await read_cursors(self._database, registration.journal_partitions)
        async with cluster_view(self._settings) as view:
            seen = await check_topic(view, registration)
            # What was on its way may arrive, and be acknowledged, after the ends are told.
            before = dict(self._floors)
            reaches = await view.reach(seen, range(seen.partitions))
            check_settled(registration, cursors, reaches)
            self._largest_bytes = await view.largest_batch_bytes(registration.topic)
        if self._is_broken or registration != self._registration:
            await self._end_producer()
        if registration != self._registration:
            self._registration, self._floors, before = registration, {}, {}
        self._set_floors(before, reaches)
        if self._producer is None:
            self._producer = await open_producer(self._settings, registration.topic)
        self._is_broken = False
        if late := [lane for lane in self._lanes.values() if lane.sent_at is not None]:
            raise ConnectionLost(
                f"Kafka answers, but has not acknowledged what was sent ({len(late)} partitions)."
            )

    def _set_floors(self, before: Mapping[int, int], reaches: Mapping[int, Reach]) -> None:
        """What Kafka has lost stays lost; it is told, and what comes is compared with what is there."""
        for partition, reach in reaches.items():
            lost = before.get(partition, 0) - reach.end
            if lost > 0:
                _log.error(events.JOURNAL_RECORDS_LOST, partition=partition, count=lost)
                self._floors[partition] = reach.end
            else:
                self._floors[partition] = max(self._floors.get(partition, 0), reach.end)

    async def _watch(self) -> None:
        """Return never; raise when something is wrong."""
        loop = asyncio.get_running_loop()
        check_at = loop.time() + _CHECK_S
        self._trouble.clear()
        while not self._is_broken:
            with suppress(TimeoutError):
                async with asyncio.timeout(_WATCH_S):
                    await self._trouble.wait()
            self._check_acknowledged(loop.time())
            if self._checking is None and loop.time() >= check_at:
                check_at = loop.time() + _CHECK_S
                self._checking = asyncio.create_task(self._check_topic())
            elif self._checking is not None and self._checking.done():
                checked, self._checking = self._checking, None
                checked.result()
        if self._health.needs_person:
            raise JournalMismatch(self._health.reason or "")
        raise ConnectionLost("Kafka refused a batch")

    def _check_acknowledged(self, now: float) -> None:
        longest_s = self._settings.acknowledge_timeout_s
        for lane in self._lanes.values():
            if lane.sent_at is not None and now - lane.sent_at > longest_s:
                raise ConnectionLost(f"Kafka has not acknowledged anything for {longest_s:g} s")

    async def _check_topic(self) -> None:
        """A silent broker keeps this waiting, and is noticed by what it does not acknowledge."""
        assert self._registration is not None
        try:
            async with cluster_view(self._settings) as view:
                await check_topic(view, self._registration)
        except ConnectionLost as error:
            _log.debug(events.KAFKA_LIBRARY_REPORT, text=str(error))

    def _open(self) -> None:
        if self._health.since is not None:
            _log.info(events.KAFKA_CONNECTION_RECOVER, since=self._health.since.isoformat())
        self._health = AppenderHealth(is_ok=True)

    def _close(self, reason: str, *, needs_person: bool = False) -> None:
        if (
            self._health.is_ok
            or self._health.needs_person != needs_person
            or not self._health.since
        ):
            if needs_person:
                _log.error(events.JOURNAL_TOPIC_MISMATCH, reason=reason)
            else:
                _log.warning(events.KAFKA_CONNECTION_LOSE, reason=reason)
        self._health = AppenderHealth(
            is_ok=False,
            reason=reason,
            needs_person=needs_person,
            since=self._health.since or self._now(),
        )
        self._give_up_waiting(reason)

    def _give_up_waiting(self, reason: str) -> None:
        """Answer every caller. What is on its way stays counted: it still takes its room."""
        for lane in self._lanes.values():
            _refuse_all(lane.sent, StorageUnavailable(f"{reason.rstrip('.')}: try again later."))
            _refuse_all(self._taken_off(lane.take_queued()), self._full(reason))

    async def _end_producer(self) -> None:
        producer, self._producer = self._producer, None
        self._is_broken = True
        if producer is not None:
            await end_producer(producer)


def _refuse_all(appends: list[Append], error: TingbroError) -> None:
    for append in appends:
        append.refuse(error)
