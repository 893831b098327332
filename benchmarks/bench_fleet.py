"""A hub of several processes: what it does, what interrupts it, and what it needs."""

import asyncio
from collections.abc import Iterator

from benchmarks.fleet_throughput import throughput
from benchmarks.row import Row


def measure() -> Iterator[Row]:
    yield from asyncio.run(throughput())
