"""One short look at the cluster: which topics it has, and how far their partitions reach."""

import asyncio
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any, Final
from uuid import UUID

from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType
from aiokafka.errors import (
    KafkaError,
    NoError,
    TopicAlreadyExistsError,
    UnknownTopicOrPartitionError,
    for_code,
)
from aiokafka.protocol.offset import OffsetRequest

from protocols.errors import ConnectionLost, InvalidSettings
from protocols.kafka_library_log import quieten_library
from storage.kafka._metadata import TopicIdRequest
from storage.kafka.settings import KafkaSettings
from storage.kafka.whole import whole

REQUEST_TIMEOUT_S: Final = 5.0

MISSING_AFTER_S: Final = 1.0
"""A topic that none has heard of for so long is not there."""

_RETRY_S: Final = 0.1
_EARLIEST: Final = -2
_LATEST: Final = -1


@dataclass(frozen=True, slots=True, kw_only=True)
class SeenTopic:
    """A topic as the cluster has it now."""

    name: str
    topic_id: str
    cluster_id: str
    partitions: int
    leaders: Mapping[int, int]
    """The node that leads a partition; those without a leader are missing."""


@dataclass(frozen=True, slots=True)
class Reach:
    """Which offsets a partition has: `beginning` is the first there is, `end` the next to be given."""

    beginning: int
    end: int


@dataclass(frozen=True, slots=True, kw_only=True)
class WantedTopic:
    """A topic to be made."""

    name: str
    partitions: int
    replication: int
    options: Mapping[str, str]


