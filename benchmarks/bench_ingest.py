"""What it costs to acknowledge after the disk has it, against the same server not storing."""

import asyncio
from collections.abc import Callable, Iterator
from statistics import median
from typing import Final

from benchmarks.duration import seconds, times
from benchmarks.ingest_server import ANSWERING, STORING, IngestServer
from benchmarks.load import Plan, generate
from benchmarks.percentiles import median_ratio
from benchmarks.row import Row
from benchmarks.scene import body_without_stamp, running_hub

ROUNDS: Final = 5
DURATION_S: Final = 4.0
CONNECTIONS: Final = 64


def measure() -> Iterator[Row]:
    yield from asyncio.run(_measure())


async def _measure() -> list[Row]:
    with IngestServer(ANSWERING) as answering, IngestServer(STORING) as storing:
        async with running_hub() as scene:
            device = await scene.city.device()
            rates: dict[str, list[float]] = {"answering": [], "storing": [], "hub": []}
            for _ in range(times(ROUNDS)):
                for name, port, api_key, cpu_s in (
                    ("answering", answering.port, answering.api_key, lambda: answering.cpu_s),
                    ("storing", storing.port, storing.api_key, lambda: storing.cpu_s),
                    ("hub", scene.hub.port, device.api_key, lambda: scene.cpu_s),
                ):
                    rates[name].append(await _requests_per_cpu_s(port, api_key, cpu_s))
    floor = f"{median(rates['answering']):,.0f}/CPU-s not storing"
    return [
        Row(
            "ingest acknowledged after fsync",
            median(rates["storing"]),
            "requests/CPU-s",
            median_ratio(rates["storing"], rates["answering"]),
            floor,
            "at least 0.7",
        ),
        Row(
            "the same in a whole hub, message settled, no connection",
            median(rates["hub"]),
            "requests/CPU-s",
            median_ratio(rates["hub"], rates["answering"]),
            floor,
            "",
        ),
    ]


async def _requests_per_cpu_s(port: int, api_key: str, cpu_s: Callable[[], float]) -> float:
    plan = Plan(
        port=port,
        posts=[(f"/api/v1/receive-data?apiKey={api_key}", body_without_stamp())],
        connections=CONNECTIONS,
        duration_s=seconds(DURATION_S),
    )
    before_s = cpu_s()
    report = await generate(plan)
    return report.acked / (cpu_s() - before_s)
