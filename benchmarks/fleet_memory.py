"""How soon a worker processes, and what it needs for each device that has spoken."""

import asyncio
import time
from contextlib import closing
from statistics import median
from typing import Final

import psycopg2

from benchmarks.duration import times
from benchmarks.fleet_stage import Stage
from benchmarks.load import Plan, generate
from benchmarks.receiver import ReceiverProcess
from benchmarks.row import Row
from benchmarks.scene import posts_of
from storage.tables.entities import iot_device
from tests.support.hub_client import Device
from tests.support.hub_process import HubProcess
from tests.support.process_tree import cpu_seconds, memory_bytes

DEVICES: Final = 100_000
TARGETS: Final = 6
STARTS: Final = 3
# What the pipeline itself needs to be at its usual size, from so few devices that they do not count.
WARM_UP_DEVICES: Final = 100
WARM_UP_MESSAGES: Final = 5_000
PATH: Final = "/memory"
TIMEOUT_S: Final = 400.0
IDLE_S: Final = 5.0
MEGABYTE: Final = 1_000_000

_OWN: Final = ("id", "name", "api_key")
_COPIED: Final = ", ".join(column.name for column in iot_device.columns if column.name not in _OWN)
_COPY_DEVICE: Final = f"""
INSERT INTO iot_device (name, api_key, {_COPIED})
SELECT 'Copy ' || number, gen_random_uuid()::text, {_COPIED}
FROM iot_device, generate_series(1, %s) AS number WHERE id = %s RETURNING id, api_key
"""
_CONNECT: Final = """
INSERT INTO connection_device (connection_id, device_id)
SELECT (%s::int[])[1 + number %% %s], device_id
FROM unnest(%s::int[]) WITH ORDINALITY AS given (device_id, number)
"""
_FIRST_SETTLED: Final = "SELECT min(settled_at) FROM message_job WHERE settled_at > %s"


async def start_up_and_memory(stage: Stage, receiver: ReceiverProcess) -> list[Row]:
    await stage.keep_workers(0)
    devices = await _registered(stage, f"{receiver.url}{PATH}", times(DEVICES, 2_000))
    posts = posts_of(devices)
    registered = f"{len(devices):,} devices registered"
    starts = [await _start(stage, receiver, posts[:10]) for _ in range(times(STARTS))]
    start_cpu_s = median(cpu_s for _, cpu_s in starts)
    return [
        Row(
            "fleet: a worker starts until it processes",
            median(processes_s for processes_s, _ in starts),
            "s",
            None,
            f"{registered}; until it is ready it takes {start_cpu_s:.2f} CPU-s",
            "at most 3 s",
        ),
        await _memory(stage, receiver, posts),
    ]


async def _registered(stage: Stage, url: str, count: int) -> list[Device]:
    """Copies of one device that was made through the API, each connected as one of these is."""
    (first, *_) = made = await stage.devices(TARGETS, [url] * TARGETS)
    ids = [device.id for device in made]
    with (
        closing(psycopg2.connect(stage.fleet.database_url)) as connection,
        connection,
        connection.cursor() as cursor,
    ):
        cursor.execute(
            "SELECT connection_id FROM connection_device WHERE device_id = ANY(%s)", (ids,)
        )
        connections = [connection_id for (connection_id,) in cursor.fetchall()]
        cursor.execute(_COPY_DEVICE, (count, first.id))
        copies = [Device(device_id, api_key) for device_id, api_key in cursor.fetchall()]
        copied_ids = [device.id for device in copies]
        cursor.execute(_CONNECT, (connections, len(connections), copied_ids))
        cursor.execute("ANALYZE")
    return copies


async def _start(
    stage: Stage, receiver: ReceiverProcess, posts: list[tuple[str, str]]
) -> tuple[float, float]:
    """Return after how many seconds it decoded the first of what waited, and what being ready cost."""
    await stage.keep_workers(0)
    await receiver.forget()
    await _post(stage, posts, len(posts))
    worker = stage.fleet.workers[0]
    started_at_s = time.time()
    await asyncio.to_thread(HubProcess.start, worker)
    ready_cpu_s = cpu_seconds(worker.pid)
    await receiver.wait_for(PATH, len(posts), timeout_s=TIMEOUT_S)
    with (
        closing(psycopg2.connect(stage.fleet.database_url)) as connection,
        connection.cursor() as cursor,
    ):
        cursor.execute(_FIRST_SETTLED, (int(started_at_s * 1e6),))
        ((settled_at,),) = cursor.fetchall()
    return settled_at / 1e6 - started_at_s, ready_cpu_s


async def _memory(stage: Stage, receiver: ReceiverProcess, posts: list[tuple[str, str]]) -> Row:
    worker = stage.fleet.workers[0]
    warm_up = times(WARM_UP_MESSAGES, 1_000)
    await receiver.forget()
    await _post(stage, posts[:WARM_UP_DEVICES], warm_up)
    await _all_done(stage, receiver, warm_up)
    before_bytes, before = memory_bytes(worker.pid), await _active(stage)
    await receiver.forget()
    await _post(stage, posts, len(posts))
    await _all_done(stage, receiver, len(posts))
    after_bytes, after = memory_bytes(worker.pid), await _active(stage)
    return Row(
        "fleet: memory of a worker for each active device",
        (after_bytes - before_bytes) / (after - before),
        "bytes",
        after_bytes / before_bytes,
        f"{after_bytes / MEGABYTE:.0f} MB with {after:,} active, "
        f"{before_bytes / MEGABYTE:.0f} MB with {before:,}, decoders included",
        "",
    )


async def _post(stage: Stage, posts: list[tuple[str, str]], count: int) -> None:
    plan = Plan(port=stage.fleet.web.port, posts=posts, count=count, duration_s=TIMEOUT_S)
    load = await generate(plan)
    assert load.acked == count, f"{load.refused} of {count} were refused"


async def _all_done(stage: Stage, receiver: ReceiverProcess, count: int) -> None:
    await receiver.wait_for(PATH, count, timeout_s=TIMEOUT_S)
    await stage.city.settled(timeout_s=TIMEOUT_S)
    # Reports of the actors come every few seconds, and what is idle lets go of its buffers.
    await asyncio.sleep(IDLE_S)


async def _active(stage: Stage) -> int:
    """How many devices have an actor now, by the fleet's own account."""
    return sum(actor["active"] or 0 for actor in await stage.client.actors())