class ClusterView:
    """An open connection; made by `cluster_view`. Every method raises ConnectionLost."""

    def __init__(self, admin: AIOKafkaAdminClient) -> None:
        self._admin = admin

    async def topic(self, name: str, *, patience_s: float = 0.0) -> SeenTopic | None:
        """Return the topic, or None when there is none of this name for so long.

        The broker that is asked may not have heard of it yet, which only matters to who would
        otherwise draw conclusions.
        """
        until = asyncio.get_running_loop().time() + patience_s
        while True:
            seen = await self._topic(name)
            if seen is not None or asyncio.get_running_loop().time() >= until:
                return seen
            await asyncio.sleep(_RETRY_S)

    async def _topic(self, name: str) -> SeenTopic | None:
        answer = await self._ask(TopicIdRequest([name]))
        error_code, _, topic_id, _, partitions, *_ = answer.topics[0]
        error = for_code(error_code)
        if error is UnknownTopicOrPartitionError:
            return None
        if error is not NoError:
            raise ConnectionLost(f"Kafka does not describe the topic {name}: {error.message}.")
        return SeenTopic(
            name=name,
            topic_id=str(UUID(bytes=topic_id)),
            cluster_id=answer.cluster_id,
            partitions=len(partitions),
            leaders={one[1]: one[2] for one in partitions if one[2] >= 0},
        )

    async def reach(self, topic: SeenTopic, partitions: Iterable[int]) -> dict[int, Reach]:
        """Return how far these partitions reach; waits a while for leaders that are being chosen."""
        wanted = list(partitions)
        try:
            async with asyncio.timeout(REQUEST_TIMEOUT_S):
                while True:
                    earliest = await self._offsets(topic, wanted, _EARLIEST)
                    latest = await self._offsets(topic, wanted, _LATEST)
                    if len(earliest) == len(latest) == len(wanted):
                        return {one: Reach(earliest[one], latest[one]) for one in wanted}
                    await asyncio.sleep(_RETRY_S)
                    topic = await self.topic(topic.name) or topic
        except TimeoutError as error:
            raise ConnectionLost(f"Kafka does not say how far {topic.name} reaches.") from error

    async def largest_batch_bytes(self, name: str) -> int:
        """Return how long a batch of records, which may be a single one, the topic takes."""
        resource = ConfigResource(ConfigResourceType.TOPIC, name, {"max.message.bytes": None})
        try:
            answers = await self._admin.describe_configs([resource])
        except (KafkaError, TimeoutError) as error:
            raise ConnectionLost(f"Kafka does not describe the topic {name}: {error}.") from error
        for _, _, _, _, options in answers[0].resources:
            for option, value, *_ in options:
                if option == "max.message.bytes":
                    return int(value)
        raise ConnectionLost(f"Kafka does not say how long the records of {name} may be.")

    async def create(self, wanted: WantedTopic) -> bool:
        """Make the topic; return whether it was this call that did.

        Raises:
            InvalidSettings: the cluster refuses to have it like this.
        """
        new = NewTopic(
            wanted.name,
            wanted.partitions,
            wanted.replication,
            topic_configs=dict(wanted.options),
        )
        try:
            answer = await self._admin.create_topics([new])
        except (KafkaError, TimeoutError) as error:
            raise ConnectionLost(f"Kafka did not make the topic {wanted.name}: {error}.") from error
        _, error_code, reason, *_ = answer.topic_errors[0]
        error_type = for_code(error_code)
        if error_type is NoError:
            return True
        if error_type is TopicAlreadyExistsError:
            return False
        if error_type.retriable:
            raise ConnectionLost(f"Kafka did not make the topic {wanted.name}: {reason}.")
        raise InvalidSettings([f"Kafka refuses to make the topic {wanted.name}: {reason}"])

    async def _offsets(
        self, topic: SeenTopic, partitions: Sequence[int], which: int
    ) -> dict[int, int]:
        """Those of the partitions whose leaders answer."""
        by_node: dict[int, list[tuple[int, int]]] = {}
        for partition in partitions:
            leader = topic.leaders.get(partition)
            if leader is not None:
                by_node.setdefault(leader, []).append((partition, which))
        offsets: dict[int, int] = {}
        for node, asked in by_node.items():
            answer = await self._ask(OffsetRequest(-1, 0, [(topic.name, asked)]), node)
            offsets |= {
                partition: offset
                for partition, error_code, _, offset, *_ in answer.topics[0][1]
                if for_code(error_code) is NoError
            }
        return offsets

    async def _ask(self, request: Any, node: int | None = None) -> Any:
        client = self._admin._client
        try:
            return await client.send(client.get_random_node() if node is None else node, request)
        except (KafkaError, TimeoutError) as error:
            raise ConnectionLost(f"Kafka does not answer: {error}.") from error
        except NotImplementedError as error:
            raise ConnectionLost("This Kafka is older than 3.0, which is not supported.") from error


@asynccontextmanager
async def cluster_view(settings: KafkaSettings) -> AsyncIterator[ClusterView]:
    """Connect for as long as the block takes.

    Raises:
        ConnectionLost: no broker answers.
    """
    quieten_library()
    admin = AIOKafkaAdminClient(
        bootstrap_servers=settings.bootstrap_servers,
        **settings.connection,
        client_id="tingbro-admin",
        request_timeout_ms=int(REQUEST_TIMEOUT_S * 1_000),
    )
    try:
        try:
            await whole(admin.start())
        except (KafkaError, OSError, TimeoutError) as error:
            raise ConnectionLost(_unreachable(settings)) from error
        yield ClusterView(admin)
    finally:
        await admin.close()


def _unreachable(settings: KafkaSettings) -> str:
    servers = settings.bootstrap_servers
    if settings.connection.get("security_protocol", "PLAINTEXT") == "PLAINTEXT":
        return f"No Kafka broker answers at {servers}."
    # The library tells its log only which of these it was.
    return (
        f"No Kafka broker answers at {servers}, or none takes this login or shows a certificate "
        "that is trusted (TINGBRO_LOG_LEVEL=debug tells which)."
    )


__all__ = ["ClusterView", "Reach", "SeenTopic", "WantedTopic", "cluster_view"]
