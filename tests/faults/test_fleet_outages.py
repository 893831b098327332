"""What a fleet does while Kafka, PostgreSQL or a network is away, as its devices and operators see it."""

import asyncio
import json
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Final

import psycopg2
import pytest

from tests.faults.kept_rows import assert_kept_once
from tests.faults.scene import DECODER
from tests.support.city import City
from tests.support.fleet import Fleet
from tests.support.hub_client import Answer, Device, HubClient
from tests.support.hub_process import HubProcess
from tests.support.kafka import KafkaBroker
from tests.support.load import Load
from tests.support.loopback_proxy import LoopbackProxy
from tests.support.postgresql import PostgresqlServer
from tests.support.receivers import Receiver

_OUTAGE_S: Final = 60.0
_PATIENCE_S: Final = 60.0
_DEVICES: Final = 8
_PAUSE_S: Final = 0.1
# Leaving the group just when it is shared out anew may take longer than a process has for stopping.
_EXPECTED: Final = (
    "writer.results.wait",
    "database.write.fail",
    "actor.instance.abandon",
    "actor.hook.fail",
)


@asynccontextmanager
async def running(fleet: Fleet) -> AsyncIterator[tuple[HubClient, City]]:
    """The fleet, up; entered beside the loop, which may have to pass its traffic on."""
    await asyncio.to_thread(fleet.__enter__)
    for process in fleet.processes:
        process.allow_errors(*_EXPECTED)
    try:
        async with HubClient(fleet.url) as client:
            await client.login()
            yield client, await City.found(client)
    finally:
        await asyncio.to_thread(fleet.__exit__, None, None, None)


async def until(is_so: Callable[[], Awaitable[bool]], timeout_s: float = _PATIENCE_S) -> None:
    async with asyncio.timeout(timeout_s):
        while not await is_so():  # noqa: ASYNC110  # other processes can only be asked
            await asyncio.sleep(0.1)


async def post(client: HubClient, device: Device, n: int) -> Answer:
    return await client.post(device.api_key, b'{"n":%d}' % n)


async def is_taken(client: HubClient, device: Device, n: int) -> bool:
    return (await post(client, device, n)).status == 204


def new_fleet(directory: Path, server: PostgresqlServer, broker: KafkaBroker, **more: Any) -> Fleet:
    return Fleet(
        directory,
        database_url=server.url(server.create_database(is_migrated=False)),
        bootstrap_servers=broker.bootstrap_servers,
        **more,
    )


@pytest.mark.faults
@pytest.mark.timeout(300)
async def test_fleet_without_kafka_for_a_minute_refuses_messages_says_why_and_loses_none(
    tmp_path: Path, own_postgresql: PostgresqlServer, own_kafka_broker: KafkaBroker
) -> None:
    fleet = new_fleet(tmp_path, own_postgresql, own_kafka_broker, workers=1)
    async with Receiver() as receiver, running(fleet) as (client, city):
        load = await loaded(city, receiver)
        device = await city.connected_device(receiver.url)
        load.start()
        await until(lambda: reached(load, 100))

        # In the middle: whoever waits is told within seconds, and then at once.
        own_kafka_broker.kill()
        killed_s = began_s = time.monotonic()
        refused = await post(client, device, 2)
        assert (refused.status, refused.headers["Retry-After"].isdecimal()) == (503, True)
        assert time.monotonic() - began_s < 12
        taken = len(load.acknowledged)
        refusals = 0
        while time.monotonic() < killed_s + _OUTAGE_S:
            assert (await post(client, device, 2)).status == 503
            refusals += 1
            await asyncio.sleep(0.5)
        assert refusals > 30, "who is refused has to wait for it"
        ready = await client.request("GET", "/readyz")
        assert ready.status == 503
        assert [check["name"] for check in ready.body["checks"] if not check["ok"]] == ["journal"]
        assert len(load.acknowledged) == taken, "something was taken that nobody keeps"

        # At the start: every process waits for it.
        for process in fleet.processes:
            process.kill()
            process.launch()
        await until(lambda: answers(client))
        assert (await post(client, device, 2)).status == 503
        await asyncio.to_thread(own_kafka_broker.start)
        await until(lambda: reached(load, taken + 100))
        await asyncio.to_thread(fleet.workers[0].wait_until_ready)
        await load.stop()
        await until(lambda: arrived(receiver, load))
        await city.settled(timeout_s=_PATIENCE_S)
        assert await client.imbalance() == 0
        assert_kept_once(fleet.database_url, load.acknowledged)


async def loaded(city: City, receiver: Receiver) -> Load:
    devices = [await city.device() for _ in range(_DEVICES)]
    await city.client.connect(devices, await city.target(receiver.url), await city.decoder(DECODER))
    return Load(city.client.url, devices, pause_s=_PAUSE_S)


async def reached(load: Load, count: int) -> bool:
    return len(load.acknowledged) >= count


async def arrived(receiver: Receiver, load: Load) -> bool:
    bodies = (json.loads(request.body) for request in receiver.requests)
    return load.acknowledged <= {(body["device"], body["n"]) for body in bodies if "device" in body}


async def answers(client: HubClient) -> bool:
    try:
        await client.request("GET", "/readyz")
    except OSError:
        return False
    return True


