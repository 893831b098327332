"""Writing records to a topic: one request at a time for each broker, and what became of every record."""

import asyncio
import random
from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

from aiokafka.errors import KafkaError, LeaderNotAvailableError, NoError
from aiokafka.partitioner import murmur2
from aiokafka.protocol.produce import ProduceRequest
from aiokafka.record.default_records import DefaultRecordBatchBuilder

from protocols.errors import DeliveryError, DeliveryFault
from protocols.targets.kafka_wire.answers import (
    MOVED,
    TOO_LARGE,
    error_of_code,
    error_of_exception,
    no_answer,
    not_connected,
)
from protocols.targets.kafka_wire.cluster import Cluster, Topic, TopicRefused
from protocols.targets.kafka_wire.connection import BrokerConnection, UnacceptableAnswer

BATCH_BYTES: Final = 512 * 1024
"""How much of one partition goes into one request. Topics take 1 MiB unless they are told otherwise."""

REQUEST_BYTES: Final = 8 * 1024 * 1024
"""When a request has grown to this, further partitions wait for the next. Brokers take 100 MiB."""

# Partitions change their broker whenever one is restarted; it takes them some hundred milliseconds.
_MOVE_WAITS_S: Final = (0.1, 0.2, 0.4, 0.8)
_ALL_IN_SYNC: Final = -1
_MAGIC: Final = 2
# All there is of a producer that is not idempotent.
_NO_PRODUCER: Final = {"producer_id": -1, "producer_epoch": -1, "base_sequence": 0}


@dataclass(frozen=True, slots=True)
class Record:
    key: bytes | None
    value: bytes
    headers: list[tuple[str, bytes]]
    timestamp_ms: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Written:
    """Where the record stands, on all replicas in sync."""

    partition: int
    offset: int
    address: str


Fate = Written | DeliveryError
_Queues = dict[int, deque[int]]
"""For each partition the places of the records that are still to be written, in their order."""


