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
_STATE, _PARENT, _USER_TICKS, _SYSTEM_TICKS = 0, 1, 11, 12
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
    """User and system time of `pid` and its living descendants so far.

    The time of a descendant that has ended is lost: compare two readings only when none ended
    between them.
    """
    ticks = 0
    for process in family(pid):
        fields = _stat(process)
        if fields:
            ticks += int(fields[_USER_TICKS]) + int(fields[_SYSTEM_TICKS])
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
