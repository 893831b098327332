"""Which brokers a cluster has, which of them leads each partition of one topic, and asking them.

Rules:

1. A request is sent once. Who was not answered does not know what became of it.
2. A connection on which something was not answered is ended, whoever else uses it: what comes after is
   asked on a new one, and nothing that was given up lies in a queue to be sent after it.
3. Names are looked up, and addresses checked, for each connection: also those of the brokers that
   the cluster names, which can be any.
"""

import asyncio
import errno
import struct
from collections import defaultdict, deque
from collections.abc import Awaitable, Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Any, Final

from aiokafka.errors import KafkaError, NoError
from aiokafka.protocol.metadata import MetadataRequest

from protocols.kafka_library_log import quieten_library
from protocols.targets.kafka_wire.connection import (
    BrokerConnection,
    UnacceptableAnswer,
    tls_context,
)
from protocols.targets.kafka_wire.settings import BrokerAddress, KafkaTargetSettings

Resolve = Callable[[str, int], Awaitable[Sequence[str]]]
"""Returns the addresses of a host, of which at least one is to be tried, or raises."""

# After so long a topic is looked at again: it may have more partitions.
_METADATA_AGE_S: Final = 300.0
# 3 s to connect and 5 s for TLS: whoever takes longer is not there.
_CONNECT_TIMEOUT_S: Final = 8.0
_CLOSE_PATIENCE_S: Final = 1.0
# What the library raises, beside its own errors, where it is answered what it does not expect.
_NONSENSE: Final = (
    ArithmeticError,
    AssertionError,
    AttributeError,
    LookupError,
    NotImplementedError,
    TypeError,
    ValueError,
    struct.error,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Topic:
    """The topic as the cluster described it."""

    leaders: Mapping[int, int | None]
    """The node that leads each partition, in their order; None where there is none at present."""
    brokers: Mapping[int, BrokerAddress]


class TopicRefused(Exception):
    """The cluster does not describe the topic; `error_code` says why."""

    def __init__(self, error_code: int) -> None:
        super().__init__(error_code)
        self.error_code = error_code


class Cluster:
    """Connects when it is asked something. Errors are the library's and the operating system's."""

    def __init__(self, settings: KafkaTargetSettings, resolve: Resolve) -> None:
        self._settings = settings
        self._resolve = resolve
        self._servers = deque(settings.servers)
        self._context: Any = None
        self._topic: Topic | None = None
        self._is_stale = False
        self._described_s = 0.0
        self._connections: dict[int, BrokerConnection] = {}
        self._locks: defaultdict[int | None, asyncio.Lock] = defaultdict(asyncio.Lock)
        self._ending: set[asyncio.Future[None]] = set()

    async def topic(self) -> Topic:
        """Return the topic, as it was described not long ago.

        Raises:
            TopicRefused: it is not there, or not for this login.
        """
        async with self._locks[None]:
            age_s = asyncio.get_running_loop().time() - self._described_s
            if self._topic is None or self._is_stale or age_s > _METADATA_AGE_S:
                self._topic, self._is_stale = await self._described(), False
                self._forget_all_but(self._topic.brokers.keys())
                self._described_s = asyncio.get_running_loop().time()
            return self._topic

    def look_again(self) -> None:
        """The topic is not what it was described as."""
        self._is_stale = True

    async def connection(self, topic: Topic, node: int) -> BrokerConnection:
        """Return the connection to one of the topic's brokers, made now if there is none."""
        async with self._locks[node]:
            connection = self._connections.get(node)
            if connection is None or not connection.connected():
                connection = self._kept(node, await self._connect(topic.brokers[node]))
            return connection

    async def ask(self, connection: BrokerConnection, request: Any) -> Any:
        """Return the answer."""
        try:
            with _sense():
                return await connection.send(request)
        except BaseException:
            self._end(connection)
            raise

    async def close(self) -> None:
        """End every connection; a second call does nothing."""
        for connection in self._connections.values():
            self._end(connection)
        self._connections.clear()
        self._topic = None
        if self._ending:
            await asyncio.wait(self._ending, timeout=_CLOSE_PATIENCE_S)

    async def _described(self) -> Topic:
        """Ask the brokers that are connected, then those of the settings, until one describes the topic."""
        for connection in list(self._connections.values()):
            if connection.connected():
                with suppress(OSError, KafkaError):
                    return await self._description(connection)
        first_error: Exception | None = None
        for _ in range(len(self._servers)):
            server = self._servers[0]
            try:
                return await self._introduced_by(server)
            except (OSError, KafkaError) as error:
                first_error = first_error or error
                self._servers.rotate(-1)  # whoever is away is not asked first the next time
        assert first_error is not None, "there is at least one server"
        raise first_error

    async def _introduced_by(self, server: BrokerAddress) -> Topic:
        connection = await self._connect(server)
        try:
            topic = await self._description(connection)
        except BaseException:
            self._end(connection)
            raise
        nodes = [node for node, broker in topic.brokers.items() if broker == server]
        if nodes:
            self._kept(nodes[0], connection)
        else:
            self._end(connection)
        return topic

    async def _description(self, connection: BrokerConnection) -> Topic:
        # A topic that is not there shall not come into being through a mistake in its name.
        answer = await self.ask(
            connection, MetadataRequest([self._settings.topic], allow_auto_topic_creation=False)
        )
        with _sense():
            return self._read(answer)

    @staticmethod
    def _read(answer: Any) -> Topic:
        error_code, *_, partitions = answer.topics[0]
        if error_code != NoError.errno:
            raise TopicRefused(error_code)
        brokers = {node: _broker(host, port) for node, host, port, *_ in answer.brokers}
        leaders = {
            partition: leader if leader in brokers else None
            for _, partition, leader, *_ in sorted(partitions, key=lambda one: one[1])
        }
        if list(leaders) != list(range(len(leaders))) or not leaders:
            raise UnacceptableAnswer("The partitions are not numbered as Kafka numbers them.")
        return Topic(leaders=leaders, brokers=brokers)

    async def _connect(self, broker: BrokerAddress) -> BrokerConnection:
        """Try the addresses of the broker in turn."""
        quieten_library()
        if self._settings.security.is_encrypted and self._context is None:
            self._context = tls_context(self._settings)
        last_error: Exception | None = None
        async with asyncio.timeout(min(self._settings.timeout_s, _CONNECT_TIMEOUT_S)):
            for address in await self._resolve(broker.host, broker.port):
                connection = BrokerConnection(address, broker, self._settings, self._context)
                try:
                    with _sense():
                        await connection.connect()
                except (OSError, KafkaError) as error:
                    last_error = error
                else:
                    return connection
        raise last_error or OSError(errno.EADDRNOTAVAIL, "no address")

    def _kept(self, node: int, connection: BrokerConnection) -> BrokerConnection:
        """Return the node's connection, which is this one unless somebody else was quicker."""
        known = self._connections.get(node)
        if known is not None and known.connected():
            self._end(connection)
            return known
        self._connections[node] = connection
        return connection

    def _forget_all_but(self, nodes: Collection[int]) -> None:
        """Brokers come and go, and whoever names other ones each time is not to fill the memory."""
        for node in self._connections.keys() - nodes:
            self._end(self._connections.pop(node))
        for other in [one for one in self._locks if one is not None and one not in nodes]:
            if not self._locks[other].locked():
                del self._locks[other]

    def _end(self, connection: BrokerConnection) -> None:
        ending = connection.end()
        if ending is not None and not ending.done():
            self._ending.add(ending)
            ending.add_done_callback(self._ending.discard)


@contextmanager
def _sense() -> Iterator[None]:
    """What the library stumbles over is nothing that Kafka says."""
    try:
        yield
    except OSError:
        raise  # a certificate that is not accepted is a ValueError, too
    except _NONSENSE as error:
        raise UnacceptableAnswer("What it says is no Kafka.") from error


def _broker(host: object, port: object) -> BrokerAddress:
    if not isinstance(host, str) or not isinstance(port, int) or not 0 < port < 65_536 or not host:
        raise UnacceptableAnswer("The cluster names a broker that has no address.")
    return BrokerAddress(host, port)
