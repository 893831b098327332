"""The consumer with which a worker takes part in the group, and ending it."""

import asyncio
from typing import Final

import structlog
from aiokafka import AIOKafkaConsumer
from aiokafka.coordinator.assignors.range import RangePartitionAssignor
from aiokafka.errors import KafkaError

from storage.kafka import events
from storage.kafka.library_log import quieten_library
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
    """Leave the group, so that the others need not wait for the session to end, and disconnect."""
    try:
        async with asyncio.timeout(_STOP_TIMEOUT_S):
            await consumer.stop()
    except (KafkaError, TimeoutError) as error:
        _log.warning(events.KAFKA_LIBRARY_REPORT, text=repr(error))
