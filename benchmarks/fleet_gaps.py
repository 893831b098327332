"""How long nothing is done when a worker dies, and when one joins, under a steady load.

Two places are looked at. *Processing*: each message's time of decoding, as it stands in PostgreSQL;
a partition's longest gap less its usual one. *Arrival*: the age of the oldest message when it came
to the receiver, less the usual age; this counts the leases of targets too, which move by themselves.
"""

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import closing
from dataclasses import dataclass
from statistics import median
from typing import Final

import psycopg2

from benchmarks.duration import is_quick, times
from benchmarks.fleet_stage import Stage
from benchmarks.load import Plan, generate
from benchmarks.receiver import ReceiverProcess
from benchmarks.row import Row
from benchmarks.scene import posts_of
from tests.support.hub_client import Device
from tests.support.hub_process import HubProcess

DEVICES: Final = 50
RATE_PER_S: Final = 100.0
TARGETS: Final = 6
ROUNDS: Final = 3
PATH: Final = "/gaps"
TIMEOUT_S: Final = 120.0
QUIET_S: Final = 3.0
QUICK_QUIET_S: Final = 1.5
# No longer than what is looked for takes by the budget: what comes later is waited for all the same.
KILL_WATCH_S: Final = 10.0
JOIN_WATCH_S: Final = 4.0

_MICROSECONDS: Final = 1e6
# Each partition's gaps between messages, in the order in which they were decoded.
_GAPS: Final = """
SELECT partition, max(gap), percentile_disc(0.5) WITHIN GROUP (ORDER BY gap) FROM (
    SELECT position >> 48 AS partition,
           settled_at - lag(settled_at) OVER (PARTITION BY position >> 48 ORDER BY settled_at) AS gap
    FROM message_job JOIN message USING (message_id, position) WHERE received_at > %s
) AS gaps WHERE gap IS NOT NULL GROUP BY partition
"""
_NOW: Final = "SELECT (extract(epoch FROM clock_timestamp()) * 1000000)::bigint"


@dataclass(frozen=True, slots=True)
class Interruption:
    """In seconds: processing of the partition that stood longest, and the latest arrival."""

    processing_s: float
    arrival_s: float


async def interruptions(stage: Stage, receiver: ReceiverProcess) -> list[Row]:
    """`stage` has two workers running and a third that does not."""
    devices = await stage.devices(DEVICES, [f"{receiver.url}{PATH}"] * TARGETS)
    watch = _Watch(stage, receiver, devices)
    await watch.settle()
    killed, joined = [], []
    for _ in range(times(ROUNDS)):
        joined.append(await watch.during(watch.join, JOIN_WATCH_S))
        await stage.keep_workers(2)
        await watch.settle()
        killed.append(await watch.during(watch.kill, KILL_WATCH_S))
        await stage.keep_workers(2)
        await watch.settle()
    context = f"{RATE_PER_S:.0f} messages/s, open loop; the longest of {len(killed)}, the median"
    return [
        *_rows("a worker of two is killed", killed, context, ("at most 10 s", "at most 15 s")),
        *_rows("a third worker joins", joined, context, ("at most 3 s", "")),
    ]


class _Watch:
    def __init__(self, stage: Stage, receiver: ReceiverProcess, devices: list[Device]) -> None:
        self._stage = stage
        self._receiver = receiver
        self._posts = posts_of(devices)

    async def settle(self) -> None:
        """Until every worker has its share of everything and is warm."""
        await self.during(_nothing, 0.0)

    async def join(self) -> None:
        await asyncio.to_thread(HubProcess.start, self._stage.fleet.workers[2])

    async def kill(self) -> None:
        await asyncio.to_thread(HubProcess.kill, self._stage.fleet.workers[1])

    async def during(
        self, happening: Callable[[], Awaitable[None]], watch_s: float
    ) -> Interruption:
        """Let it happen under load, watch for so long afterwards, and wait until all has arrived."""
        await self._receiver.forget()
        began_at = self._fetch(_NOW)[0][0]
        quiet_s = QUICK_QUIET_S if is_quick() else QUIET_S
        load = asyncio.create_task(self._load(quiet_s + watch_s))
        await asyncio.sleep(quiet_s)
        await happening()
        acked = await load
        report = await self._receiver.wait_for(PATH, acked, timeout_s=TIMEOUT_S)
        gaps = self._fetch(_GAPS, began_at)
        return Interruption(
            max(longest - usual for _, longest, usual in gaps) / _MICROSECONDS,
            (report.max_ms - report.p50_ms) / 1e3,
        )

    async def _load(self, duration_s: float) -> int:
        plan = Plan(
            port=self._stage.fleet.web.port,
            posts=self._posts,
            rate_per_s=RATE_PER_S,
            duration_s=duration_s,
            connections=DEVICES,
        )
        return (await generate(plan)).acked

    def _fetch(self, statement: str, *parameters: object) -> list[tuple[int, ...]]:
        with (
            closing(psycopg2.connect(self._stage.fleet.database_url)) as connection,
            connection.cursor() as cursor,
        ):
            cursor.execute(statement, parameters)
            rows: list[tuple[int, ...]] = cursor.fetchall()
            return rows


def _rows(what: str, seen: list[Interruption], context: str, budgets: tuple[str, str]) -> list[Row]:
    processing = [one.processing_s for one in seen]
    arrival = [one.arrival_s for one in seen]
    return [
        Row(
            f"fleet: nothing processed when {what}",
            max(processing),
            "s",
            None,
            f"{context} {median(processing):.1f} s",
            budgets[0],
        ),
        Row(
            f"fleet: latest arrival when {what}",
            max(arrival),
            "s",
            None,
            f"the leases of targets move too; the median {median(arrival):.1f} s",
            budgets[1],
        ),
    ]


async def _nothing() -> None:
    pass
