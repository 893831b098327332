"""Which process of this machine is at the other end of a loopback connection, read from /proc."""

import asyncio
import os
from pathlib import Path
from typing import Final
from weakref import WeakKeyDictionary

_TCP: Final = Path("/proc/net/tcp")
_PROC: Final = Path("/proc")


class Senders:
    """Looks once for each connection, since that reads the descriptors of every process."""

    def __init__(self) -> None:
        self._known: WeakKeyDictionary[asyncio.StreamWriter, int | None] = WeakKeyDictionary()

    def of(self, writer: asyncio.StreamWriter) -> int | None:
        """Return the process that opened the connection, None when it is gone already."""
        if writer not in self._known:
            inode = _socket_between(_port(writer, "peername"), _port(writer, "sockname"))
            self._known[writer] = None if inode is None else _owner_of(inode)
        return self._known[writer]


def _port(writer: asyncio.StreamWriter, end: str) -> int:
    port: int = writer.get_extra_info(end)[1]
    return port


def _socket_between(port: int, to_port: int) -> str | None:
    """A port may be in use towards several others at once: both ends tell the connection."""
    for line in _TCP.read_text().splitlines()[1:]:
        fields = line.split()
        here, there = (int(fields[place].rpartition(":")[2], 16) for place in (1, 2))
        if (here, there) == (port, to_port):
            return fields[9]
    return None


def _owner_of(inode: str) -> int | None:
    wanted = f"socket:[{inode}]"
    for process in _PROC.iterdir():
        if not process.name.isdigit():
            continue
        try:
            descriptors = list((process / "fd").iterdir())
        except OSError:
            continue
        for descriptor in descriptors:
            try:
                if os.readlink(descriptor) == wanted:
                    return int(process.name)
            except OSError:
                continue
    return None
