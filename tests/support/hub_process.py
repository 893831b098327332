"""A whole hub as a process of its own, started as a user would start it.

    with HubProcess(tmp_path) as hub:
        async with HubClient(hub.url) as client:
            await client.login()

What a hub logs as an error, and any traceback, fails whoever leaves the block, unless its event was
named with `allow_errors` before. The data directory stays, so that a killed hub can be started again.
"""

import http.client
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Final, Self

from tests.support.guards import LOOPBACK_SETTINGS

ROOT: Final = Path(__file__).parents[2]
ADMIN_EMAIL: Final = "admin@example.org"
ADMIN_PASSWORD: Final = "correct horse battery"

# What psycopg2 prints by itself when the server ends a session within COPY; it then raises as well.
_OF_A_BROKEN_COPY: Final = (
    "psycopg2.errors.",
    "CONTEXT:  COPY ",
    "The above exception was the direct cause",
    "SystemError: <function decode",
)
READY_TIMEOUT_S: Final = 20.0
STOP_TIMEOUT_S: Final = 20.0
_POLL_S: Final = 0.01


class HubNotReady(AssertionError):
    """The hub ended or kept silent instead of getting ready; the text holds its last log lines."""


class HubProcess:
    """One hub on one data directory, on a port that stays the same over restarts."""

    def __init__(
        self,
        directory: Path,
        *,
        role: str = "up",
        settings: Mapping[str, str] | None = None,
        variables: Mapping[str, str] | None = None,
    ) -> None:
        """`role` is the command; `settings` are named without the prefix; `variables` are passed
        on as they are."""
        directory.mkdir(parents=True, exist_ok=True)
        self.role = role
        self.data_dir = directory / "data"
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self._log = directory / "hub.log"
        self._output = directory / "hub.out"
        self._settings = dict(settings or {})
        self._variables = dict(variables or {})
        self._allowed: set[str] = set()
        self._process: subprocess.Popen[bytes] | None = None
        self._output_before = 0

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, kind: object, error: object, trace: object) -> None:
        if self.is_running:
            self.terminate()
        if kind is None:
            lines = self.unexpected_lines()
            assert not lines, "\n".join(line[-2_000:] for line in lines[:10])

    @property
    def pid(self) -> int:
        assert self._process is not None, "the hub was never started"
        return self._process.pid

    @property
    def is_running(self) -> bool:
        return self._process is not None and self._process.poll() is None

    @property
    def exit_code(self) -> int | None:
        """None while it runs."""
        return None if self._process is None else self._process.poll()

    @property
    def database(self) -> Path:
        return self.data_dir / "tingbro.db"

    @property
    def database_url(self) -> str | None:
        """Where its database is when that is not the file."""
        return self._settings.get("DATABASE_URL")

    def start(self) -> None:
        """Start the hub and return when it says that it is ready."""
        self.launch()
        self.wait_until_ready()

    def launch(self) -> None:
        """Start the hub without waiting for it."""
        assert not self.is_running
        with self._log.open("ab") as log, self._output.open("ab") as output:
            self._output_before = output.tell()
            self._process = subprocess.Popen(
                [sys.executable, "-m", "web", self.role],
                cwd=ROOT,
                env=self.environment(),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=log,
                start_new_session=True,
            )

    def wait_until_ready(self) -> None:
        deadline_s = time.monotonic() + READY_TIMEOUT_S
        while not self._is_ready():
            if not self.is_running:
                raise HubNotReady(f"the hub ended with {self.exit_code}\n{self._tail()}")
            if time.monotonic() > deadline_s:
                raise HubNotReady(f"not ready after {READY_TIMEOUT_S} s\n{self._tail()}")
            time.sleep(_POLL_S)

    def kill(self) -> None:
        """SIGKILL the hub's own process. Its workers have to notice by themselves."""
        assert self._process is not None
        self._process.send_signal(signal.SIGKILL)
        self._process.wait(STOP_TIMEOUT_S)

    def pause(self) -> None:
        """SIGSTOP the process itself: its connections stay open, and it knows nothing of the time."""
        assert self._process is not None
        self._process.send_signal(signal.SIGSTOP)

    def resume(self) -> None:
        assert self._process is not None
        self._process.send_signal(signal.SIGCONT)

    def terminate(self) -> int:
        """Ask for an orderly stop and return the exit code."""
        assert self._process is not None
        self._process.send_signal(signal.SIGTERM)
        try:
            return self._process.wait(STOP_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            self.kill()
            raise AssertionError(f"the hub did not stop\n{self._tail()}") from None

    def wait(self) -> int:
        """Return the exit code of a hub that ends by itself."""
        assert self._process is not None
        return self._process.wait(READY_TIMEOUT_S)

    def restart(self) -> None:
        """Stop in good order and start again on the same data."""
        assert self.terminate() == 0
        self.start()

    def output(self) -> str:
        """Everything that was printed for the user so far."""
        return self._output.read_text(encoding="utf-8")

    def log(self) -> str:
        """Everything that was logged so far."""
        return self._log.read_text(encoding="utf-8", errors="replace")

    def allow_errors(self, *events: str) -> None:
        """These events may be logged as errors from here on."""
        self._allowed.update(events)

    def unexpected_lines(self) -> list[str]:
        """Log lines that no well-behaved run has: errors that nobody allowed, and tracebacks."""
        return [line for line in self.log().splitlines() if self._is_unexpected(line)]

    def _is_unexpected(self, line: str) -> bool:
        try:
            entry = json.loads(line)
        except ValueError:  # something wrote past the log
            is_driver = (
                line.startswith(_OF_A_BROKEN_COPY) and "database.write.fail" in self._allowed
            )
            return bool(line.strip()) and not is_driver
        if entry.get("event") in self._allowed:
            return False
        return entry.get("level") in ("error", "critical") or "Traceback" in line

    def environment(self) -> dict[str, str]:
        """What the process is started with."""
        settings = {
            "DATA_DIR": str(self.data_dir),
            "HTTP_HOST": "127.0.0.1",
            "HTTP_PORT": str(self.port),
            "ADMIN_EMAIL": ADMIN_EMAIL,
            "ADMIN_PASSWORD": ADMIN_PASSWORD,
            "DECODER_WORKERS": "2",
            "LOG_FORMAT": "json",
            **LOOPBACK_SETTINGS,
            **self._settings,
        }
        return {
            "PATH": os.environ.get("PATH", os.defpath),
            "PYTHONPATH": str(ROOT),
            **{f"TINGBRO_{name}": value for name, value in settings.items()},
            **self._variables,
        }

    def _is_ready(self) -> bool:
        if self.role == "worker":  # which listens nowhere
            return b" is ready" in self._output.read_bytes()[self._output_before :]
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=1)
        try:
            connection.request("GET", "/readyz")
            return connection.getresponse().status == 200
        except (OSError, http.client.HTTPException):
            return False
        finally:
            connection.close()

    def _tail(self) -> str:
        return "\n".join(self._log.read_text(errors="replace").splitlines()[-20:])


def free_port() -> int:
    """A loopback port that nobody listens on now. Somebody else may be quicker: start again then."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
