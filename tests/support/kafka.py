"""The real Apache Kafka, one process in KRaft mode, on loopback ports that stay the same over restarts.

It lets groups form at once and never makes a topic by itself. Everything else is as Kafka ships it,
but for the timeouts after which a broker that was killed may register again.
"""

import base64
import os
import signal
import socket
import struct
import subprocess
import time
import uuid
from collections.abc import Mapping
from pathlib import Path
from typing import Final, Self

from tests.support.hub_process import free_port
from tests.support.kafka_doors import KafkaDoors

READY_TIMEOUT_S: Final = 60.0
STOP_TIMEOUT_S: Final = 20.0
_POLL_S: Final = 0.02

# Small and quick to start rather than quick in the long run.
_JAVA: Final = ("java", "-Xmx256m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1")
_METADATA_REQUEST: Final = struct.pack(">hhihi", 3, 1, 1, -1, 0)

_SETTINGS: Final = {
    "process.roles": "broker,controller",
    "node.id": "1",
    "controller.listener.names": "CONTROLLER",
    "inter.broker.listener.name": "PLAINTEXT",
    "auto.create.topics.enable": "false",
    "group.initial.rebalance.delay.ms": "0",
    "offsets.topic.num.partitions": "1",
    "offsets.topic.replication.factor": "1",
    "transaction.state.log.replication.factor": "1",
    "transaction.state.log.min.isr": "1",
    "num.network.threads": "1",
    "num.io.threads": "2",
    "log.cleaner.enable": "false",
    "log.retention.check.interval.ms": "500",
    "broker.session.timeout.ms": "1000",
    "broker.heartbeat.interval.ms": "200",
    "controller.quorum.election.timeout.ms": "100",
    "controller.quorum.election.backoff.max.ms": "100",
    "controller.quorum.fetch.timeout.ms": "300",
}


class KafkaNotReady(AssertionError):
    """The broker ended or kept silent; the text holds what it printed last."""


class KafkaBroker:
    """One broker on one directory. `settings` replace or add to its server properties; by the `doors`
    it is reached in other ways too."""

    def __init__(
        self,
        jars: Path,
        directory: Path,
        *,
        settings: Mapping[str, str] | None = None,
        doors: KafkaDoors | None = None,
    ) -> None:
        self._jars = jars
        self._directory = directory
        self._output = directory / "kafka.out"
        self._properties = directory / "server.properties"
        self._settings = dict(settings or {})
        self._doors = doors
        self._process: subprocess.Popen[bytes] | None = None
        self.port = free_port()

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self.is_running:
            self.kill()

    @property
    def bootstrap_servers(self) -> str:
        return f"127.0.0.1:{self.port}"

    @property
    def pid(self) -> int:
        assert self._process is not None, "it was never started"
        return self._process.pid

    @property
    def is_running(self) -> bool:
        return self._process is not None and self._process.poll() is None

    def start(self) -> None:
        """Start it, with an empty cluster the first time, and return when it answers."""
        self.launch()
        self.wait_until_ready()

    def launch(self) -> None:
        """Start it without waiting for it."""
        assert not self.is_running
        if not self._properties.exists():
            self._format()
        with self._output.open("ab") as output:
            self._process = subprocess.Popen(
                self._command("kafka.Kafka", str(self._properties)),
                cwd=self._directory,
                env={**os.environ, "LC_ALL": "C"},
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    def wait_until_ready(self) -> None:
        deadline_s = time.monotonic() + READY_TIMEOUT_S
        while not self._has_brokers():
            if not self.is_running:
                raise KafkaNotReady(f"Kafka ended\n{self._tail()}")
            if time.monotonic() > deadline_s:
                raise KafkaNotReady(f"not ready after {READY_TIMEOUT_S} s\n{self._tail()}")
            time.sleep(_POLL_S)

    def terminate(self) -> None:
        """Stop it in good order."""
        self._end(signal.SIGTERM)

    def kill(self) -> None:
        """SIGKILL, also while it is paused."""
        self._end(signal.SIGKILL)

    def pause(self) -> None:
        """SIGSTOP, and return when it stands still: connections stay open and nothing answers."""
        assert self._process is not None
        self._process.send_signal(signal.SIGSTOP)
        os.waitid(os.P_PID, self._process.pid, os.WSTOPPED)

    def resume(self) -> None:
        assert self._process is not None
        self._process.send_signal(signal.SIGCONT)

    def _format(self) -> None:
        self._directory.mkdir(parents=True, exist_ok=True)
        controller, doors = free_port(), self._doors
        own = f"PLAINTEXT://127.0.0.1:{self.port}"
        listeners = [own, f"CONTROLLER://127.0.0.1:{controller}"]
        protocols = ["PLAINTEXT:PLAINTEXT", "CONTROLLER:PLAINTEXT"]
        settings = {
            **_SETTINGS,
            "listeners": ",".join(listeners + (doors.listeners if doors else [])),
            "advertised.listeners": ",".join([own, *(doors.advertised if doors else [])]),
            "listener.security.protocol.map": ",".join(
                protocols + (doors.protocols if doors else [])
            ),
            "controller.quorum.voters": f"1@127.0.0.1:{controller}",
            "log.dirs": str(self._directory / "data"),
            **(doors.properties() if doors else {}),
            **self._settings,
        }
        self._properties.write_text("".join(f"{key}={value}\n" for key, value in settings.items()))
        cluster_id = base64.urlsafe_b64encode(uuid.uuid4().bytes).decode().rstrip("=")
        # An id that begins with a hyphen would be taken for an option.
        arguments = ["format", f"--cluster-id={cluster_id}", "-c", str(self._properties)]
        for user in doors.users if doors else []:
            arguments += ["--add-scram", user]
        done = subprocess.run(
            self._command("kafka.tools.StorageTool", *arguments),
            capture_output=True,
            text=True,
            timeout=READY_TIMEOUT_S,
        )
        if done.returncode:
            self._properties.unlink()
            raise KafkaNotReady(f"{done.stdout}\n{done.stderr}")

    def _command(self, main: str, *arguments: str) -> list[str]:
        return [*_JAVA, "-cp", f"{self._jars}/*", main, *arguments]

    def _end(self, number: signal.Signals) -> None:
        assert self._process is not None
        self._process.send_signal(number)
        self._process.wait(STOP_TIMEOUT_S)

    def _has_brokers(self) -> bool:
        """Ask for the cluster's metadata, which names no broker before one has registered."""
        try:
            with socket.create_connection(("127.0.0.1", self.port), timeout=2) as connection:
                length = struct.pack(">i", len(_METADATA_REQUEST))
                connection.sendall(length + _METADATA_REQUEST)
                with connection.makefile("rb") as answer:
                    _, _, brokers = struct.unpack(">iii", answer.read(12))
                    return int(brokers) > 0
        except (OSError, struct.error):
            return False

    def _tail(self) -> str:
        return "\n".join(self._output.read_text(errors="replace").splitlines()[-20:])
