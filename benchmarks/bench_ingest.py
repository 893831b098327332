"""What it costs to acknowledge after the disk has it, against the same server not storing.

That one finds the device, checks the JSON and makes a message of it, too; a second comparison is
with a server that does not even look at the request.
"""

import asyncio
from collections.abc import Iterator
from statistics import median
from typing import Final, Protocol

from benchmarks.duration import seconds, times
from benchmarks.ingest_server import BARE, CHECKING, STORING, IngestServer
from benchmarks.load import Plan, generate
from benchmarks.percentiles import median_ratio
from benchmarks.row import Row
from benchmarks.scene import body_without_stamp, running_hub

ROUNDS: Final = 5
DURATION_S: Final = 4.0
# The log of a new database grows to 64 MiB before it is begun anew, and a write that lengthens a file
# costs the disk twice; a hub is past that after its first minutes.
WARM_UP_S: Final = 10.0
CONNECTIONS: Final = 64


class _Process(Protocol):
    @property
    def cpu_s(self) -> float: ...


def measure() -> Iterator[Row]:
    yield from asyncio.run(_measure())


async def _measure() -> list[Row]:
    with (
        IngestServer(BARE) as bare,
        IngestServer(CHECKING) as checking,
        IngestServer(STORING) as storing,
    ):
        async with running_hub() as scene:
            device = await scene.city.device()
            sides: list[tuple[str, int, str, _Process]] = [
                *(
                    (server.kind, server.port, server.api_key, server)
                    for server in (bare, checking, storing)
                ),
                ("hub", scene.hub.port, device.api_key, scene),
            ]
            rates: dict[str, list[float]] = {name: [] for name, *_ in sides}
            for _, port, api_key, _ in sides:
                await generate(_plan(port, api_key, WARM_UP_S))
            for _ in range(times(ROUNDS)):
                for name, port, api_key, process in sides:
                    before_s = process.cpu_s
                    report = await generate(_plan(port, api_key, DURATION_S))
                    rates[name].append(report.acked / (process.cpu_s - before_s))
    return [
        _row("ingest acknowledged after fsync", rates, STORING, CHECKING, "at least 0.7"),
        _row("the same, against a server that looks at nothing", rates, STORING, BARE),
        _row("the same in a whole hub, message settled, no connection", rates, "hub", CHECKING),
    ]


def _row(
    what: str, rates: dict[str, list[float]], measured: str, floor: str, budget: str = ""
) -> Row:
    return Row(
        what,
        median(rates[measured]),
        "requests/CPU-s",
        median_ratio(rates[measured], rates[floor]),
        f"{median(rates[floor]):,.0f}/CPU-s {floor} only",
        budget,
    )


def _plan(port: int, api_key: str, duration_s: float) -> Plan:
    return Plan(
        port=port,
        posts=[(f"/api/v1/receive-data?apiKey={api_key}", body_without_stamp())],
        connections=CONNECTIONS,
        duration_s=seconds(duration_s),
    )
