"""How soon a hub with many devices is ready, and what it needs while nothing happens."""

import asyncio
import sqlite3
import tempfile
import time
import uuid
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from statistics import median
from typing import Final

from benchmarks.duration import times
from benchmarks.row import Row
from tests.support.city import City
from tests.support.hub_client import Device, HubClient
from tests.support.hub_process import HubProcess
from tests.support.process_tree import memory_bytes

DEVICES: Final = 100_000
STARTS: Final = 5
IDLE_S: Final = 3.0
MEGABYTE: Final = 1_000_000


def measure() -> Iterator[Row]:
    with tempfile.TemporaryDirectory() as directory:
        hub = HubProcess(Path(directory), settings={"LOG_LEVEL": "warning"})
        hub.start()
        empty_bytes = _idle_bytes(hub)
        device = asyncio.run(_one_device(hub))
        hub.terminate()
        _register_like(hub.database, device, times(DEVICES, 1_000))
        ready_s = []
        for _ in range(times(STARTS)):
            started_s = time.monotonic()
            hub.start()
            ready_s.append(time.monotonic() - started_s)
            hub.terminate()
        hub.start()
        full_bytes = _idle_bytes(hub)
        hub.terminate()
    context = f"{times(DEVICES, 1_000):,} devices registered"
    yield Row("start until ready", median(ready_s), "s", None, context, "at most 1 s")
    yield Row(
        "idle memory, all processes",
        full_bytes / MEGABYTE,
        "MB",
        full_bytes / empty_bytes,
        f"{empty_bytes / MEGABYTE:.0f} MB without devices",
        "at most 150 MB",
    )


def _idle_bytes(hub: HubProcess) -> int:
    time.sleep(IDLE_S)
    return memory_bytes(hub.pid)


async def _one_device(hub: HubProcess) -> Device:
    async with HubClient(hub.url) as client:
        await client.login()
        return await (await City.found(client)).device()


def _register_like(database: Path, device: Device, count: int) -> None:
    """Copies of the device's row, each with an id, a name and a key of its own."""
    with closing(sqlite3.connect(database)) as connection, connection:
        connection.row_factory = sqlite3.Row
        row = dict(
            connection.execute("SELECT * FROM iot_device WHERE id = ?", (device.id,)).fetchone()
        )
        names = list(row)
        statement = (
            f"INSERT INTO iot_device ({', '.join(names)}) VALUES ({', '.join('?' * len(names))})"
        )
        connection.executemany(
            statement,
            (
                tuple(
                    {
                        **row,
                        "id": device.id + n,
                        "name": f"Copy {n}",
                        "api_key": str(uuid.uuid4()),
                    }.values()
                )
                for n in range(1, count + 1)
            ),
        )
