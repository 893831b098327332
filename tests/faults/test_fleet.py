"""Two workers on real Kafka and PostgreSQL: killed, frozen and restarted at random under load."""

import asyncio
import random
import time
from collections import defaultdict
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Final

import pytest

from tests.faults.fleet_scene import assert_fleet_kept_its_promises, overlaps
from tests.faults.scene import DECODER, SETTLE_TIMEOUT_S
from tests.support.city import City
from tests.support.fleet import Fleet
from tests.support.hub_client import HubClient
from tests.support.hub_process import HubProcess
from tests.support.kafka import KafkaBroker
from tests.support.load import Load
from tests.support.postgresql import PostgresqlServer
from tests.support.receiver_process import ReceivedPush, ReceiverProcess

ROUNDS: Final = 30
DEVICES: Final = 24
TARGETS: Final = 4
# The fleet must get through in the end what has waited for it, on the cores that it shares with the
# load, the brokers and the database.
_PAUSE_S: Final = 0.3

# What a fleet may say while its servers and its members are taken away from it.
_EXPECTED: Final = (
    "writer.results.wait",
    "database.write.fail",
    # A process that was frozen finds that the time for stopping something is over.
    "actor.instance.abandon",
    "actor.hook.fail",
    "actor.handler.stall",
)


@pytest.fixture
def fleet(
    tmp_path: Path, own_postgresql: PostgresqlServer, own_kafka_broker: KafkaBroker
) -> Iterator[Fleet]:
    with Fleet(
        tmp_path,
        database_url=own_postgresql.url(own_postgresql.create_database(is_migrated=False)),
        bootstrap_servers=own_kafka_broker.bootstrap_servers,
    ) as fleet:
        yield fleet


class Faults:
    """What is done to the fleet, one at a time; each ends with everything running again."""

    def __init__(
        self,
        fleet: Fleet,
        broker: KafkaBroker,
        server: PostgresqlServer,
        chance: random.Random,
    ) -> None:
        self._fleet, self._broker, self._server, self._chance = fleet, broker, server, chance
        self.done: list[str] = []

    async def one(self) -> None:
        fault: Callable[[], Awaitable[None]] = self._chance.choices(
            [
                self.kill_worker,
                self.freeze_worker,
                self.restart_worker,
                self.restart_web,
                self.kill_broker,
                self.freeze_broker,
                self.restart_database,
                self.kill_database,
            ],
            weights=[6, 6, 4, 2, 2, 1, 2, 1],
        )[0]
        self.done.append(fault.__name__)
        await fault()

    async def kill_worker(self) -> None:
        worker = self._worker()
        worker.kill()
        await self._pause(0.0, 8.0)
        await asyncio.to_thread(worker.start)

    async def freeze_worker(self) -> None:
        worker = self._worker()
        worker.pause()
        await self._pause(0.5, 16.0)
        worker.resume()

    async def restart_worker(self) -> None:
        worker = self._worker()
        assert await asyncio.to_thread(worker.terminate) == 0
        await asyncio.to_thread(worker.start)

    async def restart_web(self) -> None:
        self._fleet.web.kill()
        await asyncio.to_thread(self._fleet.web.start)

    async def kill_broker(self) -> None:
        self._broker.kill()
        await self._pause(0.0, 3.0)
        await asyncio.to_thread(self._broker.start)

    async def freeze_broker(self) -> None:
        self._broker.pause()
        await self._pause(0.5, 8.0)
        self._broker.resume()

    async def restart_database(self) -> None:
        await asyncio.to_thread(self._server.restart)

    async def kill_database(self) -> None:
        await asyncio.to_thread(self._server.kill)
        await self._pause(0.0, 3.0)
        await asyncio.to_thread(self._server.start)

    def _worker(self) -> HubProcess:
        return self._chance.choice(self._fleet.workers)

    async def _pause(self, least_s: float, most_s: float) -> None:
        await asyncio.sleep(self._chance.uniform(least_s, most_s))


@pytest.mark.faults
@pytest.mark.timeout(900)
async def test_thirty_faults_under_load_lose_nothing_double_nothing_and_reorder_nothing(
    fleet: Fleet,
    own_kafka_broker: KafkaBroker,
    own_postgresql: PostgresqlServer,
    receiver: ReceiverProcess,
) -> None:
    seed = random.randrange(1 << 32)
    for process in fleet.processes:
        process.allow_errors(*_EXPECTED)
    async with HubClient(fleet.url) as client:
        await client.login()
        city = await City.found(client)
        load = await _set_up(fleet, city, receiver)
        faults = Faults(fleet, own_kafka_broker, own_postgresql, random.Random(seed))
        load.start()
        for _ in range(ROUNDS):
            await faults.one()
            await asyncio.sleep(1.0)
        await load.stop()
        told = f"seed {seed}: {faults.done}"
        assert len(load.acknowledged) > 10 * ROUNDS, f"there was hardly any load; {told}"
        await client.login()
        await _all_arrived(receiver, load)
        await city.settled(timeout_s=SETTLE_TIMEOUT_S)
        by_target = _by_target(receiver)
        await assert_fleet_kept_its_promises(city, fleet.database_url, load, by_target)
        for path, pushes in by_target.items():
            assert overlaps(pushes) == [], f"{path}; {told}"


async def _set_up(fleet: Fleet, city: City, receiver: ReceiverProcess) -> Load:
    """Every device's messages go to every target."""
    devices = [await city.device() for _ in range(DEVICES)]
    decoder_id = await city.decoder(DECODER)
    for number in range(TARGETS):
        target_id = await city.target(f"{receiver.url}/{number}")
        await city.client.connect(devices, target_id, decoder_id)
    return Load(fleet.url, devices, pause_s=_PAUSE_S)


async def _all_arrived(receiver: ReceiverProcess, load: Load) -> None:
    """What still waits in Kafka is in no books yet; so first see everything arrive, or say what does not."""
    deadline_s = time.monotonic() + SETTLE_TIMEOUT_S
    while time.monotonic() < deadline_s:
        arrived = {(push.path, push.body["device"], push.body["n"]) for push in receiver.pushes()}
        targets = {path for path, _, _ in arrived}
        if len(targets) == TARGETS and all(
            (path, *key) in arrived for key in load.acknowledged for path in targets
        ):
            return
        await asyncio.sleep(0.5)


def _by_target(receiver: ReceiverProcess) -> dict[str, list[ReceivedPush]]:
    by_target: dict[str, list[ReceivedPush]] = defaultdict(list)
    for push in receiver.pushes():
        by_target[push.path].append(push)
    return by_target
