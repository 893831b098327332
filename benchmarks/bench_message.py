"""How long somebody waits who asks for one message among a million, and what a harvester costs.

Asked over HTTP, one after the other, on both engines. The messages are those of ten thousand devices,
all of which one share of open data publishes; one delivery in ten has failed before it arrived.
"""

import asyncio
import random
import tempfile
import time
from collections.abc import Awaitable, Callable, Iterator, Sequence
from datetime import timedelta
from pathlib import Path
from statistics import median
from typing import Final

from benchmarks.duration import times
from benchmarks.percentiles import percentile
from benchmarks.row import Row
from protocols.identifiers import new_delivery_id, new_message_id
from storage import Database, open_database
from storage.database import BulkInsert, Transaction
from storage.instants import microseconds
from storage.tables.entities import connection_device, iot_device
from storage.tables.pipeline import delivery, delivery_attempt, message, message_job
from storage.uplinks import UPLINK_COLUMNS
from tests.support.api_client import EMAIL, PASSWORD, START, Api, Clock, api_on
from tests.support.open_data_scene import Scene
from tests.support.postgresql import PostgresqlServer
from web.administrators import ensure_administrator

MESSAGES: Final = 1_000_000
FEW_MESSAGES: Final = 1_000
DEVICES: Final = 10_000
ASKED: Final = 1_000
_UNIT_ROWS: Final = 10_000
_PAYLOAD: Final = b'{"temperature":21.5,"humidity":47,"co2":412,"battery":3.6,"rssi":-97,"pir":0}'
_SECOND_US: Final = 1_000_000

_INSERT_MESSAGES = BulkInsert(message, UPLINK_COLUMNS)
_INSERT_JOBS = BulkInsert(
    message_job,
    (
        *("message_id", "decoder_id", "position", "device_id", "organization_id"),
        *("generation", "state", "decoder_version", "body", "settled_at"),
    ),
)
_INSERT_DELIVERIES = BulkInsert(
    delivery,
    (
        *("delivery_id", "message_id", "target_id", "decoder_id", "device_id", "organization_id"),
        *("position", "generation", "state", "attempts", "created_at", "expires_at", "settled_at"),
    ),
)
_INSERT_ATTEMPTS = BulkInsert(
    delivery_attempt,
    (
        *("delivery_id", "target_id", "attempt", "state", "attempted_at", "status_code"),
        *("error_code", "error", "duration_us"),
    ),
)
_INSERT_DEVICES = BulkInsert(
    iot_device, ("id", "application_id", "type", "name", "created_at", "updated_at")
)
_CONNECT = BulkInsert(connection_device, ("connection_id", "device_id"))


def measure() -> Iterator[Row]:
    """Yield the time of one answer at the 99th percentile, and of one feed."""
    with tempfile.TemporaryDirectory() as directory:
        yield from asyncio.run(_engine("SQLite", f"sqlite:///{Path(directory) / 'bench.db'}"))
    with PostgresqlServer() as server:
        yield from asyncio.run(_engine("PostgreSQL", server.url(server.create_database())))


async def _engine(name: str, url: str) -> Sequence[Row]:
    database = open_database(url)
    await database.open()
    await ensure_administrator(database, EMAIL, PASSWORD, now=START)
    try:
        async with api_on(database, Clock()) as api:
            api.sign_in()
            return await _rows(name, api, database)
    finally:
        await database.close()


