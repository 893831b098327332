"""The hub's ingest endpoint alone, in a process of its own.

`storing` finds the device, checks the JSON, makes a message of it and answers after the journal's
commit has reached the disk, as the hub does; nobody reads the journal. `checking` does the same up
to the journal, which keeps nothing: the price of storing is the difference. `bare` looks at nothing
at all: what the HTTP server costs. Prints its port and the key of its only device.
"""

import asyncio
import json
import subprocess
import sys
import tempfile
import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final, Self, cast

import uvloop
from aiohttp.web import ServerRunner, TCPSite

from actors.intake import Intake
from benchmarks.journal import Listener, running
from protocols.messages import MessageId, Uplink
from storage import open_database
from storage.device_keys import DeviceKeys
from storage.embedded_journal import EmbeddedJournal
from storage.journal import Appended, JournalAppender, JournalLimits
from storage.repositories.stamps import Author
from storage.tables.entities import application, iot_device, organization
from tests.support.hub_process import ROOT
from tests.support.process_tree import cpu_seconds
from web.hub_port import HubPort
from web.ingest import Ingest
from web.interpreter import settle_heap, share_lock
from web.logging import configure_logging
from web.server import HubServer
from web.settings import LogFormat, LogSettings

BARE: Final = "bare"
CHECKING: Final = "checking"
STORING: Final = "storing"
_MAX_BODY_BYTES: Final = 1024 * 1024
# Nothing is settled here; the hub's limit would end the measurement after half a million.
_UNLIMITED: Final = 10**9


@dataclass(slots=True)
class IngestServer:
    """Runs while its block runs."""

    kind: str
    port: int = 0
    api_key: str = ""
    _process: subprocess.Popen[str] | None = None

    def __enter__(self) -> Self:
        self._process = subprocess.Popen(
            [sys.executable, "-m", __name__, self.kind], cwd=ROOT, stdout=subprocess.PIPE, text=True
        )
        assert self._process.stdout is not None
        said = json.loads(self._process.stdout.readline())
        self.port, self.api_key = said["port"], said["api_key"]
        return self

    def __exit__(self, *_: object) -> None:
        assert self._process is not None
        self._process.terminate()
        self._process.communicate(timeout=10)

    @property
    def cpu_s(self) -> float:
        assert self._process is not None
        return cpu_seconds(self._process.pid)


class _Bare:
    """Stands where the hub stands and looks at nothing."""

    async def accept_http(self, *_: object) -> None:
        return None


class _Forgetful(JournalAppender):
    """Says that everything is kept, and keeps nothing."""

    def __init__(self) -> None:
        self._appended = Appended(MessageId(""), 0, False)

    async def append(self, _uplink: Uplink) -> Appended:
        return self._appended

    @property
    def waiting(self) -> int:
        return 0


@asynccontextmanager
async def _intake(kind: str, api_key: str) -> AsyncIterator[Intake]:
    with tempfile.TemporaryDirectory() as directory:
        database = open_database(f"sqlite:///{Path(directory) / 'ingest.db'}")
        await database.open()
        await database.write(lambda transaction: _register(transaction, api_key))
        journal = EmbeddedJournal(database, JournalLimits(backlog_entries=_UNLIMITED))
        async with running(journal, Listener()):
            appender = journal if kind == STORING else _Forgetful()
            keys = DeviceKeys(database)
            yield Intake(keys=keys, journal=appender, now=lambda: datetime.now(UTC))
        await database.close()


def _register(transaction: Any, api_key: str) -> None:
    """One device, written as the API would."""
    stamps = Author(None, datetime.now(UTC)).creating()
    organization_id = transaction.insert(
        organization, {"name": "City", "open_data_dk_registered": False, **stamps}
    )
    application_id = transaction.insert(
        application, {"name": "Bench", "organization_id": organization_id, **stamps}
    )
    device = {"application_id": application_id, "type": "GENERIC_HTTP", "name": "Device"}
    transaction.insert(iot_device, {**device, "api_key": api_key, **stamps})


async def _serve(kind: str) -> None:
    api_key = str(uuid.uuid4())
    async with _intake(kind, api_key) as intake:
        await _listen(_Bare() if kind == BARE else intake, api_key)


async def _listen(accepting: object, api_key: str) -> None:
    ingest = Ingest(
        cast(HubPort, accepting),
        max_body_bytes=_MAX_BODY_BYTES,
        body_timeout_s=30,
        clock=lambda: datetime.now(UTC),
    )
    runner = ServerRunner(HubServer(ingest, head_timeout_s=15, keep_alive_s=75))
    await runner.setup()
    await TCPSite(runner, "127.0.0.1", 0).start()
    settle_heap()
    print(json.dumps({"port": runner.addresses[0][1], "api_key": api_key}), flush=True)
    await asyncio.Event().wait()


if __name__ == "__main__":
    configure_logging(LogSettings(level="error", format=LogFormat.JSON))
    share_lock()
    uvloop.run(_serve(sys.argv[1]))
