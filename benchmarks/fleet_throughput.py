"""The whole way through a fleet, with one and with two workers: what it does, and what it costs.

In turns: a backlog that was posted while no worker ran, then as many messages again to the running
workers. The backlog shows the workers alone; the second part has the load generator and the web
process beside them, on the same cores.
"""

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from statistics import median
from typing import Final

from benchmarks.duration import times
from benchmarks.fleet_stage import PARTITIONS, PartsCpu, Stage, running_fleet
from benchmarks.load import Plan, generate
from benchmarks.load import Report as LoadReport
from benchmarks.percentiles import median_ratio
from benchmarks.receiver import ReceiverProcess
from benchmarks.receiver import Report as PushReport
from benchmarks.row import Row
from benchmarks.scene import posts_of

MESSAGES: Final = 15_000
DEVICES: Final = 200
QUICK_DEVICES: Final = 40
# A target is one worker's at a time, so that several are needed for two workers to share the pushing.
TARGETS: Final = 8
ROUNDS: Final = 2
PATH: Final = "/fleet"
# Time for the second worker to be there before the first is given everything.
REBALANCE_DELAY_MS: Final = 1_500
TIMEOUT_S: Final = 300.0
WORKERS: Final = (1, 2)


@dataclass(frozen=True, slots=True)
class Part:
    """One measured part: so many messages in so many seconds, and who used the processors."""

    messages: int
    wall_s: float
    cpu: PartsCpu

    @property
    def per_s(self) -> float:
        return self.messages / self.wall_s

    @property
    def per_hub_cpu_s(self) -> float:
        return self.messages / self.cpu.hub

    @property
    def per_worker_cpu_s(self) -> float:
        return self.messages / self.cpu.workers


@dataclass(frozen=True, slots=True)
class Round:
    """`intake` is what posting the backlog cost: nobody but web and the servers was at work."""

    intake: Part
    drain: Part
    live: Part


async def throughput() -> list[Row]:
    rounds: dict[int, list[Round]] = {workers: [] for workers in WORKERS}
    with ReceiverProcess() as receiver:
        async with running_fleet(workers=2, rebalance_delay_ms=REBALANCE_DELAY_MS) as stage:
            urls = [f"{receiver.url}{PATH}"] * TARGETS
            devices = await stage.devices(times(DEVICES, QUICK_DEVICES), urls)
            measure = _Measure(stage, receiver, posts_of(devices))
            await measure.warm_up()
            for _ in range(times(ROUNDS)):
                for workers in WORKERS:
                    rounds[workers].append(await measure.round(workers))
    return list(_rows(rounds))


class _Measure:
    def __init__(
        self, stage: Stage, receiver: ReceiverProcess, posts: list[tuple[str, str]]
    ) -> None:
        self._stage = stage
        self._receiver = receiver
        self._posts = posts
        self._count = times(MESSAGES, 2_000)

    async def warm_up(self) -> None:
        await self._post(500)
        await self._receiver.wait_for(PATH, 500, timeout_s=TIMEOUT_S)

    async def round(self, workers: int) -> Round:
        await self._stage.keep_workers(0)
        await self._receiver.forget()
        before = self._stage.cpu()
        load = await self._post(self._count)
        intake = Part(load.acked, load.duration_s, self._stage.cpu() - before)
        await self._stage.keep_workers(workers)
        drain = await self._drain(load.acked)
        return Round(intake, drain, await self._live())

    async def _drain(self, count: int) -> Part:
        """From the workers' being ready, which is when they are given something to do."""
        before, started_s = self._stage.cpu(), time.monotonic()
        done = (await self._receiver.report(PATH)).deliveries
        report = await self._pushed(count)
        wall_s = report.last_at_s - started_s
        return Part(count - done, wall_s, self._stage.cpu() - before)

    async def _live(self) -> Part:
        await self._receiver.forget()
        before = self._stage.cpu()
        load = await self._post(self._count)
        report = await self._pushed(load.acked)
        wall_s = report.last_at_s - load.started_at_s
        return Part(load.acked, wall_s, self._stage.cpu() - before)

    async def _post(self, count: int) -> LoadReport:
        port = self._stage.fleet.web.port
        return await generate(Plan(port=port, posts=self._posts, count=count, duration_s=TIMEOUT_S))

    async def _pushed(self, count: int) -> PushReport:
        return await self._receiver.wait_for(PATH, count, timeout_s=TIMEOUT_S)


def _rows(rounds: dict[int, list[Round]]) -> Iterator[Row]:
    one, two = rounds[1], rounds[2]
    count = one[0].live.messages
    context = f"{count:,} messages, {TARGETS} targets, {PARTITIONS} partitions; the same 2 cores"
    yield from _pair("backlog drained", one, two, lambda r: r.drain.per_s, "messages/s", context)
    yield from _pair(
        "backlog drained, workers' time",
        one,
        two,
        lambda r: r.drain.per_worker_cpu_s,
        "messages/CPU-s",
        "workers and their decoders only",
    )
    shared = "and load, receiver, PostgreSQL and Kafka on the same 2 cores"
    yield from _pair("whole way", one, two, lambda r: r.live.per_s, "messages/s", shared)
    yield from _pair(
        "whole way, the hub's time",
        one,
        two,
        lambda r: r.live.per_hub_cpu_s,
        "messages/CPU-s",
        "web and workers; not the servers",
        budget="2,500",
    )
    yield from _costs(one, two)


def _pair(
    name: str,
    one: list[Round],
    two: list[Round],
    figure: Callable[[Round], float],
    unit: str,
    context: str,
    *,
    budget: str = "",
) -> Iterator[Row]:
    """A figure with one worker, and with two against it."""
    ones, twos = [figure(one_round) for one_round in one], [figure(two_round) for two_round in two]
    yield Row(f"fleet: {name}, 1 worker", median(ones), unit, None, context, budget)
    yield Row(
        f"fleet: {name}, 2 workers",
        median(twos),
        unit,
        median_ratio(twos, ones),
        "1 worker, in turns",
        budget,
    )


def _costs(one: list[Round], two: list[Round]) -> Iterator[Row]:
    parts: dict[str, Callable[[Part], float]] = {
        "web": lambda part: part.cpu.web,
        "workers": lambda part: part.cpu.workers,
        "PostgreSQL": lambda part: part.cpu.postgresql,
        "Kafka": lambda part: part.cpu.kafka,
    }
    for name, cpu_s in parts.items():
        by_stage = [
            median(1_000 * cpu_s(part) / part.messages for part in stage_parts)
            for stage_parts in (
                [r.intake for r in two],
                [r.drain for r in two],
                [r.live for r in one],
                [r.live for r in two],
            )
        ]
        intake, drain, live_one, live_two = by_stage
        yield Row(
            f"fleet: {name}, for 1,000 messages, 2 workers",
            live_two,
            "CPU-s",
            live_two / live_one,
            f"{live_one:.3f} with 1 worker; taking in {intake:.3f}, draining {drain:.3f}",
            "",
        )
