"""What PostgreSQL, or the network before it, may do to a hub: nothing is lost and nothing stands twice."""

import asyncio
import contextlib
import itertools
import os
import random
import signal
import subprocess
import sys
import threading
import time
from collections.abc import AsyncIterator, Callable
from functools import partial
from pathlib import Path
from uuid import UUID

import pytest
from sqlalchemy import func, select, text

from protocols.errors import StorageUnavailable
from storage import Database, open_database
from storage.database import BulkInsert, Reader, Transaction
from storage.postgresql.watch import Watch
from storage.tables.pipeline import source_key
from tests.support.loopback_proxy import LoopbackProxy, Loss
from tests.support.postgresql import PostgresqlServer

TIMEOUT_S = 30
ID = str(UUID(int=1))
# Without a key that would refuse a second row, so that a row written twice shows.
_ADD = text("INSERT INTO written (number) VALUES (:number)")
_COUNT = text("SELECT count(*) AS rows FROM written")
_KEYS = BulkInsert(source_key, ("device_id", "key", "message_id", "seen_at"))


def is_commit(data: bytes) -> bool:
    return b"COMMIT\x00" in data


def add(transaction: Transaction, number: int = 1) -> None:
    transaction.execute(_ADD, {"number": number})


def count(reader: Reader) -> int:
    row = reader.fetch_one(_COUNT)
    assert row is not None
    return int(row[0])


@pytest.fixture
def name(postgresql: PostgresqlServer, postgresql_url: str) -> str:
    """A database with a table that takes everything."""
    name = postgresql_url.rpartition("/")[2]
    with postgresql.administration(name) as cursor:
        cursor.execute("CREATE TABLE written (number bigint)")
        cursor.execute("GRANT ALL ON written TO public")
    return name


@pytest.fixture
async def proxy(postgresql: PostgresqlServer) -> AsyncIterator[LoopbackProxy]:
    async with LoopbackProxy(postgresql.port) as proxy:
        yield proxy


@pytest.fixture
async def database(
    postgresql: PostgresqlServer, name: str, proxy: LoopbackProxy
) -> AsyncIterator[Database]:
    opened = open_database(postgresql.url(name, port=proxy.port))
    await opened.open()
    yield opened
    await opened.close()


@pytest.mark.parametrize("loss", list(Loss))
async def test_commit_whose_connection_is_lost_is_written_once(
    database: Database, proxy: LoopbackProxy, loss: Loss
) -> None:
    proxy.when(is_commit, loss)
    async with asyncio.timeout(TIMEOUT_S):
        writing = asyncio.gather(*(database.write(partial(add, number=n)) for n in range(3)))
        await proxy.lost.wait()
        await writing
        await proxy.deliver_late()
        assert await database.read(count) == 3
    assert database.health().is_ok


async def test_results_of_a_commit_in_doubt_are_those_of_the_run_that_was_committed(
    database: Database, proxy: LoopbackProxy
) -> None:
    runs: list[int] = []

    def write(transaction: Transaction) -> int:
        add(transaction)
        runs.append(len(runs))
        return runs[-1]

    proxy.when(is_commit, Loss.OF_ANSWER)
    async with asyncio.timeout(TIMEOUT_S):
        assert await database.write(write) == 0
    assert runs == [0]


async def test_connection_lost_in_the_middle_of_a_unit_runs_the_unit_again(
    database: Database, proxy: LoopbackProxy
) -> None:
    proxy.when(lambda data: b"INTO written" in data, Loss.OF_ANSWER)
    async with asyncio.timeout(TIMEOUT_S):
        await database.write(add)
        assert await database.read(count) == 1


async def test_connections_lost_while_idle_are_replaced_without_an_outage(
    database: Database, proxy: LoopbackProxy
) -> None:
    async with asyncio.timeout(TIMEOUT_S):
        await asyncio.gather(*(database.read(count) for _ in range(10)))
        await database.write(add)
        proxy.cut()
        await database.write(add)
        assert await asyncio.gather(*(database.read(count) for _ in range(10))) == [2] * 10


async def test_read_whose_connection_is_lost_runs_once_more(
    database: Database, proxy: LoopbackProxy
) -> None:
    await database.write(add)
    proxy.when(lambda data: b"FROM written" in data, Loss.OF_ANSWER)
    async with asyncio.timeout(TIMEOUT_S):
        assert await database.read(count) == 1


