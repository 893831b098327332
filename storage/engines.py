"""Which engine serves which database URL."""

from pathlib import Path
from urllib.parse import unquote, urlsplit

from protocols.errors import InvalidSettings
from storage.database import Database
from storage.signals import LocalSignals, Signals


def open_database(url: str, *, is_shared: bool = False, migrate: bool = True) -> Database:
    """Return the engine for `url`, not opened yet: `await database.open()` does that.

    `sqlite:///data/tingbro.db` is relative to the working directory, `sqlite:////var/lib/x.db`
    absolute; `postgresql://user:password@host:5432/db?sslmode=require` is libpq's own form.

    `is_shared` opens a database beside a running hub (for commands of an operator, and for the
    processes of a fleet); without it a second opening of the same database is refused.
    `migrate=False` refuses a schema that is behind instead of bringing it up to date.

    Raises:
        InvalidSettings: no engine knows this URL.
    """
    parts = urlsplit(url)
    if parts.scheme == "sqlite" and not parts.netloc and len(parts.path) > 1:
        from storage.sqlite.engine import SqliteDatabase

        path = Path(unquote(parts.path[1:]))
        return SqliteDatabase(path, is_shared=is_shared, migrate=migrate)
    if parts.scheme in ("postgresql", "postgres"):
        from storage.postgresql.engine import PostgresqlDatabase

        return PostgresqlDatabase(url, is_shared=is_shared, migrate=migrate)
    raise InvalidSettings(
        [
            f"{parts.scheme or 'an empty'} database URL is not understood: write sqlite:///PATH or "
            "postgresql://USER:PASSWORD@HOST:PORT/DATABASE."
        ]
    )


def open_signals(url: str) -> Signals:
    """Return the signals between all processes on the database at `url`.

    On SQLite that is one process.

    Raises:
        InvalidSettings: the URL is not understood.
    """
    if urlsplit(url).scheme in ("postgresql", "postgres"):
        from storage.postgresql.signals import PostgresqlSignals

        return PostgresqlSignals(url)
    return LocalSignals()
