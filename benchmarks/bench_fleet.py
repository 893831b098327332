"""A hub of several processes: what it does, what interrupts it, and what it needs."""

import asyncio
from collections.abc import Iterator

from benchmarks.fleet_gaps import interruptions
from benchmarks.fleet_memory import start_up_and_memory
from benchmarks.fleet_stage import running_fleet
from benchmarks.fleet_throughput import throughput
from benchmarks.receiver import ReceiverProcess
from benchmarks.row import Row


def measure() -> Iterator[Row]:
    yield from asyncio.run(throughput())
    yield from asyncio.run(_interruptions_and_memory())


async def _interruptions_and_memory() -> list[Row]:
    with ReceiverProcess() as receiver:
        async with running_fleet(workers=3) as stage:
            await stage.keep_workers(2)
            return [
                *await interruptions(stage, receiver),
                *await start_up_and_memory(stage, receiver),
            ]
