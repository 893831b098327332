"""One membership in the consumer group, from joining to leaving.

Kafka decides who has which partitions, the database from where they are read and who may settle
them. Every change of the group takes all partitions from everybody first (the eager protocol): what
is on its way is settled while the others wait, then the claims are given up, then the partitions
come anew. A member that was thought dead and goes on finds its claims taken.

What was read is held in memory until its partition's cursor has passed it. A partition of which much
is held is paused, and goes on when half of it is settled.

aiokafka swallows whatever its callbacks raise, so they note it and `run` raises it.
"""

import asyncio
from collections.abc import Mapping, Sequence
from contextlib import suppress
from datetime import UTC, datetime
from typing import Final

import structlog
from aiokafka import ConsumerRecord, TopicPartition
from aiokafka.abc import ConsumerRebalanceListener
from aiokafka.errors import KafkaError, OffsetOutOfRangeError
from aiokafka.structs import OffsetAndMetadata

from protocols.errors import ConnectionLost, StorageUnavailable
from storage import events as storage_events
from storage.cursor_claims import Claim, CursorClaims
from storage.database import Database
from storage.journal import JournalListener
from storage.kafka.agreement import check_reach, check_readable
from storage.kafka.cluster import Reach, cluster_view
from storage.kafka.consuming import consumer_for, end_consumer
from storage.kafka.held import HeldPartition
from storage.kafka.reading import read_records
from storage.kafka.registration import Registration, next_offset, read_registration
from storage.kafka.settings import KafkaSettings
from storage.kafka.unreadable import Unreadable, keep_unreadable
from storage.kafka.whole import whole

_POLL_MS: Final = 200
_POLL_RECORDS: Final = 1_000
_WATCH_S: Final = 2.0
# A broker may be started again meanwhile. Longer, and what this process holds is no use to it.
_PATIENCE_S: Final = 15.0
# Its partitions wait for it, and others may be able to write: it joins again when it can.
_UNWRITABLE_S: Final = 8.0
# Below the session's timeout: while claims are taken no heartbeats are sent.
_CLAIM_S: Final = 4.0
_GIVE_UP_S: Final = 1.0

_log = structlog.get_logger(__name__)


