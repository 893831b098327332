"""`tingbro check`: is everything here that the hub needs to start?

Each look is one function that returns one finding; none raises for what it finds. The
database is asked for its schema only when there is one: checking never makes it.
"""

import os
import shutil
import sqlite3
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Final

from protocols.errors import PortUnavailable, TingbroError
from web.listening import claimed_port
from web.settings import Settings

OLDEST_PYTHON: Final = (3, 11)
# RETURNING, which the storage relies on.
OLDEST_SQLITE: Final = (3, 35, 0)

MEBIBYTE: Final = 1024 * 1024
LEAST_FREE_BYTES: Final = 100 * MEBIBYTE
COMFORTABLE_FREE_BYTES: Final = 1024 * MEBIBYTE

# Acknowledgements wait for the disk; above this a single device notices.
SLOW_FSYNC_S: Final = 0.02
FSYNC_ROUNDS: Final = 5


class Verdict(StrEnum):
    GOOD = "good"
    NOTE = "note"
    MISSING = "missing"


@dataclass(frozen=True, slots=True)
class Finding:
    """What one look found. MISSING means that the hub would not start, or not keep its promises."""

    verdict: Verdict
    subject: str
    sentence: str


def check(settings: Settings) -> list[Finding]:
    """All findings, in the order in which a person would mend them."""
    looks: list[Callable[[Settings], Finding]] = [_python]
    is_local = settings.storage.database_url.startswith("sqlite:")
    if is_local:
        looks.append(_sqlite)
    looks += [_data_directory, _free_space]
    if is_local:
        # Elsewhere an acknowledgement waits for the database server's disk, not for this one's.
        looks.append(_disk)
    looks += [_port, _schema, _secrets]
    if settings.kafka is not None:
        looks.append(_kafka)
    looks.append(_mosquitto)
    return [look(settings) for look in looks]


def _python(_settings: Settings) -> Finding:
    version = ".".join(map(str, sys.version_info[:3]))
    if sys.version_info[:2] < OLDEST_PYTHON:
        return Finding(Verdict.MISSING, "Python", f"{version} is too old: 3.11 or newer is needed.")
    return Finding(Verdict.GOOD, "Python", version)


def _sqlite(_settings: Settings) -> Finding:
    version = sqlite3.sqlite_version
    if sqlite3.sqlite_version_info < OLDEST_SQLITE:
        return Finding(Verdict.MISSING, "SQLite", f"{version} is too old: 3.35 or newer is needed.")
    return Finding(Verdict.GOOD, "SQLite", version)


def _data_directory(settings: Settings) -> Finding:
    subject, directory = "data directory", settings.data_dir
    try:
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(dir=directory):
            pass
    except OSError as error:
        return Finding(
            Verdict.MISSING, subject, f"{directory} cannot be written to ({error.strerror})."
        )
    return Finding(Verdict.GOOD, subject, f"{directory.resolve()} can be written to.")


def _free_space(settings: Settings) -> Finding:
    subject = "disk space"
    try:
        free_bytes = shutil.disk_usage(_nearest_existing(settings.data_dir)).free
    except OSError as error:
        return Finding(Verdict.MISSING, subject, f"cannot be read ({error.strerror}).")
    text = f"{free_bytes // MEBIBYTE:,} MiB free"
    if free_bytes < LEAST_FREE_BYTES:
        return Finding(
            Verdict.MISSING, subject, f"{text}: the hub needs 100 MiB at the very least."
        )
    if free_bytes < COMFORTABLE_FREE_BYTES:
        return Finding(Verdict.NOTE, subject, f"{text}: enough to start, not for long.")
    return Finding(Verdict.GOOD, subject, f"{text}.")


def _disk(settings: Settings) -> Finding:
    subject = "disk speed"
    try:
        fsync_s = _median_fsync_s(settings.data_dir)
    except OSError as error:
        return Finding(Verdict.MISSING, subject, f"nothing can be made durable ({error.strerror}).")
    text = f"a small write is durable after {fsync_s * 1000:.1f} ms"
    if fsync_s > SLOW_FSYNC_S:
        return Finding(
            Verdict.NOTE, subject, f"{text}: every device waits that long for its answer."
        )
    return Finding(Verdict.GOOD, subject, f"{text}.")


def _port(settings: Settings) -> Finding:
    subject, host, port = "HTTP port", settings.http.host, settings.http.port
    try:
        with claimed_port(host, port):
            pass
    except PortUnavailable as error:
        return Finding(Verdict.MISSING, subject, str(error))
    return Finding(Verdict.GOOD, subject, f"{host}:{port} is free.")


def _schema(settings: Settings) -> Finding:
    import asyncio

    from web.administration import schema_summary

    is_usable, sentence = asyncio.run(schema_summary(settings))
    return Finding(Verdict.GOOD if is_usable else Verdict.MISSING, "database", sentence)


def _secrets(settings: Settings) -> Finding:
    import asyncio

    from web.secret_sealing import secrets_summary

    try:
        is_readable, sentence = asyncio.run(secrets_summary(settings))
    except TingbroError as error:
        return Finding(Verdict.MISSING, "secrets", str(error))
    return Finding(Verdict.GOOD if is_readable else Verdict.MISSING, "secrets", sentence)


def _kafka(settings: Settings) -> Finding:
    import asyncio

    from web.journal_inspection import show

    try:
        is_well, lines = asyncio.run(show(settings))
    except TingbroError as error:
        return Finding(Verdict.MISSING, "Kafka", str(error))
    verdict = Verdict.GOOD if is_well else Verdict.MISSING
    return Finding(verdict, "Kafka", lines[-1])


def _mosquitto(_settings: Settings) -> Finding:
    # Debian installs it where ordinary users have no search path.
    path = os.pathsep.join((os.environ.get("PATH", os.defpath), "/usr/sbin", "/usr/local/sbin"))
    found = shutil.which("mosquitto", path=path)
    if found:
        return Finding(Verdict.GOOD, "mosquitto", f"{found} (for MQTT devices, not used yet).")
    return Finding(
        Verdict.NOTE,
        "mosquitto",
        "not found. HTTP devices need nothing of it; MQTT devices, in a later version, will.",
    )


def _nearest_existing(path: Path) -> Path:
    path = path.resolve()
    return next(directory for directory in (path, *path.parents) if directory.exists())


def _median_fsync_s(directory: Path) -> float:
    durations: list[float] = []
    with tempfile.NamedTemporaryFile(dir=directory) as file:
        for _ in range(FSYNC_ROUNDS):
            file.write(b"x" * 4096)
            file.flush()
            started_s = time.perf_counter()
            os.fsync(file.fileno())
            durations.append(time.perf_counter() - started_s)
    return sorted(durations)[FSYNC_ROUNDS // 2]
