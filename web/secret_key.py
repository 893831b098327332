"""The key that signs sessions and seals secrets: given by the operator, or made once and kept in the data directory."""

import os
import secrets
from pathlib import Path
from typing import Final

from protocols.errors import InvalidSettings

FILE_NAME: Final = "secret_key"
KEY_BYTES: Final = 32
SHORTEST_KEY: Final = 32


def load_or_create_secret_key(data_dir: Path) -> str:
    """The key kept in `data_dir`, made on the first call. Two processes at once get the same one.

    Raises: InvalidSettings when the file cannot be read or written, or holds something else.
    """
    path = data_dir / FILE_NAME
    try:
        data_dir.mkdir(parents=True, exist_ok=True)
        if not path.exists():
            _create(path)
    except OSError as error:
        raise InvalidSettings([f"The secret key in {path} cannot be used: {error}."]) from error
    return _read(path)


def read_secret_key(data_dir: Path) -> str | None:
    """The key kept in `data_dir`, or None when there is none yet.

    Raises: InvalidSettings when it cannot be read, or holds something else.
    """
    path = data_dir / FILE_NAME
    return _read(path) if path.exists() else None


def _read(path: Path) -> str:
    try:
        key = path.read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise InvalidSettings([f"The secret key in {path} cannot be used: {error}."]) from error
    if len(key) < SHORTEST_KEY:
        raise InvalidSettings(
            [f"The secret key in {path} is too short: remove the file to have a new one made."]
        )
    return key


def _create(path: Path) -> None:
    """Write a complete file beside it and link it into place: the first process wins, whole."""
    draft = path.with_name(f"{FILE_NAME}.{os.getpid()}.{secrets.token_hex(4)}")
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            file.write(secrets.token_urlsafe(KEY_BYTES) + "\n")
            file.flush()
            os.fsync(file.fileno())
        try:
            os.link(draft, path)
        except FileExistsError:
            return
    finally:
        draft.unlink()