class RecordWriter:
    """Any number of `write`s may be under way."""

    def __init__(self, cluster: Cluster, topic: str, timeout_s: float) -> None:
        self._cluster = cluster
        self._name = topic
        self._timeout_s = timeout_s
        self._batch_bytes = BATCH_BYTES

    async def write(self, records: Sequence[Record], fates: list[Fate]) -> None:
        """Write them, and note in `fates`, which is empty, what is known of each at any moment.

        What is known is also true when this is cancelled: a record is not acknowledged until it is.
        """
        fates.extend(not_connected(self._timeout_s) for _ in records)
        work = _Work(records, fates)
        moved = await self._round(work, range(len(records)))
        # Nothing of these was written anywhere. That is no failed attempt, but a question of where to.
        for wait_s in _MOVE_WAITS_S:
            if not moved:
                return
            await asyncio.sleep(wait_s)
            self._cluster.look_again()
            moved = await self._round(work, moved)

    async def _round(self, work: "_Work", places: Sequence[int]) -> list[int]:
        """Return those whose partition is led by another broker by now."""
        work.moved = []
        try:
            topic = await self._cluster.topic()
        except (KafkaError, OSError, TopicRefused, DeliveryError) as error:
            work.note(places, _error_of(error))
            return []
        sending = []
        for node, queues in _by_leader(topic, work.records, places).items():
            if node is None:
                for queue in queues.values():
                    work.settle(list(queue), LeaderNotAvailableError.errno)
            else:
                sending.append(self._hand_over(work, topic, node, queues))
        await asyncio.gather(*sending)
        return sorted(work.moved)

    async def _hand_over(self, work: "_Work", topic: Topic, node: int, queues: _Queues) -> None:
        """Write everything that one broker leads."""
        waiting = {place for queue in queues.values() for place in queue}
        try:
            connection = await self._cluster.connection(topic, node)
        except (KafkaError, OSError, DeliveryError) as error:
            self._cluster.look_again()
            failure = _error_of(error)
            work.note(waiting, failure)
            if failure.fault is DeliveryFault.CONNECTION:
                # It is away, and another will lead what it led; if none does, the next look fails.
                work.moved += waiting
            return
        try:
            await self._write_all(work, connection, queues, waiting)
        except (KafkaError, OSError) as error:
            self._cluster.look_again()
            work.note(waiting, error_of_exception(error))

    async def _write_all(
        self, work: "_Work", connection: BrokerConnection, queues: _Queues, waiting: set[int]
    ) -> None:
        """Take what a broker has answered for out of `waiting`."""
        while any(queues.values()):
            batches = self._batches(queues, work.records)
            for _, places in batches.values():
                work.note(places, no_answer(self._timeout_s))
            answer = await self._cluster.ask(connection, self._request(batches))
            for partition, (error_code, offset) in _codes(answer, batches).items():
                data, places = batches[partition]
                if error_code in TOO_LARGE and len(places) > 1:
                    self._batch_bytes = min(self._batch_bytes, len(data) // 2)
                    queues[partition].extendleft(reversed(places))
                    continue
                waiting.difference_update(places)
                first = Written(partition=partition, offset=offset, address=connection.address)
                work.settle(places, error_code, first)

    def _batches(
        self, queues: _Queues, records: Sequence[Record]
    ) -> dict[int, tuple[bytes, list[int]]]:
        """Take the next from each queue, up to what fits into a request."""
        batches: dict[int, tuple[bytes, list[int]]] = {}
        size_bytes = 0
        for partition, queue in queues.items():
            if not queue:
                continue
            if size_bytes >= REQUEST_BYTES:
                break
            batches[partition] = self._batch(queue, records)
            size_bytes += len(batches[partition][0])
        return batches

    def _batch(self, queue: deque[int], records: Sequence[Record]) -> tuple[bytes, list[int]]:
        """Take as many as fit, and one at least."""
        builder = DefaultRecordBatchBuilder(
            magic=_MAGIC,
            compression_type=0,
            is_transactional=0,
            batch_size=self._batch_bytes,
            **_NO_PRODUCER,
        )
        places: list[int] = []
        while queue:
            one = records[queue[0]]
            added = builder.append(
                len(places), one.timestamp_ms, one.key, one.value, list(one.headers)
            )
            if added is None:
                break
            places.append(queue.popleft())
        return bytes(builder.build()), places

    def _request(self, batches: Mapping[int, tuple[bytes, list[int]]]) -> ProduceRequest:
        data = [(partition, data) for partition, (data, _) in batches.items()]
        return ProduceRequest(
            transactional_id=None,
            required_acks=_ALL_IN_SYNC,
            timeout=int(self._timeout_s * 1_000),
            topics=[(self._name, data)],
        )


def _by_leader(
    topic: Topic, records: Sequence[Record], places: Iterable[int]
) -> dict[int | None, _Queues]:
    """Sort the records by who leads their partition, which their keys decide as in any client of Kafka."""
    led = [partition for partition, leader in topic.leaders.items() if leader is not None]
    anywhere = random.choice(led) if led else 0
    by_leader: dict[int | None, _Queues] = {}
    for place in places:
        key = records[place].key
        partition = anywhere if key is None else (murmur2(key) & 0x7FFFFFFF) % len(topic.leaders)
        queues = by_leader.setdefault(topic.leaders[partition], {})
        queues.setdefault(partition, deque()).append(place)
    return by_leader


def _codes(answer: Any, batches: Mapping[int, object]) -> dict[int, tuple[int, int]]:
    """Return code and first offset for each of the partitions that were written to.

    Raises:
        UnacceptableAnswer: not all of them are answered.
    """
    codes = {
        partition: (error_code, offset)
        for _, partitions in answer.topics
        for partition, error_code, offset, *_ in partitions
        if partition in batches
    }
    if codes.keys() != batches.keys():
        raise UnacceptableAnswer("Not every partition is answered.")
    return codes


class _Work:
    """The records of one call, and what is known of them. A *place* is an index of both."""

    def __init__(self, records: Sequence[Record], fates: list[Fate]) -> None:
        self.records = records
        self.moved: list[int] = []
        """Written nowhere: another broker leads them by now."""
        self._fates = fates

    def note(self, places: Iterable[int], error: DeliveryError) -> None:
        for place in places:
            self._fates[place] = error

    def settle(self, places: Sequence[int], error_code: int, first: Written | None = None) -> None:
        """Note what a broker has said of these, the first of which stands at `first` if it took them."""
        if error_code == NoError.errno and first is not None:
            for number, place in enumerate(places):
                self._fates[place] = replace(first, offset=first.offset + number)
            return
        self.note(places, error_of_code(error_code))
        if error_code in MOVED:
            self.moved += places


def _error_of(error: KafkaError | OSError | TopicRefused | DeliveryError) -> DeliveryError:
    return error if isinstance(error, DeliveryError) else error_of_exception(error)
