"""`tingbro copy` as a process that is killed."""

import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from storage import open_database
from tests.support.hub_process import ROOT
from tests.support.pipeline import job, pipeline_on, result, uplink
from tests.support.postgresql import PostgresqlServer

_WAITS = "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND datname = %s"


@pytest.fixture
def target(postgresql: PostgresqlServer) -> Iterator[str]:
    """The name of an empty database with the schema."""
    name = postgresql.create_database()
    yield name
    postgresql.drop_database(name)


@pytest.fixture
async def source(tmp_path: Path) -> str:
    url = f"sqlite:///{tmp_path / 'hub.db'}"
    database = open_database(url)
    await database.open()
    async with pipeline_on(database) as pipeline:
        entries = await pipeline.accept(*(uplink(n) for n in range(20)))
        await pipeline.commit(*(result(entry, job()) for entry in entries[:10]))
    await database.close()
    return url


def copy(source: str, target_url: str) -> "subprocess.Popen[str]":
    return subprocess.Popen(
        [sys.executable, "-m", "web", "copy", "--from", source, "--to", target_url],
        cwd=ROOT,
        env={"PATH": "/usr/bin:/bin"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


@contextmanager
def nobody_may_insert(cursor: Any, table: str) -> Iterator[None]:
    cursor.execute("BEGIN")
    cursor.execute(f"LOCK TABLE {table} IN SHARE ROW EXCLUSIVE MODE")
    yield
    cursor.execute("ROLLBACK")


def wait_until_it_waits(cursor: Any, database: str) -> None:
    deadline_s = time.monotonic() + 20
    while time.monotonic() < deadline_s:
        cursor.execute(_WAITS, (database,))
        if cursor.fetchone()[0]:
            return
        time.sleep(0.02)
    raise AssertionError("the copy did not get to the table that is locked")


def test_copy_that_was_killed_left_nothing_and_is_simply_run_again(
    postgresql: PostgresqlServer, target: str, source: str
) -> None:
    with postgresql.administration(target) as locking, postgresql.administration() as watching:
        with nobody_may_insert(locking, "delivery"):
            killed = copy(source, postgresql.url(target))
            wait_until_it_waits(watching, target)
            killed.kill()
            killed.communicate()
        locking.execute("SELECT count(*) FROM message")
        assert locking.fetchone() == (0,)
    again = copy(source, postgresql.url(target))
    output, _ = again.communicate(timeout=60)
    assert again.returncode == 0, output
    assert "the books agree" in output
    with postgresql.administration(target) as looking:
        looking.execute("SELECT (SELECT count(*) FROM message), (SELECT count(*) FROM journal)")
        assert looking.fetchone() == (10, 10)


def test_copy_over_a_server_that_is_away_says_so_without_the_password(
    postgresql: PostgresqlServer, source: str
) -> None:
    # Nobody listens on the discard port of loopback.
    url = postgresql.url("hub", port=9)
    process = copy(source, url)
    output, _ = process.communicate(timeout=60)
    assert process.returncode == 3
    assert "Traceback" not in output
    assert url.partition("@")[0].rpartition(":")[2] not in output
