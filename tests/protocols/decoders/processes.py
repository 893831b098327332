"""Looking at processes from outside, without sleeping for a fixed time."""

import asyncio
import os
import select
import time
from collections.abc import Callable
from pathlib import Path

TICKS_PER_S = os.sysconf("SC_CLK_TCK")


def cpu_s(pid: int) -> float:
    """CPU seconds that the process has used."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / TICKS_PER_S


def size_bytes(pid: int) -> int:
    """The process's address space."""
    return int(Path(f"/proc/{pid}/statm").read_text().split()[0]) * os.sysconf("SC_PAGESIZE")


async def until(condition: Callable[[], bool], timeout_s: float = 10.0) -> None:
    """Looks again every few milliseconds. Raises: TimeoutError."""
    deadline_s = time.monotonic() + timeout_s
    while not condition():
        if time.monotonic() > deadline_s:
            raise TimeoutError
        await asyncio.sleep(0.005)


async def until_busy(pids: list[int], used_s: float = 0.05) -> int:
    """Returns the first of the processes that has worked that long from now on."""
    before = {pid: cpu_s(pid) for pid in pids}
    found: list[int] = []

    def is_busy() -> bool:
        found.extend(pid for pid in pids if cpu_s(pid) - before[pid] >= used_s)
        return bool(found)

    await until(is_busy)
    return found[0]


class Ends:
    """Knows whether processes have ended, even if their pids are used again."""

    def __init__(self, pids: list[int]) -> None:
        self._descriptors = [os.pidfd_open(pid) for pid in pids]

    def wait(self, timeout_s: float) -> bool:
        """True when all have ended in time."""
        deadline_s = time.monotonic() + timeout_s
        for descriptor in self._descriptors:
            left_s = max(deadline_s - time.monotonic(), 0)
            if not select.select([descriptor], [], [], left_s)[0]:
                return False
            os.close(descriptor)
        return True
