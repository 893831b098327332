"""A process that shares things by lease and writes down when it begins an act: what a worker does, small.

    python -m tests.support.lease_process URL HOLDER FILE NAME...

Each line of FILE is an act that was begun: the machine's clock in nanoseconds, and the name.
"""

import asyncio
import sys
import time
from collections.abc import Collection
from pathlib import Path
from typing import ClassVar, TextIO

from actors.leased_ownership import LeasedOwnership, boot_time_s
from actors.ownership import Keeper, Tenure
from actors.runtime import ActorSystem
from storage import open_database
from storage.leases import LeaseStore
from storage.processes import ProcessIdentity, ProcessRegistry, ProcessRole

_ACT_EVERY_S = 0.02
_BEAT_EVERY_S = 2.0


class Acts(Keeper):
    """Begins an act for each thing that is up, time and again, if its tenure says that it may."""

    kind: ClassVar = "thing"
    asks_before_acting: ClassVar = True

    def __init__(self, names: Collection[str], file: TextIO) -> None:
        self._names = names
        self._file = file
        self._up: dict[str, Tenure] = {}

    async def wanted(self) -> Collection[str]:
        return self._names

    def take_up(self, name: str, tenure: Tenure) -> None:
        self._up[name] = tenure

    async def put_down(self, name: str) -> None:
        del self._up[name]

    async def run(self) -> None:
        while True:
            for name, tenure in self._up.items():
                if tenure.may_begin():
                    self._file.write(f"{time.time_ns()} {name}\n")
            self._file.flush()
            await asyncio.sleep(_ACT_EVERY_S)


async def main(url: str, holder: str, path: str, *names: str) -> None:
    database = open_database(url, is_shared=True, migrate=False)
    await database.open()
    identity = ProcessIdentity(
        process_id=holder, role=ProcessRole.WORKER, host="here", pid=0, version="test"
    )
    registry = ProcessRegistry(database, identity)
    await registry.beat(is_well=True, cause=None, reason="")
    system = ActorSystem()
    await system.start()
    with Path(path).open("w") as file:  # noqa: ASYNC230  # a file on this machine, line by line
        acts = Acts(names, file)
        ownership = LeasedOwnership(LeaseStore(database, holder, monotonic=boot_time_s))
        ownership.prepare(system, (acts,))
        await ownership.begin()
        async with asyncio.TaskGroup() as group:
            group.create_task(acts.run())
            while True:
                await asyncio.sleep(_BEAT_EVERY_S)
                await registry.beat(is_well=True, cause=None, reason="")


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
