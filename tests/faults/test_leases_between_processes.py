"""Processes that share things by lease over PostgreSQL, and are stopped and killed."""

import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path

import pytest

NAMES = [f"thing/{number}" for number in range(6)]
MOVED_WITHIN_S = 15.0
START_S = 15.0
# The lines of a moment ago may still be on their way.
RECENT_S = 0.5
_POLL_S = 0.05


class LeaseProcess:
    """One process, and the acts it has begun."""

    def __init__(self, url: str, holder: str, directory: Path) -> None:
        self._path = directory / f"{holder}.acts"
        command = [sys.executable, "-m", "tests.support.lease_process", url, holder]
        self._process = subprocess.Popen([*command, str(self._path), *NAMES])

    def acts(self) -> list[tuple[float, str]]:
        """Return when each act was begun, in seconds, and for what."""
        lines = self._path.read_text().splitlines() if self._path.exists() else []
        pairs = [line.split(" ") for line in lines if line.count(" ") == 1]
        return [(int(at_ns) / 1e9, name) for at_ns, name in pairs]

    def acts_for(self) -> set[str]:
        """Return what it acts for at present."""
        since = time.time() - RECENT_S
        return {name for at, name in self.acts() if at >= since}

    def send(self, number: signal.Signals) -> None:
        self._process.send_signal(number)

    def end(self) -> None:
        self._process.kill()
        self._process.wait()


@contextmanager
def process(url: str, holder: str, directory: Path) -> Iterator[LeaseProcess]:
    running = LeaseProcess(url, holder, directory)
    try:
        yield running
    finally:
        running.end()


def wait_until_acting(one: LeaseProcess, count: int, *, within_s: float) -> float:
    """Wait until it acts for so many things; return how many seconds that took."""
    began_s = time.monotonic()
    while len(one.acts_for()) != count:
        took_s = time.monotonic() - began_s
        assert took_s <= within_s, f"it acts for {sorted(one.acts_for())} after {took_s:.1f} s"
        time.sleep(_POLL_S)
    return time.monotonic() - began_s


@pytest.mark.faults
def test_what_a_stopped_or_killed_process_held_moves_in_time_and_is_acted_for_by_one_only(
    postgresql_url: str, tmp_path: Path
) -> None:
    half, whole = len(NAMES) // 2, len(NAMES)
    with process(postgresql_url, "a", tmp_path) as a, process(postgresql_url, "b", tmp_path) as b:
        wait_until_acting(a, half, within_s=START_S)
        wait_until_acting(b, half, within_s=START_S)

        a.send(signal.SIGSTOP)
        wait_until_acting(b, whole, within_s=MOVED_WITHIN_S)
        a.send(signal.SIGCONT)
        wait_until_acting(a, half, within_s=MOVED_WITHIN_S)
        wait_until_acting(b, half, within_s=MOVED_WITHIN_S)

        b.end()
        wait_until_acting(a, whole, within_s=MOVED_WITHIN_S)
        alternations = {name: changes_of_hands(name, a, b) for name in NAMES}

    # To and fro: at the start, when one is stopped, when it comes back, and in the end.
    assert max(alternations.values()) <= 4, alternations


def changes_of_hands(name: str, *processes: LeaseProcess) -> int:
    """Count how often the acts for one thing change from one process to another."""
    acts = sorted(
        (at, number)
        for number, one in enumerate(processes)
        for at, of_name in one.acts()
        if of_name == name
    )
    return sum(before[1] != after[1] for before, after in pairwise(acts))
