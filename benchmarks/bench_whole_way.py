"""The whole way: HTTP in, a decoder that gives seven values, HTTP push out."""

import asyncio
from collections.abc import Iterator
from typing import Final

from benchmarks.duration import seconds, times
from benchmarks.load import Plan, generate
from benchmarks.receiver import ReceiverProcess
from benchmarks.row import Row
from benchmarks.scene import Scene, posts_of, running_hub

MESSAGES: Final = 20_000
DEVICES: Final = 200
RATE_PER_S: Final = 1_000.0
# When the machine cannot do the rate, the figure is taken at one that it can do, and the row says so.
SHARE_OF_CAPACITY: Final = 0.5
DRAIN_TIMEOUT_S: Final = 300.0


def measure() -> Iterator[Row]:
    yield from asyncio.run(_measure())


async def _measure() -> list[Row]:
    with ReceiverProcess() as receiver:
        async with running_hub() as scene:
            devices = await scene.devices(DEVICES, f"{receiver.url}/whole")
            posts = posts_of(devices)
            await generate(Plan(port=scene.hub.port, posts=posts, count=500))
            await receiver.wait_for("/whole", 500, timeout_s=DRAIN_TIMEOUT_S)
            rows, per_wall_s = await _throughput(scene, receiver, posts)
            rate_per_s = min(RATE_PER_S, round(per_wall_s * SHARE_OF_CAPACITY, -1))
            return [*rows, *await _latency(scene, receiver, posts, rate_per_s)]


async def _throughput(
    scene: Scene, receiver: ReceiverProcess, posts: list[tuple[str, str]]
) -> tuple[list[Row], float]:
    count = times(MESSAGES, 1_000)
    await receiver.forget()
    cpu_before_s = scene.cpu_s
    load = await generate(Plan(port=scene.hub.port, posts=posts, count=count, duration_s=120))
    report = await receiver.wait_for("/whole", load.acked, timeout_s=DRAIN_TIMEOUT_S)
    cpu_s = scene.cpu_s - cpu_before_s
    per_cpu_s = load.acked / cpu_s
    per_wall_s = load.acked / (report.last_at_s - load.started_at_s)
    context = f"{load.acked:,} messages of {len(posts)} devices, {report.pushes:,} pushes"
    return [
        Row("whole way", per_cpu_s, "messages/CPU-s", None, context, "2,500; stretch 4,000"),
        Row(
            "whole way, wall",
            per_wall_s,
            "messages/s",
            None,
            "load and receiver share the cores",
            "",
        ),
    ], per_wall_s


async def _latency(
    scene: Scene, receiver: ReceiverProcess, posts: list[tuple[str, str]], rate_per_s: float
) -> list[Row]:
    await receiver.forget()
    plan = Plan(
        port=scene.hub.port,
        posts=posts,
        rate_per_s=rate_per_s,
        duration_s=seconds(15),
        connections=128,
    )
    load = await generate(plan)
    report = await receiver.wait_for("/whole", load.acked, timeout_s=DRAIN_TIMEOUT_S)
    context = f"open loop at {rate_per_s:,.0f} messages/s"
    return [
        Row("device to receiver, p50", report.p50_ms, "ms", None, context, ""),
        Row("device to receiver, p99", report.p99_ms, "ms", None, context, "at most 25 ms"),
        Row("device to 204, p99", load.p99_ms, "ms", None, context, ""),
    ]