@pytest.mark.faults
@pytest.mark.timeout(240)
async def test_fleet_without_postgresql_takes_messages_of_devices_it_knows_and_settles_them_later(
    tmp_path: Path, own_postgresql: PostgresqlServer, own_kafka_broker: KafkaBroker
) -> None:
    fleet = new_fleet(tmp_path, own_postgresql, own_kafka_broker, workers=2)
    async with Receiver() as receiver, running(fleet) as (client, city):
        known = await city.connected_device(receiver.url)
        unknown = await city.connected_device(receiver.url)
        await client.send(known, {"n": 0})
        await receiver.wait_for(1)

        await asyncio.to_thread(own_postgresql.kill)
        refused = await post(client, unknown, 1)
        assert (refused.status, "Retry-After" in refused.headers) == (503, True)
        assert refused.body["message"]
        deadline_s = time.monotonic() + _OUTAGE_S
        sent = 0
        while time.monotonic() < deadline_s:
            sent += await is_taken(client, known, sent + 1)
            await asyncio.sleep(0.2)
        assert sent > 20
        assert (await client.request("GET", "/readyz")).status == 503

        await asyncio.to_thread(own_postgresql.start)
        await until(lambda: is_taken(client, unknown, 1))
        async with asyncio.timeout(_PATIENCE_S):
            await receiver.wait_for(1 + sent + 1)
        await city.settled(timeout_s=_PATIENCE_S)
        assert await client.imbalance() == 0
        assert all(process.is_running for process in fleet.processes)


@pytest.mark.faults
@pytest.mark.timeout(240)
async def test_fleet_that_is_started_before_postgresql_asks_for_patience_and_starts_by_itself(
    tmp_path: Path, own_postgresql: PostgresqlServer, own_kafka_broker: KafkaBroker
) -> None:
    fleet = new_fleet(tmp_path, own_postgresql, own_kafka_broker, workers=2)
    await asyncio.to_thread(fleet.migrate)
    await asyncio.to_thread(own_postgresql.kill)
    fleet.launch()
    try:
        async with HubClient(fleet.url) as client:
            await until(lambda: answers(client))
            refused = await client.post("some key", b'{"n":1}')
            assert (refused.status, refused.headers["Retry-After"].isdecimal()) == (503, True)
            ready = await client.request("GET", "/readyz")
            assert (ready.status, ready.body["checks"][0]["name"]) == (503, "database")
            health = await client.request("GET", "/healthz")
            assert (health.status, "cannot be reached" in health.body["reason"]) == (503, True)
            await until(lambda: say(fleet.workers, "hub.database.await"))

            await asyncio.to_thread(own_postgresql.start)
            for process in fleet.processes:
                await asyncio.to_thread(process.wait_until_ready)
            await client.login()
            city = await City.found(client)
            async with Receiver() as receiver:
                await client.send(await city.connected_device(receiver.url), {"n": 1})
                await receiver.wait_for(1)
                await city.settled()
            assert await client.imbalance() == 0
            assert await is_well(client)
    finally:
        await asyncio.to_thread(fleet.__exit__, None, None, None)


async def say(processes: Sequence[HubProcess], event: str) -> bool:
    return all(event in process.log() for process in processes)


@pytest.mark.faults
@pytest.mark.timeout(240)
async def test_worker_cut_off_from_postgresql_loses_its_share_to_the_others_and_is_named(
    tmp_path: Path, own_postgresql: PostgresqlServer, own_kafka_broker: KafkaBroker
) -> None:
    async with LoopbackProxy(own_postgresql.port) as network, Receiver() as receiver:
        fleet = new_fleet(tmp_path, own_postgresql, own_kafka_broker, workers=2)
        cut_off = fleet.database_url.replace(f":{own_postgresql.port}/", f":{network.port}/")
        fleet = Fleet(
            tmp_path,
            database_url=fleet.database_url,
            bootstrap_servers=own_kafka_broker.bootstrap_servers,
            worker_database_urls={1: cut_off},
        )
        async with running(fleet) as (client, city):
            target_id, decoder_id = await city.target(receiver.url), await city.decoder()
            devices = [await city.device() for _ in range(12)]
            await client.connect(devices, target_id, decoder_id)
            for device in devices:
                await client.send(device, {"n": 0})
            await receiver.wait_for(len(devices))

            network.freeze()
            try:
                for device in devices:
                    await client.send(device, {"n": 1})
                # The other worker ends up with all partitions and with the target.
                async with asyncio.timeout(_PATIENCE_S):
                    await receiver.wait_for(2 * len(devices))
                await until(lambda: names(client, "/worker1-"))
            finally:
                network.thaw()
            await until(lambda: is_well(client))
            for device in devices:
                await client.send(device, {"n": 2})
            async with asyncio.timeout(_PATIENCE_S):
                await receiver.wait_for(3 * len(devices))
            await city.settled(timeout_s=_PATIENCE_S)
            assert await client.imbalance() == 0


async def names(client: HubClient, process: str) -> bool:
    """Whether the fleet is sick, and this process said to be the cause."""
    health = await client.request("GET", "/healthz")
    return health.status == 503 and str(health.body["actor"]).startswith(process)


async def is_well(client: HubClient) -> bool:
    return (await client.request("GET", "/healthz")).status == 200


@pytest.mark.faults
@pytest.mark.timeout(120)
async def test_process_on_a_schema_of_another_version_ends_and_says_what_to_do(
    tmp_path: Path, postgresql: PostgresqlServer, kafka_broker: KafkaBroker
) -> None:
    fleet = new_fleet(tmp_path, postgresql, kafka_broker, workers=1)
    await asyncio.to_thread(fleet.migrate)
    for revision, advice in (("0001", "tingbro migrate"), ("9999", "newer version")):
        with psycopg2.connect(fleet.database_url) as connection, connection.cursor() as cursor:
            cursor.execute("UPDATE alembic_version SET version_num = %s", (revision,))
        connection.close()
        for process in fleet.processes:
            process.launch()
            assert await asyncio.to_thread(process.wait) == 3
            assert advice in process.unexpected_lines()[-1]
