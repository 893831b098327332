"""What delivering costs: to a receiver that keeps up, behind one that is away, and once more."""

import asyncio
import json
import tempfile
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from statistics import median
from typing import Any, Final

import aiohttp

from benchmarks.duration import seconds, times
from benchmarks.filling import Backlog, fill
from benchmarks.load import Plan, generate
from benchmarks.percentiles import median_ratio, percentile
from benchmarks.receiver import ReceiverProcess
from benchmarks.row import Row
from benchmarks.scene import SEVEN_VALUES, Scene, posts_of, running_hub, scene_on
from storage import open_database
from tests.support.hub_process import HubProcess, free_port
from tests.support.process_tree import memory_bytes

DELIVERIES: Final = 20_000
BACKLOG: Final = 1_000_000
DEVICES: Final = 200
PAGES: Final = 300
PAGE: Final = 1_000
REPLAYED: Final = 30_000
# As fast as it goes, and as fast as nobody asked for otherwise.
FASTEST_PER_S: Final = 10_000
USUAL_PER_S: Final = 500
PAIRS: Final = 5
LIVE_RATE_PER_S: Final = 200.0
LIVE_S: Final = 8.0
IDLE_S: Final = 5.0
TIMEOUT_S: Final = 300.0
MEGABYTE: Final = 1_000_000
_POLL_S: Final = 0.1


def measure() -> Iterator[Row]:
    with ReceiverProcess() as receiver:
        yield from asyncio.run(_throughput(receiver))
        yield from asyncio.run(_backlog())
        yield from asyncio.run(_replays(receiver, FASTEST_PER_S))
        yield from asyncio.run(_replays(receiver, USUAL_PER_S))


async def _throughput(receiver: ReceiverProcess) -> list[Row]:
    """Messages are taken in while the target is disabled, so that only delivering is measured."""
    count = times(DELIVERIES, 500)
    async with running_hub() as scene:
        target_id = await scene.city.target(f"{receiver.url}/all")
        decoder_id = await scene.city.decoder(SEVEN_VALUES)
        devices = [await scene.city.device() for _ in range(DEVICES)]
        await scene.client.connect(devices, target_id, decoder_id)
        await _act(scene, target_id, "disable")
        plan = Plan(port=scene.hub.port, posts=posts_of(devices), count=count, duration_s=120)
        load = await generate(plan)
        # Another process counts: it can only be asked, again and again.
        while await _pending(scene) < load.acked:  # noqa: ASYNC110
            await asyncio.sleep(_POLL_S)
        cpu_before_s = scene.cpu_s
        await _act(scene, target_id, "enable")
        report = await receiver.wait_for("/all", load.acked, timeout_s=TIMEOUT_S)
        cpu_s = scene.cpu_s - cpu_before_s
    context = f"a backlog of {load.acked:,} of {DEVICES} devices, signed"
    took_s = report.last_at_s - report.first_at_s
    return [
        Row("deliveries to one receiver", load.acked / cpu_s, "/CPU-s", None, context, ""),
        Row("the same, wall", load.acked / took_s, "/s", None, "receiver on the same cores", ""),
    ]


async def _backlog() -> list[Row]:
    count = times(BACKLOG, 5_000)
    async with _stopped_hub() as (hub, backlog):
        hub.start()
        await asyncio.sleep(IDLE_S)
        before_bytes = memory_bytes(hub.pid)
        hub.terminate()
        await _fill(hub, backlog, count)
        hub.start()
        async with scene_on(hub) as scene:
            await _act(scene, backlog.target_id, "enable")
            await asyncio.sleep(IDLE_S)
            after_bytes = memory_bytes(hub.pid)
            pages_ms = await _pages(scene, backlog.target_id)
        hub.terminate()
    held = f"{count:,} deliveries for a receiver that is away"
    return [
        Row(
            "memory of a backlog",
            (after_bytes - before_bytes) / MEGABYTE,
            "MB",
            None,
            f"{held}; {before_bytes / MEGABYTE:.0f} MB without",
            "at most 50 MB",
        ),
        Row(
            f"a page of 1,000 unacknowledged, p99 (p50 {median(pages_ms):.1f} ms)",
            percentile(pages_ms, 99),
            "ms",
            None,
            held,
            "at most 30 ms",
        ),
    ]


