"""A real PostgreSQL server of the tests' own: a cluster in a temporary directory, on loopback.

It runs with the durability that it is shipped with (`fsync` on), under scram passwords. `initdb`
refuses root, so under root everything runs as the user of the distribution's package. Databases are
copies of a migrated template, made once for each server: about 50 ms each.
"""

import asyncio
import contextlib
import os
import pwd
import shutil
import signal
import socket
import subprocess
import tempfile
import threading
import time
from collections.abc import Iterator
from itertools import count
from pathlib import Path
from typing import Any, Final, Self
from urllib.parse import quote

import psycopg2

from tests.support.process_tree import family

PACKAGE: Final = "postgresql"
USER: Final = "tingbro"
# With every kind of character that a URL or a connection string must quote.
PASSWORD: Final = "pg secret/?#%'\\"
_TEMPLATE: Final = "tingbro_template"
_START_TIMEOUT_S: Final = 30.0
_POLL_S: Final = 0.02
# A small server that starts quickly; locks and connections as they are shipped.
_CONFIGURATION: Final = """\
listen_addresses = '127.0.0.1'
unix_socket_directories = ''
shared_buffers = 32MB
log_min_messages = warning
log_line_prefix = '%m [%p] %a '
"""


class PostgresqlMissing(Exception):
    """No server's programs are installed here; the text says how to get them."""


