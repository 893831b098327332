"""The claim of one process on one database file.

SQLite itself lets several processes write one file. Two hubs on it would each believe themselves
alone: both would settle the same journal. The kernel drops the claim with the process, however that ends.
"""

import fcntl
import os
from pathlib import Path

from protocols.errors import StorageUnavailable


class FileClaim:
    """An exclusive lock on `FILE.lock`, which also names the process that has it."""

    def __init__(self, database_path: Path) -> None:
        self._database_path = database_path
        self._path = database_path.with_name(database_path.name + ".lock")
        self._descriptor: int | None = None

    def take(self) -> None:
        """Take the claim.

        Raises:
            StorageUnavailable: another process has it, or the directory cannot be written.
        """
        try:
            descriptor = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as exc:
            raise StorageUnavailable(
                f"{self._path} cannot be written ({exc.strerror}): check the data directory."
            ) from exc
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as exc:
            holder = os.read(descriptor, 20).decode("ascii", "replace").strip() or "unknown"
            os.close(descriptor)
            raise StorageUnavailable(
                f"Another hub (process {holder}) is running on {self._database_path}: "
                "stop it first, or choose another data directory."
            ) from exc
        os.ftruncate(descriptor, 0)
        os.write(descriptor, f"{os.getpid()}\n".encode())
        self._descriptor = descriptor

    def release(self) -> None:
        """Give the claim up; the file stays, since removing it would race with a newcomer."""
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None
