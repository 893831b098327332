"""SQLite: a file."""

from pathlib import Path


def database_url(directory: Path) -> str:
    return f"sqlite:///{directory / 'hub.db'}"