async def _rows(name: str, api: Api, database: Database) -> Sequence[Row]:
    scene = await Scene(api).laid()
    device_id, decoder_id = await scene.decoded_device()
    filling = _Filling(scene, database, decoder_id=decoder_id, first_device_id=device_id)
    await filling.add_devices(times(DEVICES, 100))
    few = await filling.add_messages(times(FEW_MESSAGES, 100))
    before_ms = await _asked(api, few)
    many = await filling.add_messages(times(MESSAGES, 1_000))
    after_ms = await _asked(api, many)
    listed_ms = await _timed(
        lambda: api.get(f"message?deviceId={random.choice(filling.device_ids)}"), times(ASKED // 10)
    )
    fetched_ms = await _timed(lambda: _harvest(scene), times(5))
    held = f"{len(few) + len(many):,} in the database"
    return (
        Row(
            name=f"the way of a message, {held}, {name}, p99 (p50 {median(after_ms):.1f} ms)",
            value=percentile(after_ms, 99),
            unit="ms",
            ratio=percentile(after_ms, 99) / percentile(before_ms, 99),
            reference=f"{len(few):,} in the database, {percentile(before_ms, 99):.1f} ms",
            budget="at most 50 ms",
        ),
        Row(
            name=f"a page of 100 messages of a device, {held}, {name}, p99",
            value=percentile(listed_ms, 99),
            unit="ms",
            ratio=None,
            reference="",
            budget="",
        ),
        Row(
            name=f"open data of {len(filling.device_ids):,} devices, made anew, {name}",
            value=median(fetched_ms),
            unit="ms",
            ratio=None,
            reference=f"{held}",
            budget="",
        ),
    )


async def _asked(api: Api, message_ids: Sequence[str]) -> list[float]:
    return await _timed(lambda: api.get(f"message/{random.choice(message_ids)}"), times(ASKED))


async def _harvest(scene: Scene) -> None:
    scene.later()
    answer = await scene.fetch(scene.data)
    assert answer.raw.count(b"temperature") > 1


async def _timed(ask: Callable[[], Awaitable[object]], count: int) -> list[float]:
    """Return how many milliseconds each took; the first few only warm up."""
    taken: list[float] = []
    for _ in range(count + 3):
        began_s = time.perf_counter()
        await ask()
        taken.append((time.perf_counter() - began_s) * 1_000)
    return taken[3:]


class _Filling:
    """Puts rows where the hub would have put them."""

    def __init__(
        self, scene: Scene, database: Database, *, decoder_id: int, first_device_id: int
    ) -> None:
        self._scene = scene
        self._database = database
        self._decoder_id = decoder_id
        self.device_ids = [first_device_id]
        self._position = 0

    async def add_devices(self, count: int) -> None:
        """Devices like the first, connected as it is."""
        first = self.device_ids[0]
        self.device_ids = list(range(first, first + count))
        others = self.device_ids[1:]
        application_id = self._scene.application

        def unit(transaction: Transaction) -> None:
            transaction.insert_many(
                _INSERT_DEVICES,
                [(id_, application_id, "GENERIC_HTTP", f"Copy {id_}", 0, 0) for id_ in others],
            )
            transaction.insert_many(_CONNECT, [(1, id_) for id_ in others])

        await self._database.write(unit)

    async def add_messages(self, count: int) -> list[str]:
        """Messages of all devices in turn, decoded and delivered; returns their ids."""
        ids: list[str] = []
        for start in range(0, count, _UNIT_ROWS):
            rows = [self._message() for _ in range(min(_UNIT_ROWS, count - start))]
            jobs = [self._job(row) for row in rows]
            deliveries = [self._delivery(row) for row in rows]
            attempts = [row for one in deliveries if one[9] == 2 for row in _attempts(one)]

            def unit(
                transaction: Transaction,
                filled: Sequence[tuple[BulkInsert, Sequence[Sequence[object]]]] = (
                    (_INSERT_MESSAGES, rows),
                    (_INSERT_JOBS, jobs),
                    (_INSERT_DELIVERIES, deliveries),
                    (_INSERT_ATTEMPTS, attempts),
                ),
            ) -> None:
                for insert, made in filled:
                    transaction.insert_many(insert, made)

            await self._database.write(unit)
            ids += [str(row[0]) for row in rows]
        return ids

    def _message(self) -> tuple[object, ...]:
        self._position += 1
        device_id = self.device_ids[self._position % len(self.device_ids)]
        received_at = microseconds(START) + self._position
        owner = (device_id, self._scene.organization, self._scene.application, "GENERIC_HTTP")
        return (new_message_id(), self._position, *owner, received_at, _PAYLOAD, None)

    def _job(self, row: Sequence[object]) -> tuple[object, ...]:
        message_id, position, device_id, organization_id = row[:4]
        owner = (message_id, self._decoder_id, position, device_id, organization_id)
        return (*owner, 0, "decoded", "v1", _PAYLOAD, row[6])

    def _delivery(self, row: Sequence[object]) -> tuple[object, ...]:
        message_id, position, device_id, organization_id = row[:4]
        head = (new_delivery_id(), message_id, 1, self._decoder_id, device_id, organization_id)
        attempts = 2 if self._position % 10 == 0 else 1
        created_at = microseconds(START) + self._position
        expires_at = created_at + int(timedelta(hours=72).total_seconds()) * _SECOND_US
        return (*head, position, 0, "delivered", attempts, created_at, expires_at, created_at)


def _attempts(row: Sequence[object]) -> Iterator[tuple[object, ...]]:
    delivery_id, at = row[0], microseconds(START)
    yield (delivery_id, 1, 1, "retrying", at, 503, "delivery_retryable", "It answered 503.", 9)
    yield (delivery_id, 1, 2, "delivered", at + _SECOND_US, 200, None, None, 9)
