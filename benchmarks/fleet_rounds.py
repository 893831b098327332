"""Messages through a fleet, in rounds, with all that is needed to say what they cost.

A round is a backlog that was posted while no worker ran, and then as many messages again to the running
workers. The backlog shows the workers alone; the second part has the load generator and the web
process beside them, on the same cores.
"""

import time
from contextlib import closing
from dataclasses import dataclass
from typing import Final

import psycopg2

from benchmarks.duration import times
from benchmarks.fleet_stage import PartsCpu, Stage
from benchmarks.load import Plan, generate
from benchmarks.load import Report as LoadReport
from benchmarks.receiver import ReceiverProcess
from benchmarks.scene import posts_of
from tests.support.hub_client import Device

MESSAGES: Final = 15_000
DEVICES: Final = 200
QUICK_DEVICES: Final = 40
# A target is one worker's at a time, so that several are needed for two workers to share the pushing.
TARGETS: Final = 8
PATH: Final = "/fleet"
SECOND_PATH: Final = "/fleet-again"
TIMEOUT_S: Final = 300.0

_SIZE: Final = """
SELECT sum(pg_total_relation_size(name::regclass)) / (SELECT count(*) FROM message)
FROM unnest(ARRAY['message', 'message_job', 'delivery']) AS name
"""


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


@dataclass(frozen=True, slots=True)
class Round:
    """`intake` is what posting the backlog cost: nobody but web and the servers was at work."""

    intake: Part
    drain: Part
    live: Part


class Rounds:
    """Made with a stage that has its workers running."""

    def __init__(self, stage: Stage, receiver: ReceiverProcess, devices: list[Device]) -> None:
        self._stage = stage
        self._receiver = receiver
        self._devices = devices
        self._posts = posts_of(devices)
        self._count = times(MESSAGES, 2_000)

    @classmethod
    async def warmed_up(cls, stage: Stage, receiver: ReceiverProcess) -> "Rounds":
        urls = [f"{receiver.url}{PATH}"] * TARGETS
        rounds = cls(stage, receiver, await stage.devices(times(DEVICES, QUICK_DEVICES), urls))
        await rounds._post(500)
        await rounds._pushed(PATH, 500)
        return rounds

    async def round(self, workers: int) -> Round:
        intake = await self._take_in()
        await self._stage.keep_workers(workers)
        return Round(intake, await self._drain(PATH), await self._live())

    async def drain_to_two_targets(self) -> Part:
        """A backlog whose every message is pushed twice, by one worker."""
        urls = [f"{self._receiver.url}{SECOND_PATH}"] * TARGETS
        await self._stage.connect(self._devices, urls)
        await self._take_in()
        await self._stage.keep_workers(1)
        return await self._drain(PATH, SECOND_PATH)

    def message_bytes(self) -> float:
        """What PostgreSQL holds for each message so far, indexes included."""
        with (
            closing(psycopg2.connect(self._stage.fleet.database_url)) as connection,
            connection.cursor() as cursor,
        ):
            cursor.execute(_SIZE)
            ((size_bytes,),) = cursor.fetchall()
            return float(size_bytes)

    async def _take_in(self) -> Part:
        """A backlog, without anybody to take it up."""
        await self._stage.keep_workers(0)
        await self._receiver.forget()
        before = self._stage.cpu()
        load = await self._post(self._count)
        return Part(load.acked, load.duration_s, self._stage.cpu() - before)

    async def _drain(self, *paths: str) -> Part:
        """From the workers' being ready, which is when they are given something to do."""
        before, started_s = self._stage.cpu(), time.monotonic()
        done = (await self._receiver.report(PATH)).deliveries
        ended_s = [await self._pushed(path, self._count) for path in paths]
        return Part(self._count - done, max(ended_s) - started_s, self._stage.cpu() - before)

    async def _live(self) -> Part:
        await self._receiver.forget()
        before = self._stage.cpu()
        load = await self._post(self._count)
        wall_s = await self._pushed(PATH, load.acked) - load.started_at_s
        return Part(load.acked, wall_s, self._stage.cpu() - before)

    async def _post(self, count: int) -> LoadReport:
        port = self._stage.fleet.web.port
        plan = Plan(port=port, posts=self._posts, count=count, duration_s=TIMEOUT_S)
        load = await generate(plan)
        assert load.acked == count, f"{load.refused} of {count} were refused"
        return load

    async def _pushed(self, path: str, count: int) -> float:
        """Wait until so many were pushed; return when the last one was."""
        report = await self._receiver.wait_for(path, count, timeout_s=TIMEOUT_S)
        return report.last_at_s
