"""A hub of several processes on PostgreSQL and Kafka: one web process and some workers.

with Fleet(tmp_path, database_url=..., bootstrap_servers=...) as fleet:
    async with HubClient(fleet.url) as client:
        await client.login()
"""

import subprocess
import sys
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from typing import Final, Self
from uuid import uuid4

from tests.support import turned_clock
from tests.support.hub_process import ROOT, HubProcess

_MIGRATE_TIMEOUT_S: Final = 60


class Fleet:
    """Each process has a directory, a log and a name of its own; only the web process has a port."""

    def __init__(
        self,
        directory: Path,
        *,
        database_url: str,
        bootstrap_servers: str,
        workers: int = 2,
        partitions: int = 6,
        worker_database_urls: Mapping[int, str] | None = None,
        settings: Mapping[str, str] | None = None,
        clocks: Mapping[str, float] | None = None,
    ) -> None:
        """`worker_database_urls` are other ways to the same database, for some of the workers;
        `settings`, named without the prefix, are for all processes; `clocks` says by how many seconds
        those of some processes are ahead."""
        self.database_url = database_url
        self._settings = {
            "DATABASE_URL": database_url,
            "KAFKA_BOOTSTRAP_SERVERS": bootstrap_servers,
            "KAFKA_PARTITIONS": str(partitions),
            # Other tests use the same cluster, and some of them more than one fleet.
            "KAFKA_TOPIC_PREFIX": f"{directory.name}-{uuid4().hex[:6]}-",
            "SECRET_KEY": "only for tests, and long enough for them",
            **(settings or {}),
        }
        self._directory = directory
        self._clocks = clocks or {}
        self.web = self._process("web", "web")
        urls = worker_database_urls or {}
        self.workers = [
            self._process("worker", f"worker{number}", urls.get(number))
            for number in range(workers)
        ]
        self._stack = ExitStack()

    def __enter__(self) -> Self:
        self.migrate()
        self.launch()
        for process in self.processes:
            process.wait_until_ready()
        return self

    def __exit__(self, *error: object) -> None:
        self._stack.__exit__(*error)  # type: ignore[arg-type]  # as they came

    @property
    def url(self) -> str:
        return self.web.url

    @property
    def processes(self) -> list[HubProcess]:
        return [self.web, *self.workers]

    def migrate(self) -> str:
        """Make schema and topics, as a release does; return what was printed."""
        done = subprocess.run(
            [sys.executable, "-m", "web", "migrate"],
            cwd=ROOT,
            env=self.web.environment(),
            capture_output=True,
            text=True,
            timeout=_MIGRATE_TIMEOUT_S,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    def start(self) -> None:
        """Start every process that does not run, all at once."""
        starting = [process for process in self.processes if not process.is_running]
        with ThreadPoolExecutor(len(starting) or 1) as pool:
            list(pool.map(HubProcess.start, starting))

    def launch(self) -> None:
        """Start every process and wait for none; `__exit__` ends them, as it does after `__enter__`."""
        for process in self.processes:
            self._stack.enter_context(_Kept(process))
            process.launch()

    def add_worker(self) -> HubProcess:
        """Start one more worker and return it when it is ready."""
        worker = self._process("worker", f"worker{len(self.workers)}")
        self.workers.append(worker)
        self._stack.enter_context(_Kept(worker))
        worker.start()
        return worker

    def _process(self, role: str, name: str, database_url: str | None = None) -> HubProcess:
        settings = {**self._settings, "PROCESS_NAME": name}
        if database_url is not None:
            settings["DATABASE_URL"] = database_url
        ahead_s = self._clocks.get(name)
        variables = {} if ahead_s is None else turned_clock.variables(ahead_s)
        return HubProcess(self._directory / name, role=role, settings=settings, variables=variables)


class _Kept:
    """Leaves a process as `HubProcess` does, without starting it on the way in."""

    def __init__(self, process: HubProcess) -> None:
        self._process = process

    def __enter__(self) -> HubProcess:
        return self._process

    def __exit__(self, *error: object) -> None:
        if self._process.is_running:
            self._process.resume()
        self._process.__exit__(*error)