async def test_connections_cut_at_any_moment_lose_and_double_nothing(
    database: Database, proxy: LoopbackProxy
) -> None:
    seed = random.randrange(1 << 32)
    moments = random.Random(seed)
    stopping = asyncio.Event()
    acknowledged: list[int] = []

    async def load(worker: int) -> None:
        for step in itertools.count():
            number = worker * 1_000_000 + step
            await database.write(partial(add, number=number))
            acknowledged.append(number)
            # A read that is cut off twice is told so; a write never is.
            with contextlib.suppress(StorageUnavailable):
                await database.read(count)
            if stopping.is_set():
                return

    async with asyncio.timeout(2 * TIMEOUT_S):
        loading = [asyncio.create_task(load(worker)) for worker in range(6)]
        for _ in range(40):
            await asyncio.sleep(moments.uniform(0.0, 0.05))
            proxy.cut()
        stopping.set()
        await asyncio.gather(*loading)
        rows = await database.read(
            lambda reader: reader.fetch_all(text("SELECT number FROM written"))
        )
    assert sorted(row[0] for row in rows) == sorted(acknowledged), f"seed {seed}"


async def test_server_that_is_away_is_told_and_found_again(
    database: Database, proxy: LoopbackProxy
) -> None:
    proxy.is_reachable = False
    proxy.cut()
    writing = database.submit(add)
    async with asyncio.timeout(TIMEOUT_S):
        while database.health().is_ok:  # noqa: ASYNC110  # health is read, it announces nothing
            await asyncio.sleep(0.01)
        assert "cannot be reached" in (database.health().reason or "")
        with pytest.raises(StorageUnavailable, match="cannot be reached"):
            await database.read(count)
        assert not writing.done()
        proxy.is_reachable = True
        await writing
        assert await database.read(count) == 1
    assert database.health().is_ok


async def test_slow_network_only_takes_time(database: Database, proxy: LoopbackProxy) -> None:
    proxy.delay_s = 0.05
    rows = [(number, "k", ID, 1) for number in range(5_000)]
    async with asyncio.timeout(TIMEOUT_S):
        await database.write(lambda transaction: transaction.insert_many(_KEYS, rows))
        counted = await database.read(
            lambda reader: reader.fetch_one(select(func.count()).select_from(source_key))
        )
    assert counted is not None
    assert counted[0] == 5_000


async def test_server_that_restarts_under_load_loses_and_doubles_nothing(
    own_postgresql: PostgresqlServer,
) -> None:
    server = own_postgresql
    name = server.create_database()
    with server.administration(name) as cursor:
        cursor.execute("CREATE TABLE written (number bigint)")
        cursor.execute("GRANT ALL ON written TO public")
    database = open_database(server.url(name))
    await database.open()
    acknowledged: list[int] = []
    reached = asyncio.Event()

    async def load(worker: int) -> None:
        for step in range(60):
            number = worker * 1_000 + step
            await database.write(partial(add, number=number))
            acknowledged.append(number)
            reached.set()

    async with asyncio.timeout(4 * TIMEOUT_S):
        loading = [asyncio.create_task(load(worker)) for worker in range(4)]
        for end in (server.stop, server.kill):
            for _ in range(5):
                reached.clear()
                await reached.wait()
            await asyncio.to_thread(end)
            await asyncio.to_thread(server.start)
        await asyncio.gather(*loading)
        rows = await database.read(
            lambda reader: reader.fetch_all(text("SELECT number FROM written"))
        )
    await database.close()
    assert sorted(row[0] for row in rows) == sorted(acknowledged)


async def test_rows_of_a_process_that_stands_still_are_free_after_the_timeout(
    postgresql: PostgresqlServer, name: str, database: Database
) -> None:
    await database.write(add)
    other = _StoppedProcess(postgresql.url(name), "idle")
    try:
        await asyncio.to_thread(other.wait_until_it_holds)
        async with asyncio.timeout(12):
            await database.write(lambda transaction: transaction.execute(_CHANGE))
    finally:
        other.end()
    assert database.health().is_ok


async def test_rows_of_a_process_stopped_within_copy_are_free_again(
    postgresql: PostgresqlServer, name: str, database: Database
) -> None:
    await database.write(add)
    other = _StoppedProcess(postgresql.url(name), "copy")
    try:
        await asyncio.to_thread(other.wait_until_it_holds)
        async with asyncio.timeout(20):
            await database.write(lambda transaction: transaction.execute(_CHANGE))
    finally:
        other.end()