class PostgresqlServer:
    """One cluster. `start` makes it at first; its data outlive `stop` and `kill`, not `close`."""

    def __init__(self) -> None:
        self._programs = _programs()
        self._account = _account()
        self._directory = Path(tempfile.mkdtemp(prefix="tingbro-postgresql-"))
        if self._account is not None:
            shutil.chown(self._directory, self._account)
        self._data = self._directory / "data"
        self._process: subprocess.Popen[bytes] | None = None
        self._names = count()
        self._has_template = False
        self.port = _free_port()

    def __enter__(self) -> Self:
        try:
            self.start()
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(self, *_error: object) -> None:
        self.close()

    @property
    def pid(self) -> int:
        """The process that all others of the server descend from."""
        assert self._process is not None
        return self._process.pid

    def url(self, database: str, *, port: int | None = None, password: str = PASSWORD) -> str:
        """The database's URL; `port` is that of a proxy in front of the server."""
        return f"postgresql://{USER}:{quote(password, safe='')}@127.0.0.1:{port or self.port}/{database}"

    def start(self) -> None:
        """Start the server and wait until it answers; makes the cluster when there is none."""
        is_new = not self._data.exists()
        if is_new:
            self._initialize()
        for _ in range(3):
            self._launch()
            if self._is_up():
                break
            # Somebody else took the port in the meantime, or a killed server's children linger.
            self.stop()
        else:
            raise AssertionError(f"PostgreSQL did not start:\n{self.log()}")
        if is_new:
            with self.administration() as cursor:
                cursor.execute(f"CREATE ROLE {USER} LOGIN CREATEDB PASSWORD %s", (PASSWORD,))

    def stop(self) -> None:
        """Stop it in order: open connections are ended, nothing is lost."""
        self._end(signal.SIGINT)

    def kill(self) -> None:
        """Kill every process of it at once, as a power cut would."""
        self._end(signal.SIGKILL)

    def restart(self) -> None:
        self.stop()
        self.start()

    def pause(self) -> None:
        """Freeze all its processes: connections stay open and nothing answers."""
        self._signal(signal.SIGSTOP)

    def resume(self) -> None:
        self._signal(signal.SIGCONT)

    def close(self) -> None:
        """End it and delete its data."""
        self._end(signal.SIGQUIT)
        shutil.rmtree(self._directory, ignore_errors=True)

    def create_database(self, *, is_migrated: bool = True) -> str:
        """Make a database of its own and return its name: with the newest schema, or empty."""
        if is_migrated and not self._has_template:
            self._make_template()
        name = f"hub_{next(self._names)}"
        template = _TEMPLATE if is_migrated else "template0"
        with self.administration() as cursor:
            cursor.execute(f"CREATE DATABASE {name} OWNER {USER} TEMPLATE {template}")
        return name

    def drop_database(self, name: str) -> None:
        with self.administration() as cursor:
            cursor.execute(f"DROP DATABASE IF EXISTS {name} WITH (FORCE)")

    @contextlib.contextmanager
    def administration(self, database: str = "postgres") -> Iterator[Any]:
        """A superuser's cursor; every statement commits by itself."""
        connection = psycopg2.connect(
            host="127.0.0.1",
            port=self.port,
            user="postgres",
            password=PASSWORD,
            dbname=database,
            connect_timeout=5,
        )
        try:
            connection.autocommit = True
            with connection.cursor() as cursor:
                yield cursor
        finally:
            connection.close()

    def log(self) -> str:
        try:
            return (self._directory / "server.log").read_text(errors="replace")[-4_000:]
        except OSError:
            return "(it wrote no log)"

    def _initialize(self) -> None:
        secret = self._directory / "password"
        secret.write_text(PASSWORD + "\n")
        if self._account is not None:
            shutil.chown(secret, self._account)
        arguments = (
            *("--username=postgres", f"--pwfile={secret}", "--auth=scram-sha-256"),
            *("--encoding=UTF8", "--locale=C.UTF-8"),
        )
        done = subprocess.run(
            [self._programs / "initdb", f"--pgdata={self._data}", *arguments],
            user=self._account,
            cwd=self._directory,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        with (self._data / "postgresql.conf").open("a") as file:
            file.write(_CONFIGURATION)

    def _launch(self) -> None:
        with (self._directory / "server.log").open("ab") as log:
            self._process = subprocess.Popen(
                [self._programs / "postgres", "-D", self._data, "-p", str(self.port)],
                user=self._account,
                cwd=self._directory,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                # Ctrl-C is for the tests, which then stop the server in order.
                start_new_session=True,
            )

    def _is_up(self) -> bool:
        deadline = time.monotonic() + _START_TIMEOUT_S
        while time.monotonic() < deadline:
            assert self._process is not None
            if self._process.poll() is not None:
                return False
            with contextlib.suppress(psycopg2.OperationalError), self.administration():
                return True
            time.sleep(_POLL_S)
        return False

    def _end(self, how: signal.Signals) -> None:
        process, self._process = self._process, None
        if process is None or process.poll() is not None:
            return
        members = family(process.pid)
        # A process that is frozen takes no other signal than SIGKILL.
        for member in members:
            _send(member, signal.SIGCONT)
        for member in members if how is signal.SIGKILL else members[:1]:
            _send(member, how)
        process.wait(_START_TIMEOUT_S)

    def _signal(self, how: signal.Signals) -> None:
        for member in family(self.pid):
            _send(member, how)

    def _make_template(self) -> None:
        with self.administration() as cursor:
            cursor.execute(f"CREATE DATABASE {_TEMPLATE} OWNER {USER} TEMPLATE template0")
        # On a thread, because whoever asks may be inside an event loop.
        failures: list[BaseException] = []
        thread = threading.Thread(target=_migrate, args=(self.url(_TEMPLATE), failures))
        thread.start()
        thread.join()
        if failures:
            raise failures[0]
        self._has_template = True


def _migrate(url: str, failures: list[BaseException]) -> None:
    from storage import open_database

    async def open_once() -> None:
        database = open_database(url)
        await database.open()
        await database.close()

    try:
        asyncio.run(open_once())
    except BaseException as exc:
        failures.append(exc)


def _programs() -> Path:
    """The newest server's programs, where Debian and the PostgreSQL project's packages put them."""
    found = sorted(
        Path("/usr/lib/postgresql").glob("*/bin/initdb"), key=lambda path: float(path.parts[-3])
    )
    if found:
        return found[-1].parent
    on_path = shutil.which("initdb")
    if on_path is None:
        raise PostgresqlMissing(
            f"PostgreSQL's server is not installed: apt install {PACKAGE} (Debian, Ubuntu)."
        )
    return Path(on_path).resolve().parent


def _account() -> str | None:
    """The user to run as, or None to stay the one we are."""
    if os.geteuid() != 0:
        return None
    names = {entry.pw_name for entry in pwd.getpwall()}
    return "postgres" if "postgres" in names else "nobody"


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _send(pid: int, how: signal.Signals) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, how)
