"""A hub of several processes on servers of its own, and what each of its parts has cost so far."""

import asyncio
import tempfile
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from benchmarks.scene import SEVEN_VALUES
from tests.support import kafka_jars
from tests.support.city import City
from tests.support.fleet import Fleet
from tests.support.hub_client import Device, HubClient
from tests.support.hub_process import HubProcess
from tests.support.kafka import KafkaBroker
from tests.support.postgresql import PostgresqlServer
from tests.support.process_tree import cpu_seconds, leaves

PARTITIONS: Final = 6
# What members may say when one of them is killed in the middle of its work.
_EXPECTED: Final = ("writer.results.wait", "database.write.fail")


@dataclass(frozen=True, slots=True)
class PartsCpu:
    """Processor time in seconds, by who used it: `workers` without their decoder processes."""

    web: float
    workers: float
    decoders: float
    postgresql: float
    kafka: float

    def __sub__(self, before: "PartsCpu") -> "PartsCpu":
        return PartsCpu(
            self.web - before.web,
            self.workers - before.workers,
            self.decoders - before.decoders,
            self.postgresql - before.postgresql,
            self.kafka - before.kafka,
        )

    @property
    def hub(self) -> float:
        """The hub's own processes, without the servers that it uses."""
        return self.web + self.workers + self.decoders


@dataclass(frozen=True, slots=True)
class Stage:
    """`fleet` has all its workers running at first."""

    fleet: Fleet
    postgresql: PostgresqlServer
    kafka: KafkaBroker
    client: HubClient
    city: City
    decoder_id: int

    def cpu(self) -> PartsCpu:
        """Compare two readings between which no worker has started or ended."""
        running = [worker.pid for worker in self.fleet.workers if worker.is_running]
        decoders = sum(cpu_seconds(pid) for worker in running for pid in leaves(worker))
        return PartsCpu(
            cpu_seconds(self.fleet.web.pid),
            sum(cpu_seconds(worker) for worker in running) - decoders,
            decoders,
            cpu_seconds(self.postgresql.pid),
            cpu_seconds(self.kafka.pid),
        )

    async def devices(self, count: int, urls: list[str]) -> list[Device]:
        """Devices that share a decoder; each speaks to one of as many targets as there are URLs."""
        devices = [await self.city.device() for _ in range(count)]
        await self.connect(devices, urls)
        return devices

    async def connect(self, devices: list[Device], urls: list[str]) -> None:
        """Give each device one more target, of as many new ones as there are URLs."""
        for number, url in enumerate(urls):
            target_id = await self.city.target(url)
            await self.client.connect(devices[number :: len(urls)], target_id, self.decoder_id)

    async def keep_workers(self, count: int) -> None:
        """Let so many workers run, all started at once, and stop the others in order."""
        await asyncio.to_thread(self._keep_workers, count)

    def _keep_workers(self, count: int) -> None:
        kept, others = self.fleet.workers[:count], self.fleet.workers[count:]
        with ThreadPoolExecutor(len(self.fleet.workers)) as pool:
            list(pool.map(HubProcess.terminate, [one for one in others if one.is_running]))
            list(pool.map(HubProcess.start, [one for one in kept if not one.is_running]))


@asynccontextmanager
async def running_fleet(*, workers: int, rebalance_delay_ms: int = 0) -> AsyncIterator[Stage]:
    """`rebalance_delay_ms` is for how long Kafka lets the first member of a group wait for others."""
    settings = {"group.initial.rebalance.delay.ms": str(rebalance_delay_ms)}
    jars = kafka_jars.ensure(print)
    with (
        tempfile.TemporaryDirectory() as directory,
        PostgresqlServer() as postgresql,
        KafkaBroker(jars, Path(directory, "kafka"), settings=settings) as kafka,
        Fleet(
            Path(directory, "fleet"),
            database_url=postgresql.url(postgresql.create_database(is_migrated=False)),
            bootstrap_servers=kafka.bootstrap_servers,
            workers=workers,
            partitions=PARTITIONS,
            settings={"LOG_LEVEL": "warning"},
        ) as fleet,
    ):
        for process in fleet.processes:
            process.allow_errors(*_EXPECTED)
        async with HubClient(fleet.url) as client:
            await client.login()
            city = await City.found(client)
            decoder_id = await city.decoder(SEVEN_VALUES)
            yield Stage(fleet, postgresql, kafka, client, city, decoder_id)