class Membership(ConsumerRebalanceListener):  # type: ignore[misc]  # the library has no types
    """Made for one `run`. The claims are its own while that lasts."""

    def __init__(
        self,
        *,
        database: Database,
        settings: KafkaSettings,
        registration: Registration,
        claims: CursorClaims,
        listener: JournalListener,
    ) -> None:
        self._database = database
        self._settings = settings
        self._registration = registration
        self._claims = claims
        self._listener = listener
        self._consumer = consumer_for(settings)
        self._failure: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._is_leaving = False
        self._changing = asyncio.Lock()
        self._reading: asyncio.Task[None] | None = None
        self.is_assigned = False
        self.held: dict[int, HeldPartition] = {}
        """By the journal's partitions. Another mapping after every change of the group."""

    async def run(self) -> None:
        """Raises ConnectionLost, StorageUnavailable or JournalMismatch; see `JournalReader.run`."""
        watch: asyncio.Task[None] | None = None
        try:
            await self._join()
            watch = asyncio.create_task(self._watch())
            await asyncio.wait((watch, self._failure), return_when=asyncio.FIRST_COMPLETED)
            ended = self._failure if self._failure.done() else watch
            if ended.cancelled():
                raise ConnectionLost("Kafka could not be watched.")
            ended.result()
        finally:
            await self._leave(watch)

    def fail(self, error: BaseException) -> None:
        """Have `run` end with this error, once everything is given up."""
        if not self._failure.done():
            self._failure.set_exception(error)

    async def _join(self) -> None:
        try:
            self._consumer.subscribe([self._registration.topic], listener=self)
            await whole(self._consumer.start())
        except (KafkaError, OSError, TimeoutError) as error:
            raise ConnectionLost(f"Kafka cannot be reached: {error!r}.") from error

    async def _leave(self, watch: asyncio.Task[None] | None) -> None:
        """Heartbeats go on until what was taken is settled."""
        self._is_leaving = True
        if watch is not None:
            watch.cancel()
            await asyncio.wait((watch,))
        try:
            await self._give_up()
            await self._let_go()
        finally:
            if self._failure.done():
                self._failure.exception()  # it was raised, or something else was
            await end_consumer(self._consumer)

    # -- changes of the group: called by the library -----------------------------------------

    async def on_partitions_revoked(self, _revoked: set[TopicPartition]) -> None:
        try:
            await self._give_up()
        except Exception as error:
            self.fail(error)

    async def on_partitions_assigned(self, assigned: set[TopicPartition]) -> None:
        try:
            async with self._changing, asyncio.timeout(_CLAIM_S):
                if not self._is_leaving:
                    await self._take(assigned)
        except TimeoutError:
            self.fail(StorageUnavailable("The partitions could not be claimed in time."))
        except KafkaError as error:
            self.fail(ConnectionLost(f"Kafka does not answer: {error!r}."))
        except Exception as error:
            self.fail(error)

    async def _take(self, assigned: set[TopicPartition]) -> None:
        ours = [one for one in assigned if one.partition < self._registration.partitions]
        for surplus in assigned.difference(ours):
            # The topic grew and nobody has accepted that yet: nothing writes there.
            self._consumer.seek(surplus, 0)
            self._consumer.pause(surplus)
        claims = await self._claim(ours)
        ends = await self._seek(ours, claims)
        self.held = {
            partition: HeldPartition(claim.position, ends[partition])
            for partition, claim in claims.items()
        }
        self.is_assigned = True
        self._listener.assigned(
            {partition: claim.position for partition, claim in claims.items()},
            crashes=max((claim.crashes for claim in claims.values()), default=0),
        )
        if ours:
            self._reading = asyncio.create_task(self._read())
            self._reading.add_done_callback(self._on_read_ended)

    async def _claim(self, assigned: Sequence[TopicPartition]) -> Mapping[int, Claim]:
        wanted = [self._registration.journal_partition(one.partition) for one in assigned]
        try:
            return await self._claims.take(wanted)
        except KeyError as error:
            # Somebody has accepted another topic since this process read which it is.
            raise ConnectionLost("The journal's topic was replaced.") from error

    async def _seek(
        self, assigned: Sequence[TopicPartition], claims: Mapping[int, Claim]
    ) -> dict[int, int]:
        """Go to the cursors; return the ends of the partitions, by the journal's numbers."""
        beginnings = await self._consumer.beginning_offsets(assigned)
        ends = await self._consumer.end_offsets(assigned)
        await check_reach(
            self._database,
            self._registration,
            {partition: claim.position for partition, claim in claims.items()},
            {one.partition: Reach(beginnings[one], ends[one]) for one in assigned},
        )
        for one in assigned:
            cursor = claims[self._registration.journal_partition(one.partition)].position
            # What stood between was unreadable.
            self._consumer.seek(one, max(next_offset(cursor), beginnings[one]))
        return {self._registration.journal_partition(one.partition): ends[one] for one in assigned}

    async def _give_up(self) -> None:
        """Hand nothing more out; when the listener has settled what it took, let go of the claims."""
        async with self._changing:
            if not self.is_assigned:
                return
            self.is_assigned = False
            await self._stop_reading()
            try:
                await self._listener.revoked()
            finally:
                self.held = {}
                await self._let_go()

    async def _stop_reading(self) -> None:
        """Asked across a change, the library would answer before this member has chosen an offset."""
        reading, self._reading = self._reading, None
        if reading is not None:
            reading.cancel()
            await asyncio.wait((reading,))

    async def _let_go(self) -> None:
        try:
            async with asyncio.timeout(_GIVE_UP_S):
                await self._claims.give_up()
        except (TimeoutError, StorageUnavailable):
            # Whoever claims them next only takes the first messages more carefully.
            _log.warning(storage_events.JOURNAL_GIVE_UP_FAIL)

    # -- reading -----------------------------------------------------------------------------

    async def _read(self) -> None:
        """Hand out what comes, until it is cancelled because the partitions are given up."""
        while True:
            try:
                fetched = await self._consumer.getmany(
                    *self._topic_partitions(), timeout_ms=_POLL_MS, max_records=_POLL_RECORDS
                )
            except OffsetOutOfRangeError:
                await self._explain_out_of_range()
            except KafkaError as error:
                raise ConnectionLost(f"Kafka cannot be read: {error!r}.") from error
            else:
                await self._take_in(fetched)
                self.pause_or_resume()

    def _on_read_ended(self, reading: asyncio.Task[None]) -> None:
        if reading is not self._reading:
            return  # it was stopped
        error = None if reading.cancelled() else reading.exception()
        self.fail(error or ConnectionLost("Kafka could not be read any more."))

    def _topic_partitions(self) -> list[TopicPartition]:
        """In the order of what is held."""
        topic, kafka_partition = self._registration.topic, self._registration.kafka_partition
        return [TopicPartition(topic, kafka_partition(partition)) for partition in self.held]

    async def _take_in(self, fetched: Mapping[TopicPartition, Sequence[ConsumerRecord]]) -> None:
        unreadable: list[Unreadable] = []
        entries = {
            one: read_records(self._registration, records, unreadable)
            for one, records in fetched.items()
        }
        if unreadable:
            await keep_unreadable(self._database, unreadable, seen_at=datetime.now(UTC))
        for one, records in fetched.items():
            partition = self.held[self._registration.journal_partition(one.partition)]
            partition.add(entries[one], read_up_to=records[-1].offset + 1)
        if together := [entry for read in entries.values() for entry in read]:
            self._listener.appended(together)

    async def _explain_out_of_range(self) -> None:
        """What was to be read next is not there: raise why."""
        cursors = {partition: held.cursor for partition, held in self.held.items()}
        async with cluster_view(self._settings) as view:
            seen = await check_readable(view, self._registration)
            reaches = await view.reach(seen, range(self._registration.partitions))
        await check_reach(self._database, self._registration, cursors, reaches)
        raise ConnectionLost("Kafka has deleted records while they were being read.")

    def pause_or_resume(self) -> None:
        """Each partition has its share of the room, so that a stuck one leaves the others theirs."""
        if not self.held or not self.is_assigned:
            return
        entries = self._settings.held_entries // len(self.held)
        size_bytes = self._settings.held_bytes // len(self.held)
        paused = self._consumer.paused()
        for one, held in zip(self._topic_partitions(), self.held.values(), strict=True):
            if one not in paused:
                if len(held) >= entries or held.size_bytes >= size_bytes:
                    self._consumer.pause(one)
            elif len(held) <= entries // 2 and held.size_bytes <= size_bytes // 2:
                self._consumer.resume(one)

    # -- watching ----------------------------------------------------------------------------

    async def _watch(self) -> None:
        """Notice what the library would keep to itself: a topic that is another, a long silence."""
        loop = asyncio.get_running_loop()
        heard_at = loop.time()
        while True:
            await asyncio.sleep(_WATCH_S)
            self._check_writable()
            try:
                async with asyncio.timeout(_PATIENCE_S / 2):
                    await self._look()
                    heard_at = loop.time()
                    await self._tell_progress()
            except (ConnectionLost, KafkaError, TimeoutError) as error:
                if loop.time() - heard_at > _PATIENCE_S:
                    raise ConnectionLost(
                        f"Kafka has not answered for {_PATIENCE_S:g} s."
                    ) from error

    def _check_writable(self) -> None:
        health = self._database.health()
        if health.is_ok or health.since is None:
            return
        away_s = (datetime.now(UTC) - health.since).total_seconds()
        if away_s > _UNWRITABLE_S:
            raise StorageUnavailable(
                f"The database cannot be written for {away_s:.0f} s: others go on with the journal."
            )

    async def _look(self) -> None:
        async with cluster_view(self._settings) as view:
            await check_readable(view, self._registration)
        with suppress(StorageUnavailable):  # whoever writes finds out
            if await read_registration(self._database) != self._registration:
                self.fail(ConnectionLost("The journal's topic was replaced."))

    async def _tell_progress(self) -> None:
        """Ask how far the topic reaches, and tell the group how far this member is, for others' tools."""
        held, partitions = self.held, self._topic_partitions()
        if not partitions:
            return
        ends = await self._consumer.end_offsets(partitions)
        for one, partition in zip(partitions, held.values(), strict=True):
            partition.end = max(partition.end, ends[one])
        offsets = {
            one: OffsetAndMetadata(next_offset(partition.cursor), "")
            for one, partition in zip(partitions, held.values(), strict=True)
        }
        if self.held is held and self.is_assigned:
            with suppress(KafkaError):  # the group is changing: nobody relies on it
                await self._consumer.commit(offsets)