async def test_two_processes_that_wait_for_each_other_both_get_through(
    postgresql: PostgresqlServer, name: str, database: Database
) -> None:
    other = open_database(postgresql.url(name), is_shared=True)
    await other.open()
    await asyncio.gather(*(database.write(partial(add, number=n)) for n in (1, 2)))
    meeting = threading.Barrier(2)
    runs: list[int] = []

    def change(first: int, second: int) -> Callable[[Transaction], None]:
        def unit(transaction: Transaction) -> None:
            runs.append(first)
            transaction.execute(_CHANGE_ONE, {"number": first})
            if len(runs) <= 2:
                meeting.wait(10)
            transaction.execute(_CHANGE_ONE, {"number": second})

        return unit

    async with asyncio.timeout(TIMEOUT_S):
        await asyncio.gather(database.write(change(1, 2)), other.write(change(2, 1)))
    assert len(runs) == 3
    assert database.health().is_ok
    assert other.health().is_ok
    await other.close()


async def test_server_that_does_not_answer_is_told_before_it_is_given_up(
    database: Database, proxy: LoopbackProxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("storage.postgresql.engine._SLOW_S", 0.1)
    proxy.freeze()
    writing = database.submit(add)
    async with asyncio.timeout(TIMEOUT_S):
        while database.health().is_ok:  # noqa: ASYNC110  # health is read, it announces nothing
            await asyncio.sleep(0.01)
        assert "does not answer" in (database.health().reason or "")
        proxy.thaw()
        await writing
    assert database.health().is_ok


async def test_connections_that_are_lost_while_idle_do_not_keep_the_loop_busy(
    database: Database, proxy: LoopbackProxy
) -> None:
    await asyncio.gather(*(database.read(count) for _ in range(10)))
    proxy.cut()
    began_s = time.process_time()
    await asyncio.sleep(0.5)
    assert time.process_time() - began_s < 0.25


async def test_silent_server_is_hung_up_on_and_the_unit_runs_again(
    database: Database, proxy: LoopbackProxy
) -> None:
    driver = database._driver  # type: ignore[attr-defined]
    watch = Watch(driver.transaction.waiting, driver.interrupt, limit_s=0.2)
    proxy.freeze()
    writing = database.submit(add)
    watch.start()
    async with asyncio.timeout(TIMEOUT_S):
        while proxy.connections < 2:  # noqa: ASYNC110  # counted by the proxy, without a word
            await asyncio.sleep(0.01)
        await asyncio.to_thread(watch.stop)
        proxy.thaw()
        await writing
        assert await database.read(count) == 1


class _StoppedProcess:
    """A hub's process that changes all rows of `written` and is stopped before it commits."""

    def __init__(self, url: str, where: str) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-c", _STOP + _STOPPED[where], url], cwd=_ROOT
        )

    def wait_until_it_holds(self) -> None:
        _, status = os.waitpid(self._process.pid, os.WUNTRACED)
        assert os.WIFSTOPPED(status), status

    def end(self) -> None:
        self._process.send_signal(signal.SIGKILL)
        self._process.wait()


# The signal may reach another thread first: this one must not go on meanwhile.
_STOP = """
import os, signal, threading

def stop():
    os.kill(os.getpid(), signal.SIGSTOP)
    threading.Event().wait()
"""
_ROOT = Path(__file__).parents[2]
_STOPPED = {
    "idle": """
import asyncio, sys
from sqlalchemy import text
from storage import open_database

def unit(transaction):
    transaction.execute(text("UPDATE written SET number = 0"))
    stop()

async def main():
    database = open_database(sys.argv[1], is_shared=True)
    await database.open()
    await database.write(unit)

asyncio.run(main())
""",
    "copy": """
import sys
from storage.postgresql.address import DatabaseAddress
from storage.postgresql.connection import connect

class Rows:
    def __init__(self):
        self.left = 2
    def read(self, size):
        self.left -= 1
        if not self.left:
            stop()
        return b"7\\n" * 20_000

cursor = connect(DatabaseAddress(sys.argv[1])).cursor()
cursor.execute("BEGIN; UPDATE written SET number = 0")
cursor.copy_expert("COPY written FROM STDIN", Rows(), 100_000)
""",
}
_CHANGE = text("UPDATE written SET number = number + 100")
_CHANGE_ONE = text("UPDATE written SET number = number WHERE number = :number")
