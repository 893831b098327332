"""Several readers in one group: each partition has one at a time, and nothing is settled twice or never."""

import asyncio
import json
import signal
import sys
from collections import Counter
from collections.abc import AsyncIterator, Collection, Sequence
from contextlib import asynccontextmanager
from dataclasses import asdict
from pathlib import Path

import pytest
from sqlalchemy import select

from protocols.errors import ConnectionLost, HubFull, StorageUnavailable
from storage import Database
from storage.journal import Cursors
from storage.kafka import KafkaAppender, KafkaReader, KafkaSettings, make_topics
from storage.tables.pipeline import message
from tests.support.hearing import Hearing
from tests.support.hub_process import ROOT
from tests.support.kafka import KafkaBroker
from tests.support.kafka_journal import kafka_settings
from tests.support.pipeline import running, uplink
from tests.support.settling_worker import SettlingWorker

PATIENCE_S = 30.0


@asynccontextmanager
async def working(database: Database, settings: KafkaSettings) -> AsyncIterator[SettlingWorker]:
    worker = SettlingWorker(database, KafkaReader(database, settings, holder="worker"))
    work = asyncio.create_task(worker.work())
    try:
        yield worker
    finally:
        work.cancel()
        await asyncio.wait((work,))
        if not work.cancelled():
            work.result()


async def until_shared(*workers: SettlingWorker, among: int = 3) -> None:
    """Return when every partition has one of these workers, and each has some."""
    async with asyncio.timeout(PATIENCE_S):
        while True:
            held = Counter(partition for worker in workers for partition in worker.partitions)
            is_shared = len(held) == among and set(held.values()) == {1}
            if is_shared and all(worker.partitions for worker in workers):
                return
            await asyncio.sleep(0.02)


async def until_settled(database: Database, sent: Collection[str]) -> None:
    async with asyncio.timeout(PATIENCE_S):
        while not set(sent) <= set(await stored(database)):  # noqa: ASYNC110  # nothing tells
            await asyncio.sleep(0.05)


async def stored(database: Database) -> list[str]:
    statement = select(message.c.message_id)
    rows = await database.read(lambda reader: reader.fetch_all(statement))
    return [row.message_id for row in rows]


class Talking:
    """Devices that send until told to stop; `acknowledged` are the ids the hub has answered for."""

    def __init__(self, appender: KafkaAppender, devices: int = 12) -> None:
        self._appender = appender
        self._stop = asyncio.Event()
        self._devices = [asyncio.create_task(self._talk(number)) for number in range(devices)]
        self.acknowledged: list[str] = []

    async def more(self, count: int) -> None:
        wanted = len(self.acknowledged) + count
        async with asyncio.timeout(PATIENCE_S):
            while len(self.acknowledged) < wanted:  # noqa: ASYNC110  # nothing tells
                await asyncio.sleep(0.02)

    async def stop(self) -> list[str]:
        self._stop.set()
        await asyncio.gather(*self._devices)
        return self.acknowledged

    async def _talk(self, number: int) -> None:
        while not self._stop.is_set():
            try:
                kept = await self._appender.append(uplink(number))
                self.acknowledged.append(kept.message_id)
            except (HubFull, StorageUnavailable):
                pass
            await asyncio.sleep(0.01)


async def test_readers_share_the_partitions_and_hand_them_over_while_messages_come(
    settings: KafkaSettings, database: Database, appender: KafkaAppender
) -> None:
    async with working(database, settings) as first:
        await until_shared(first)
        devices = Talking(appender)
        await devices.more(100)
        async with working(database, settings) as second:
            await until_shared(first, second)
            await devices.more(100)
            async with working(database, settings) as third:
                await until_shared(first, second, third)
                await devices.more(100)
            await until_shared(first, second)
        await until_shared(first)
        sent = await devices.stop()
        await until_settled(database, sent)
    assert Counter(await stored(database)) == Counter(sent)
    settled = Counter([*first.settled, *second.settled, *third.settled])
    assert settled == Counter(sent)
    assert second.settled
    assert third.settled


async def test_partition_is_assigned_only_after_its_holder_has_let_go(
    settings: KafkaSettings, database: Database, appender: KafkaAppender
) -> None:
    order: list[str] = []

    class Slow(Hearing):
        async def revoked(self) -> None:
            order.append("first begins to let go")
            await asyncio.sleep(0.5)
            order.append("first has let go")
            await super().revoked()

    class Second(Hearing):
        def assigned(self, cursors: Cursors, *, crashes: int) -> None:
            order.append("second is assigned")
            super().assigned(cursors, crashes=crashes)

    slow = Slow()
    first = KafkaReader(database, settings, holder="first")
    second = KafkaReader(database, settings, holder="second")
    async with running(first, slow), running(second, Second()):
        assert order == ["first begins to let go", "first has let go", "second is assigned"]
        async with asyncio.timeout(PATIENCE_S):
            await slow.is_assigned.wait()
        assert {one.partition for one in (*first.status(), *second.status())} == {1, 2, 3}
        assert slow.crashes == 0


async def test_reader_whose_claim_was_lost_lets_go_and_can_join_again(
    settings: KafkaSettings, database: Database, appender: KafkaAppender
) -> None:
    reader, listener = KafkaReader(database, settings, holder="worker"), Hearing()
    run = asyncio.create_task(reader.run(listener))
    await listener.is_assigned.wait()
    reader.lose([99])
    reader.lose([2])
    with pytest.raises(ConnectionLost, match="Another process"):
        await asyncio.wait_for(run, PATIENCE_S)
    assert listener.revocations == 1
    async with running(reader, listener):
        assert set(listener.cursors) == {1, 2, 3}


