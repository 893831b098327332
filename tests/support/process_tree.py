"""What Linux tells about a process and everything that descends from it, read from /proc.

A process that ends while it is looked at simply does not count.
"""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Final

_PROC: Final = Path("/proc")
_TICKS_PER_SECOND: Final = os.sysconf("SC_CLK_TCK")

# Fields of /proc/PID/stat counted from the one after the closing parenthesis of the name.
_STATE, _PARENT = 0, 1
# In user and in system mode, of itself and of those children that have ended and were waited for.
_TICKS: Final = slice(11, 15)
_DEAD_STATES: Final = ("Z", "X")


def family(pid: int) -> list[int]:
    """`pid` and its living descendants, parents before their children."""
    children: dict[int, list[int]] = {}
    for process, fields in _all():
        if fields[_STATE] not in _DEAD_STATES:
            children.setdefault(int(fields[_PARENT]), []).append(process)
    found = [pid]
    for process in found:  # grows while it is walked
        found.extend(children.get(process, ()))
    return found


def leaves(pid: int) -> list[int]:
    """Living descendants of `pid` that have no children themselves; never `pid`."""
    members = family(pid)
    parents = {int(fields[_PARENT]) for _, fields in _all()}
    return [process for process in members[1:] if process not in parents]


def cpu_seconds(pid: int) -> float:
    """User and system time of `pid` and its descendants so far.

    Of a descendant that has ended, it counts as soon as its own parent has waited for it.
    """
    ticks = 0
    for process in family(pid):
        fields = _stat(process)
        if fields:
            ticks += sum(map(int, fields[_TICKS]))
    return ticks / _TICKS_PER_SECOND


def memory_bytes(pid: int) -> int:
    """Proportional set size of `pid` and its descendants: pages that they share count once."""
    total = 0
    for process in family(pid):
        try:
            lines = (_PROC / str(process) / "smaps_rollup").read_text().splitlines()
        except OSError:
            continue
        total += sum(int(line.split()[1]) for line in lines if line.startswith("Pss:"))
    return total * 1024


def _all() -> Iterator[tuple[int, list[str]]]:
    for entry in _PROC.iterdir():
        if entry.name.isdigit():
            fields = _stat(int(entry.name))
            if fields:
                yield int(entry.name), fields


def _stat(pid: int) -> list[str]:
    try:
        text = (_PROC / str(pid) / "stat").read_text()
    except OSError:
        return []
    # The name stands in parentheses and may itself hold spaces and parentheses.
    return text.rpartition(")")[2].split()