async def _replays(receiver: ReceiverProcess, asked_per_s: int) -> list[Row]:
    # As much as keeps a replay going for as long as live messages are measured.
    count = times(min(REPLAYED, round(asked_per_s * LIVE_S)), 500)
    pairs = times(PAIRS)
    async with _stopped_hub(f"{receiver.url}/replayed") as (hub, backlog):
        hub.start()
        hub.terminate()
        ages = [timedelta(hours=number + 1) for number in range(pairs)]
        for number, age in enumerate(ages):
            dead = Backlog(
                target_id=backlog.target_id,
                device_ids=backlog.device_ids,
                organization_id=backlog.organization_id,
                decoder_id=backlog.decoder_id,
                state="dead",
                age=age,
            )
            await _fill(hub, dead, count, first_position=1 + number * count)
        hub.start()
        async with scene_on(hub) as scene:
            await _act(scene, backlog.target_id, "enable")
            live = posts_of(await scene.devices(50, f"{receiver.url}/live"))
            await _live_p99_ms(scene, receiver, live)
            alone_ms: list[float] = []
            beside_ms: list[float] = []
            rates_per_s: list[float] = []
            for age in ages:
                await receiver.forget()
                alone_ms.append(await _live_p99_ms(scene, receiver, live))
                await receiver.forget()
                replaying = asyncio.create_task(
                    _replay(scene, receiver, backlog.target_id, age, count, asked_per_s)
                )
                beside_ms.append(await _live_p99_ms(scene, receiver, live))
                rates_per_s.append(await replaying)
        hub.terminate()
    return [
        Row(
            f"replay, {asked_per_s:,}/s asked for",
            median(rates_per_s),
            "/s",
            None,
            f"{pairs} times {count:,}, {LIVE_RATE_PER_S:g} live messages/s beside it",
            "at least 3,000/s" if asked_per_s == FASTEST_PER_S else "",
        ),
        Row(
            "live p99 beside it",
            median(beside_ms),
            "ms",
            median_ratio(beside_ms, alone_ms),
            f"{median(alone_ms):.3g} ms without it, {pairs} pairs of {seconds(LIVE_S):g} s",
            "at most 1.2",
        ),
    ]


@asynccontextmanager
async def _stopped_hub(url: str | None = None) -> AsyncIterator[tuple[HubProcess, Backlog]]:
    """A hub with a disabled target, by default one whose receiver is away."""
    with tempfile.TemporaryDirectory() as directory:
        hub = HubProcess(Path(directory), settings={"LOG_LEVEL": "error"})
        hub.start()
        async with scene_on(hub) as scene:
            target_id = await scene.city.target(url or f"http://127.0.0.1:{free_port()}/")
            decoder_id = await scene.city.decoder(SEVEN_VALUES)
            devices = [await scene.city.device() for _ in range(DEVICES)]
            await scene.client.connect(devices, target_id, decoder_id)
            await _act(scene, target_id, "disable")
            backlog = Backlog(
                target_id=target_id,
                device_ids=tuple(device.id for device in devices),
                organization_id=scene.city.organization_id,
                decoder_id=decoder_id,
            )
        hub.terminate()
        yield hub, backlog
        if hub.is_running:
            hub.terminate()


async def _fill(hub: HubProcess, backlog: Backlog, count: int, *, first_position: int = 1) -> None:
    database = open_database(f"sqlite:///{hub.database}")
    await database.open()
    try:
        await fill(database, backlog, count, first_position=first_position)
    finally:
        await database.close()


async def _pages(scene: Scene, target_id: int) -> list[float]:
    """How long each page takes until its last byte is there, one after the other."""
    cursor = ""
    pages_ms: list[float] = []
    async with aiohttp.ClientSession(scene.client.url) as session:
        for _ in range(times(PAGES, 3)):
            path = f"/api/v1/data-target/{target_id}/unacknowledged?limit={PAGE}{cursor}"
            started_s = time.perf_counter()
            async with session.get(path, headers=scene.client.headers) as response:
                assert response.status == 200, response.status
                body = await response.read()
            pages_ms.append((time.perf_counter() - started_s) * 1e3)
            cursor = "&cursor=" + _cursor(body)
    return pages_ms


def _cursor(page: bytes) -> str:
    found: dict[str, Any] = json.loads(page)
    return str(found["cursor"])


async def _replay(
    scene: Scene,
    receiver: ReceiverProcess,
    target_id: int,
    age: timedelta,
    count: int,
    asked_per_s: int,
) -> float:
    """Have what was made so long ago sent again; return how many came in a second."""
    made_at = datetime.now(UTC) - age
    answer = await scene.client.request(
        "POST",
        f"/api/v1/data-target/{target_id}/replay",
        json={
            "from": (made_at - timedelta(minutes=30)).isoformat(),
            "to": (made_at + timedelta(minutes=30)).isoformat(),
            "ratePerSecond": asked_per_s,
        },
    )
    assert answer.status == 202, answer
    report = await receiver.wait_for("/replayed", count, timeout_s=TIMEOUT_S)
    return count / (report.last_at_s - report.first_at_s)


async def _live_p99_ms(
    scene: Scene, receiver: ReceiverProcess, live: list[tuple[str, str]]
) -> float:
    """Of live messages, from when they were due until they were pushed; forget what came before."""
    plan = Plan(
        port=scene.hub.port, posts=live, rate_per_s=LIVE_RATE_PER_S, duration_s=seconds(LIVE_S)
    )
    load = await generate(plan)
    report = await receiver.wait_for("/live", load.acked, timeout_s=TIMEOUT_S)
    return report.p99_ms


async def _act(scene: Scene, target_id: int, action: str) -> None:
    answer = await scene.client.request("POST", f"/api/v1/data-target/{target_id}/{action}")
    assert answer.status in (200, 201), answer


async def _pending(scene: Scene) -> int:
    books = await scene.client.books(scene.city.organization_id)
    return int(books["deliveries"].get("pending", 0))
