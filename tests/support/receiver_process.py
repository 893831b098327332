"""A receiver of pushes in a process of its own, which writes down each push before it answers.

It outlives hubs that are killed, and what it wrote survives its own end.

    with ReceiverProcess(tmp_path) as receiver:
        ...  # have pushes sent to receiver.url
        ids = [push.webhook_id for push in receiver.pushes()]
"""

import asyncio
import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from tests.support.hub_process import ROOT
from tests.support.receivers import ReceivedRequest, Receiver, status
from tests.support.senders import Senders


@dataclass(frozen=True, slots=True)
class ReceivedPush:
    webhook_id: str
    message_id: str
    body: Any
    path: str
    sender: int | None
    """The process that sent it, where it runs on this machine and its end could be told."""
    at_s: float


class ReceiverProcess:
    """Runs while its block runs; its port is picked by the system and never changes."""

    def __init__(self, directory: Path) -> None:
        self._record = directory / "pushes.jsonl"
        self._process: subprocess.Popen[str] | None = None
        self.url = ""

    def __enter__(self) -> Self:
        self._process = subprocess.Popen(
            [sys.executable, "-m", __name__, str(self._record)],
            cwd=ROOT,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
            stdout=subprocess.PIPE,
            text=True,
        )
        assert self._process.stdout is not None
        self.url = self._process.stdout.readline().strip()
        assert self.url, "the receiver did not start"
        return self

    def __exit__(self, *_: object) -> None:
        assert self._process is not None
        self._process.send_signal(signal.SIGTERM)
        self._process.communicate(timeout=10)

    def pushes(self) -> list[ReceivedPush]:
        """All pushes so far, in the order in which they arrived."""
        if not self._record.exists():
            return []
        lines = self._record.read_bytes().split(b"\n")
        return [ReceivedPush(**json.loads(line)) for line in lines[:-1]]  # the last may be half


async def _receive(record: Path) -> None:
    descriptor = os.open(record, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    accept = status(204)
    senders = Senders()

    async def write_down(request: ReceivedRequest, writer: asyncio.StreamWriter) -> None:
        push = {
            "webhook_id": request.headers["webhook-id"],
            "message_id": request.headers["tingbro-message-id"],
            "body": json.loads(request.body),
            "path": request.target,
            "sender": senders.of(writer),
            "at_s": time.monotonic(),
        }
        os.write(descriptor, json.dumps(push).encode() + b"\n")
        receiver.requests.clear()
        await accept(request, writer)

    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    async with Receiver(write_down) as receiver:
        sys.stdout.write(receiver.url + "\n")
        sys.stdout.flush()
        await stop.wait()


if __name__ == "__main__":
    asyncio.run(_receive(Path(sys.argv[1])))
