"""The processes of the Procfile, run by honcho as its users would run them."""

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import aiohttp

from tests.support.guards import LOOPBACK_SETTINGS
from tests.support.hub_process import ADMIN_EMAIL, ADMIN_PASSWORD, ROOT
from tests.support.process_tree import family

READY_TIMEOUT_S = 90
STOP_TIMEOUT_S = 30
RUN_TIMEOUT_S = 60


def fleet_environment(
    directory: Path, *, database_url: str, bootstrap_servers: str
) -> dict[str, str]:
    """What an operator sets; `tingbro` is the clone's own."""
    command = directory / "bin" / "tingbro"
    command.parent.mkdir()
    command.write_text(f'#!/bin/sh\nexec {sys.executable} -m web "$@"\n')
    command.chmod(0o755)
    return {
        "PATH": f"{command.parent}:{os.environ.get('PATH', os.defpath)}",
        "PYTHONPATH": str(ROOT),
        "TINGBRO_DATABASE_URL": database_url,
        "TINGBRO_KAFKA_BOOTSTRAP_SERVERS": bootstrap_servers,
        "TINGBRO_KAFKA_PARTITIONS": "4",
        # Other tests use the same cluster.
        "TINGBRO_KAFKA_TOPIC_PREFIX": f"{directory.name}-",
        "TINGBRO_SECRET_KEY": "k" * 32,
        "TINGBRO_ADMIN_EMAIL": ADMIN_EMAIL,
        "TINGBRO_ADMIN_PASSWORD": ADMIN_PASSWORD,
        "TINGBRO_DATA_DIR": str(directory / "data"),
        "TINGBRO_HTTP_HOST": "127.0.0.1",
        "TINGBRO_DECODER_WORKERS": "1",
        "TINGBRO_LOG_FORMAT": "json",
        **{f"TINGBRO_{name}": value for name, value in LOOPBACK_SETTINGS.items()},
    }


def honcho(*arguments: str) -> list[str]:
    return [sys.executable, "-m", "honcho", "-f", str(ROOT / "Procfile"), "start", *arguments]


async def run(environment: dict[str, str], *command: str) -> str:
    """Run a command to its end, insist that it succeeds, and return what it printed."""
    done = await asyncio.to_thread(
        subprocess.run,
        command,
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        timeout=RUN_TIMEOUT_S,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@asynccontextmanager
async def fleet(environment: dict[str, str], port: int, output: Path) -> AsyncIterator[None]:
    """One web process and two workers, as the Procfile names them; their log holds no surprises."""
    process = _start(environment, port, output)
    try:
        await _ready(f"http://127.0.0.1:{port}", process)
        yield
        process.send_signal(signal.SIGTERM)
        await asyncio.to_thread(process.wait, STOP_TIMEOUT_S)
    finally:
        # honcho gives each process a group of its own; killed, it would leave them behind.
        for member in reversed(family(process.pid)):
            with suppress(ProcessLookupError):
                os.kill(member, signal.SIGKILL)
        process.wait()
    _assert_no_surprises(output)


def _assert_no_surprises(output: Path) -> None:
    log = output.read_text(encoding="utf-8")
    assert '"level":"error"' not in log, log[-4_000:]
    assert '"level":"critical"' not in log, log[-4_000:]
    assert "Traceback" not in log, log[-4_000:]


def _start(environment: dict[str, str], port: int, output: Path) -> "subprocess.Popen[bytes]":
    arguments = ("-p", str(port), "-c", "web=1,worker=2", "web", "worker")
    with output.open("wb") as file:
        return subprocess.Popen(
            honcho(*arguments),
            cwd=ROOT,
            env=environment,
            stdout=file,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )


async def _ready(url: str, process: "subprocess.Popen[bytes]") -> None:
    async with asyncio.timeout(READY_TIMEOUT_S), aiohttp.ClientSession(url) as session:
        while process.poll() is None:
            try:
                async with session.get("/readyz") as answer:
                    if answer.status == 200:
                        return
            except aiohttp.ClientError:
                pass
            await asyncio.sleep(0.1)
    raise AssertionError("the fleet ended instead of getting ready")