async def test_run_that_ends_while_no_broker_answers_says_why_and_leaves_nothing_behind(
    own_kafka_broker: KafkaBroker, database: Database
) -> None:
    settings = kafka_settings(own_kafka_broker)
    await make_topics(settings, database)
    reader, listener = KafkaReader(database, settings, holder="worker"), Hearing()
    async with KafkaAppender(database, settings) as appender:
        await appender.append(uplink(1))
    before = asyncio.all_tasks()
    run = asyncio.create_task(reader.run(listener))
    await listener.hears(1)
    await asyncio.to_thread(own_kafka_broker.kill)
    # The library tries to fetch, and waits before it tries again, ten times a second.
    await asyncio.sleep(0.5)
    reader.lose([1])
    with pytest.raises(ConnectionLost, match="Another process"):
        await run
    assert listener.revocations == 1
    assert asyncio.all_tasks() - before == set()


@pytest.mark.parametrize("moment_s", [0.0, 0.005, 0.02, 0.05, 0.1, 0.3])
async def test_run_that_is_cancelled_at_any_moment_leaves_nothing_behind(
    settings: KafkaSettings, database: Database, topics: None, moment_s: float
) -> None:
    reader, listener = KafkaReader(database, settings, holder="worker"), Hearing()
    before = asyncio.all_tasks()
    run = asyncio.create_task(reader.run(listener))
    await asyncio.sleep(moment_s)
    run.cancel()
    await asyncio.wait((run,))
    assert run.cancelled()
    assert not listener.is_assigned.is_set()
    assert asyncio.all_tasks() - before == set()
    assert reader.status() == []


async def test_broker_killed_while_workers_settle_loses_and_doubles_nothing(
    own_kafka_broker: KafkaBroker, database: Database
) -> None:
    settings = kafka_settings(own_kafka_broker, acknowledge_timeout_s=2.0)
    await make_topics(settings, database)
    async with (
        KafkaAppender(database, settings) as appender,
        working(database, settings) as first,
        working(database, settings) as second,
    ):
        await until_shared(first, second)
        devices = Talking(appender)
        for _ in range(2):
            await devices.more(100)
            await asyncio.to_thread(own_kafka_broker.kill)
            await asyncio.to_thread(own_kafka_broker.start)
        await devices.more(100)
        own_kafka_broker.pause()
        await asyncio.sleep(3)
        own_kafka_broker.resume()
        await devices.more(100)
        sent = await devices.stop()
        await until_settled(database, sent)
    kept = await stored(database)
    assert set(sent) <= set(kept)
    assert len(kept) == len(set(kept))
    assert Counter(kept) == Counter([*first.settled, *second.settled])


class WorkerProcess:
    """A `SettlingWorker` as a process; `lines` are what it told so far."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self.process = process
        self.lines: list[dict[str, object]] = []
        self._reading = asyncio.create_task(self._read())

    async def tells(self, what: str, *, after: int = 0) -> dict[str, object]:
        async with asyncio.timeout(PATIENCE_S):
            while True:
                for line in self.lines[after:]:
                    if line["what"] == what:
                        return line
                assert not self._reading.done(), self.lines
                await asyncio.sleep(0.02)

    async def end(self) -> None:
        if self.process.returncode is None:
            self.process.kill()
        await self.process.wait()
        await self._reading

    async def _read(self) -> None:
        assert self.process.stdout is not None
        async for line in self.process.stdout:
            if line.startswith(b"{"):
                self.lines.append(json.loads(line))


@asynccontextmanager
async def worker_process(url: str, settings: KafkaSettings) -> AsyncIterator[WorkerProcess]:
    plain = {key: value for key, value in asdict(settings).items() if key != "limits"}
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "tests.support.settling_worker", url, json.dumps(plain)),
        stdout=asyncio.subprocess.PIPE,
        cwd=ROOT,
    )
    worker = WorkerProcess(process)
    try:
        yield worker
    finally:
        await worker.end()


@pytest.mark.parametrize("ending", [signal.SIGSTOP, signal.SIGKILL])
async def test_worker_that_falls_silent_is_replaced_and_settles_nothing_afterwards(
    settings: KafkaSettings,
    database: Database,
    appender: KafkaAppender,
    tmp_path: Path,
    ending: signal.Signals,
) -> None:
    url = f"sqlite:///{tmp_path / 'hub.db'}"
    async with (
        worker_process(url, settings) as process,
        working(database, settings) as worker,
    ):
        await until_shares(process, worker)
        before = [(await appender.append(uplink(number))).message_id for number in range(60)]
        await process.tells("settled")
        # SQLite's lock would stay with a process that is stopped in the middle of a transaction.
        await until_settled(database, before)
        process.process.send_signal(ending)
        silent_at = asyncio.get_running_loop().time()
        await until_shared(worker)
        assert asyncio.get_running_loop().time() - silent_at < 10
        devices = Talking(appender)
        await devices.more(50)
        if ending is signal.SIGSTOP:
            told = len(process.lines)
            process.process.send_signal(signal.SIGCONT)
            again = await process.tells("assigned", after=told)
            assert again["partitions"]
        sent = before + await devices.stop()
        await until_settled(database, sent)
    assert Counter(await stored(database)) == Counter(sent)


async def until_shares(process: WorkerProcess, worker: SettlingWorker) -> None:
    async with asyncio.timeout(PATIENCE_S):
        while True:
            mine, theirs = worker.partitions, _last_assigned(process.lines)
            if mine and theirs and mine | theirs == {1, 2, 3} and not mine & theirs:
                return
            await asyncio.sleep(0.02)


def _last_assigned(lines: Sequence[dict[str, object]]) -> set[int]:
    for line in reversed(lines):
        if line["what"] == "assigned":
            assert isinstance(line["partitions"], list)
            return set(line["partitions"])
        if line["what"] == "revoked":
            return set()
    return set()
