"""Storage alone, killed at any moment: what was acknowledged is there, once, and the books balance."""

import asyncio
import os
import random
import signal
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest
import structlog

from storage import open_database
from storage.delivery.outbox import outbox_items
from storage.embedded_journal import EmbeddedJournal
from storage.journal import EMBEDDED, JournalEntry
from storage.results import JobState, MessageResult
from tests.support.pipeline import TARGET, Pipeline, job, outcome, pipeline_on, result, uplink

ROUNDS = 30
_ROOT = Path(__file__).parents[2]
_SENDERS = 20


@pytest.mark.faults
async def test_nothing_acknowledged_is_lost_or_doubled_however_often_the_process_is_killed(
    tmp_path: Path,
) -> None:
    chance = random.Random(20260301)
    acknowledged: set[str] = set()
    for _ in range(ROUNDS):
        acknowledged |= run_and_kill(tmp_path, lifetime_s=chance.uniform(0.0, 0.25))
        check_file(tmp_path / "hub.db", acknowledged)
    assert len(acknowledged) > ROUNDS
    database = open_database(f"sqlite:///{tmp_path / 'hub.db'}")
    await database.open()
    async with pipeline_on(database) as pipeline:
        balances = await pipeline.ledger.balance()
        assert sum(balance.jobs.accepted for balance in balances) >= len(acknowledged)
        assert [balance.imbalance for balance in balances] == [0]
        assert await pipeline.ledger.audit() == []
    await database.close()


def run_and_kill(directory: Path, *, lifetime_s: float) -> set[str]:
    """Run the child for that long after its first acknowledgement; return what it acknowledged."""
    child = subprocess.Popen(
        [sys.executable, "-m", __name__, str(directory)],
        cwd=_ROOT,
        stdout=subprocess.PIPE,
        # Unbuffered: what a buffer holds after the first line would be lost to `communicate`.
        bufsize=0,
    )
    assert child.stdout is not None
    first = child.stdout.readline().decode().strip()
    assert first, "the child ended by itself"
    try:
        child.wait(timeout=lifetime_s)
    except subprocess.TimeoutExpired:
        child.send_signal(signal.SIGKILL)
    rest, _ = child.communicate(timeout=10)
    assert child.returncode == -signal.SIGKILL
    # The last line may have been cut; it was then not acknowledged to anybody.
    whole = rest.decode().rpartition("\n")[0].split()
    return {first, *whole}


def check_file(path: Path, acknowledged: set[str]) -> None:
    with closing(sqlite3.connect(path)) as connection:
        waiting = [row[0] for row in connection.execute("SELECT message_id FROM journal")]
        settled = [row[0] for row in connection.execute("SELECT message_id FROM message")]
        positions = [row[0] for row in connection.execute("SELECT position FROM message")]
        doubled = connection.execute(
            "SELECT count(*) FROM (SELECT 1 FROM delivery GROUP BY message_id HAVING count(*) > 1)"
        ).fetchone()[0]
    assert acknowledged <= {*waiting, *settled}
    assert len({*waiting, *settled}) == len(waiting) + len(settled)
    assert len(set(positions)) == len(positions)
    assert doubled == 0


async def _child(directory: Path) -> None:
    """Accept, settle out of order, deliver, and print each id once its append has resolved."""
    database = open_database(f"sqlite:///{directory / 'hub.db'}")
    await database.open()
    async with pipeline_on(database) as pipeline:
        fresh: asyncio.Queue[list[JournalEntry]] = asyncio.Queue()
        cursor = pipeline.listener.cursors[EMBEDDED]
        fresh.put_nowait(await pipeline.journal.unsettled_after(cursor, 100_000))
        pipeline.listener.on_appended = fresh.put_nowait
        async with asyncio.TaskGroup() as group:
            group.create_task(_settle(pipeline, fresh))
            group.create_task(_deliver(pipeline))
            for number in range(_SENDERS):
                group.create_task(_send(pipeline.journal, number))


async def _send(journal: EmbeddedJournal, device_id: int) -> None:
    while True:
        appended = await journal.append(uplink(device_id + 1))
        os.write(1, f"{appended.message_id}\n".encode())


async def _settle(pipeline: Pipeline, fresh: asyncio.Queue[list[JournalEntry]]) -> None:
    late: list[JournalEntry] = []
    while True:
        entries = [*late, *await fresh.get()]
        late = [entry for entry in entries if random.random() < 0.2]
        now = [entry for entry in entries if entry not in late]
        random.shuffle(now)
        if not now:
            continue
        cursor = max(entry.position for entry in entries)
        report = await pipeline.commit(*(_result(entry) for entry in now), cursor=cursor)
        assert not report.set_aside
        assert len(outbox_items(report.written)) == sum(len(r.deliveries) for r in report.written)


def _result(entry: JournalEntry) -> MessageResult:
    if entry.position % 5:
        return result(entry, device_state=b"state")
    return result(entry, job(JobState.FAILED, error="It threw."))


async def _deliver(pipeline: Pipeline) -> None:
    while True:
        items = await pipeline.outbox.waiting(TARGET, now=uplink().received_at, limit=50)
        await pipeline.outbox.record([outcome(item) for item in items])


if __name__ == "__main__":
    # What the child prints are acknowledgements and nothing else.
    structlog.configure(logger_factory=structlog.PrintLoggerFactory(sys.stderr))
    asyncio.run(_child(Path(sys.argv[1])))
