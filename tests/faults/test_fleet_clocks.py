"""A fleet whose machines do not agree on what time it is: minutes apart, by their wall clocks alone."""

import asyncio
import time
from collections import defaultdict
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, closing
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import psycopg2
import pytest

from tests.faults.fleet_scene import assert_fleet_kept_its_promises, overlaps
from tests.faults.scene import DECODER, SETTLE_TIMEOUT_S
from tests.support import receivers
from tests.support.city import City
from tests.support.fleet import Fleet
from tests.support.hub_client import HubClient
from tests.support.kafka import KafkaBroker
from tests.support.load import Load
from tests.support.postgresql import PostgresqlServer
from tests.support.receiver_process import ReceivedPush, ReceiverProcess
from tests.support.receivers import ReceivedRequest, Receiver
from tests.support.senders import Senders

CLOCKS: Final = {"web": -90.0, "worker0": 300.0, "worker1": -45.0}
"""By how many seconds each is ahead of the others' machine, and of the database."""

_DEVICES: Final = 8
_LOADED_TARGETS: Final = 2
_FAILING_TARGETS: Final = 6
_PAUSE_S: Final = 0.1
_RETENTION_S: Final = 72 * 3600
# Less than the smallest difference between any two clocks, and more than anything takes.
_APART_S: Final = 40.0
# Leaving the group just when it is shared out anew may take longer than a process has for stopping.
_EXPECTED: Final = (
    "writer.results.wait",
    "database.write.fail",
    "actor.instance.abandon",
    "actor.hook.fail",
)


@dataclass(frozen=True, slots=True)
class Attempt:
    sender: int | None
    at_s: float
    timestamp_s: int


class Failing:
    """Takes every message at the second attempt only, and notes who made which when."""

    def __init__(self) -> None:
        self.attempts: dict[str, list[Attempt]] = defaultdict(list)
        self._senders = Senders()

    async def __call__(self, request: ReceivedRequest, writer: asyncio.StreamWriter) -> None:
        attempts = self.attempts[request.target]
        timestamp_s = int(request.headers["webhook-timestamp"])
        attempts.append(Attempt(self._senders.of(writer), time.time(), timestamp_s))
        await receivers.status(500 if len(attempts) == 1 else 204)(request, writer)


@pytest.fixture
def fleet(
    tmp_path: Path, own_postgresql: PostgresqlServer, own_kafka_broker: KafkaBroker
) -> Iterator[Fleet]:
    with Fleet(
        tmp_path,
        database_url=own_postgresql.url(own_postgresql.create_database(is_migrated=False)),
        bootstrap_servers=own_kafka_broker.bootstrap_servers,
        clocks=CLOCKS,
    ) as fleet:
        for process in fleet.processes:
            process.allow_errors(*_EXPECTED)
        yield fleet


@asynccontextmanager
async def loaded(city: City, receiver: ReceiverProcess) -> AsyncIterator[Load]:
    """Devices that talk while the block runs, each to all of these targets."""
    devices = [await city.device() for _ in range(_DEVICES)]
    decoder_id = await city.decoder(DECODER)
    for number in range(_LOADED_TARGETS):
        target_id = await city.target(f"{receiver.url}/{number}")
        await city.client.connect(devices, target_id, decoder_id)
    load = Load(city.client.url, devices, pause_s=_PAUSE_S)
    load.start()
    yield load
    await load.stop()


@pytest.mark.faults
@pytest.mark.timeout(240)
async def test_clocks_that_are_minutes_apart_change_neither_promises_nor_schedules(
    fleet: Fleet, receiver: ReceiverProcess
) -> None:
    began_s, failing = time.time(), Failing()
    async with HubClient(fleet.url) as client, Receiver(failing) as unwilling:
        await client.login()
        city = await City.found(client)
        device, decoder_id = await city.device(), await city.decoder()
        for number in range(_FAILING_TARGETS):
            target_id = await city.target(f"{unwilling.url}{number}")
            await client.connect([device], target_id, decoder_id)
        async with loaded(city, receiver) as load:
            # Who holds which target is evened out within seconds.
            await shared_out(fleet)
            await client.send(device, {"n": 1})
            await unwilling.wait_for(_FAILING_TARGETS)
            # What it has put off by its own clock is another's to do.
            fast = fleet.workers[0]
            owed = [path for path, made in failing.attempts.items() if made[0].sender == fast.pid]
            fast.kill()
            async with asyncio.timeout(_APART_S):
                await unwilling.wait_for(2 * _FAILING_TARGETS)
            assert owed, "the worker whose clock is ahead held none of these targets"
            await asyncio.to_thread(fast.start)
            await shared_out(fleet)
        await settled(city, receiver, load)
        by_target = _by_target(receiver)
        await assert_fleet_kept_its_promises(city, fleet.database_url, load, by_target)
        for path, pushes in by_target.items():
            assert overlaps(pushes) == [], path
    for path, (first, second) in failing.attempts.items():
        assert 3.5 < second.at_s - first.at_s < _APART_S, path
        for attempt in (first, second):
            assert abs(attempt.timestamp_s - attempt.at_s) < _APART_S, path
    assert_instants_are_the_databases(fleet.database_url, began_s)
    assert all("fleet.clock.differ" in process.log() for process in fleet.processes)


async def shared_out(fleet: Fleet) -> None:
    """Return when two workers hold some of the targets each."""
    async with asyncio.timeout(SETTLE_TIMEOUT_S):
        while min(_held(fleet.database_url), default=0) < _FAILING_TARGETS // 2:  # noqa: ASYNC110
            await asyncio.sleep(0.2)


def _held(url: str) -> list[int]:
    """How many targets each holder has; none where only one has any."""
    with closing(psycopg2.connect(url)) as connection, connection.cursor() as cursor:
        cursor.execute(
            "SELECT count(*) FROM lease WHERE name LIKE 'target/%' AND holder IS NOT NULL"
            " GROUP BY holder"
        )
        held = [int(count) for (count,) in cursor.fetchall()]
    return held if len(held) > 1 else []


async def settled(city: City, receiver: ReceiverProcess, load: Load) -> None:
    """What still waits in Kafka is in no books yet; so first see everything arrive."""
    async with asyncio.timeout(SETTLE_TIMEOUT_S):
        while not all(  # noqa: ASYNC110  # it can only be looked
            load.acknowledged <= {(push.body["device"], push.body["n"]) for push in pushes}
            for pushes in _by_target(receiver).values()
        ):
            await asyncio.sleep(0.2)
    await city.settled(timeout_s=SETTLE_TIMEOUT_S)


def _by_target(receiver: ReceiverProcess) -> dict[str, list[ReceivedPush]]:
    by_target: dict[str, list[ReceivedPush]] = defaultdict(list)
    for push in receiver.pushes():
        by_target[push.path].append(push)
    return by_target


def assert_instants_are_the_databases(url: str, began_s: float) -> None:
    """No message was received, and no delivery made, at any time but that of this test."""
    with closing(psycopg2.connect(url)) as connection, connection.cursor() as cursor:
        for column, table in (("received_at", "message"), ("created_at", "delivery")):
            cursor.execute(f"SELECT min({column}), max({column}) FROM {table}")
            first_us, last_us = cursor.fetchone()
            assert began_s - 5 < first_us / 1e6 < last_us / 1e6 < time.time() + 5, table
        cursor.execute(
            "SELECT min(expires_at - created_at), max(expires_at - created_at) FROM delivery"
        )
        for kept_us in cursor.fetchone():
            assert abs(kept_us / 1e6 - _RETENTION_S) < 5
