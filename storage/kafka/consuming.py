"""The consumer with which a worker takes part in the group, and ending it."""

import asyncio
from typing import Final

import structlog
from aiokafka import AIOKafkaConsumer
from aiokafka.coordinator.assignors.range import RangePartitionAssignor

from protocols.kafka_library_log import quieten_library
from storage.kafka import events
from storage.kafka.settings import KafkaSettings

# Longer than the coordinator keeps a member waiting for the others.
_REQUEST_TIMEOUT_S: Final = 10.0
_STOP_TIMEOUT_S: Final = 15.0
_FETCH_BYTES: Final = 1024 * 1024

_log = structlog.get_logger(__name__)


def consumer_for(settings: KafkaSettings) -> AIOKafkaConsumer:
    """Return a consumer that is not started and has no topic.

    It never chooses an offset by itself and commits none: those are in the database. The
    assignor keeps no state, since aiokafka's sticky one shares it among all members of a process.
    """
    quieten_library()
    return AIOKafkaConsumer(
        bootstrap_servers=settings.bootstrap_servers,
        **settings.connection,
        client_id="tingbro",
        group_id=settings.group,
        enable_auto_commit=False,
        auto_offset_reset="none",
        session_timeout_ms=int(settings.session_timeout_s * 1_000),
        heartbeat_interval_ms=int(settings.heartbeat_s * 1_000),
        rebalance_timeout_ms=int(settings.session_timeout_s * 1_000),
        request_timeout_ms=int(_REQUEST_TIMEOUT_S * 1_000),
        metadata_max_age_ms=30_000,
        max_partition_fetch_bytes=_FETCH_BYTES,
        partition_assignment_strategy=(RangePartitionAssignor,),
    )


async def end_consumer(consumer: AIOKafkaConsumer) -> None:
    """Leave the group, so that the others need not wait for the session to end, and disconnect.

    While no broker answers, aiokafka's own way to stop is ended by the cancellation of a task of
    its own. In a task, that is not taken for ours.
    """
    stopping = asyncio.ensure_future(consumer.stop())
    try:
        await asyncio.wait((stopping,), timeout=_STOP_TIMEOUT_S)
    finally:
        stopping.cancel()
        await asyncio.wait((stopping,))
        if stopping.cancelled() or stopping.exception() is not None:
            await _disconnect(consumer)


async def _disconnect(consumer: AIOKafkaConsumer) -> None:
    """What `stop` would have done after the point at which it ended."""
    _log.debug(events.KAFKA_CONSUMER_ABANDON)
    if consumer._fetcher is not None:
        for task in consumer._fetcher._pending_tasks:
            task.cancel()
        if consumer._fetcher._pending_tasks:
            await asyncio.wait(consumer._fetcher._pending_tasks)
    await consumer._client.close()
