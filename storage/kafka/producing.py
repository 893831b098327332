"""Opening and ending a producer, also while no broker answers."""

import asyncio
import itertools
from typing import Final

import structlog
from aiokafka import AIOKafkaProducer
from aiokafka.errors import KafkaError

from protocols.errors import ConnectionLost
from protocols.kafka_library_log import quieten_library
from storage.kafka import events
from storage.kafka.settings import KafkaSettings
from storage.kafka.whole import whole

BATCH_BYTES: Final = 512 * 1024
"""How much of one partition goes to the broker at once. What waits meanwhile makes the next batch."""

_START_TIMEOUT_S: Final = 5.0

_log = structlog.get_logger(__name__)


async def open_producer(settings: KafkaSettings, topic: str) -> AIOKafkaProducer:
    """Return a started producer that knows the topic, which must exist.

    It acknowledges when all replicas in sync have a record, and keeps records once and in
    order over its own retries, which it never gives up.

    Raises:
        ConnectionLost: no broker answers.
    """
    quieten_library()
    producer = AIOKafkaProducer(
        bootstrap_servers=settings.bootstrap_servers,
        **settings.connection,
        client_id="tingbro",
        acks="all",
        enable_idempotence=True,
        max_batch_size=BATCH_BYTES,
        request_timeout_ms=int(settings.acknowledge_timeout_s * 1_000),
        metadata_max_age_ms=30_000,
    )
    try:
        # What the producer's own start does. Its second half waits for ever while no broker answers, its
        # first half must not be cancelled.
        await whole(producer.client.bootstrap())
        async with asyncio.timeout(_START_TIMEOUT_S):
            await producer._sender.start()
            _take_over(producer)
            await producer.partitions_for(topic)
    except (KafkaError, OSError, TimeoutError) as error:
        await end_producer(producer)
        raise ConnectionLost(f"Kafka takes nothing at present: {error!r}.") from error
    except asyncio.CancelledError:
        await end_producer(producer)
        raise
    return producer


def _take_over(producer: AIOKafkaProducer) -> None:
    """See to what is to be done when the sender ends by an error of its own.

    The library fails the batches, and then trips over a transaction that an idempotent producer has not.
    """
    sender, accumulator = producer._sender, producer._message_accumulator

    def fail_batches(ended: "asyncio.Task[None]") -> None:
        if not ended.cancelled() and (error := ended.exception()) is not None:
            accumulator.fail_all(error)

    sender.sender_task.remove_done_callback(sender._fail_all)
    sender.sender_task.add_done_callback(fail_batches)


async def end_producer(producer: AIOKafkaProducer) -> None:
    """Stop the producer at once; what it has not delivered fails for whoever waits for it."""
    # There is no public way: stopping waits until everything is delivered, for ever.
    accumulator = producer._message_accumulator
    for batch in itertools.chain(*accumulator._batches.values(), accumulator._pending_batches):
        # Else it is told that nobody has looked.
        batch.future.add_done_callback(_look_at)
        batch._drain_waiter.add_done_callback(_look_at)
    accumulator.fail_all(KafkaError("The producer was ended."))
    try:
        await producer.stop()
    except (KafkaError, KeyError) as error:
        # What ended its sender comes out here, after everything was closed but the connections.
        _log.debug(events.KAFKA_LIBRARY_REPORT, text=repr(error))
        await producer.client.close()


def _look_at(done: "asyncio.Future[None]") -> None:
    if not done.cancelled():
        done.exception()
