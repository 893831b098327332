"""The schema's version in a SQLite file, and migrating it.

SQLAlchemy and Alembic drive the migration over the engine's own connection, in one transaction:
a process killed in the middle leaves the version it found.
"""

import sqlite3

import structlog

from protocols.errors import SchemaMismatch
from storage import events
from storage.migrations import head_revision, is_newer, upgrade

_log = structlog.get_logger(__name__)


def bring_up_to_date(connection: sqlite3.Connection, *, may_migrate: bool) -> None:
    """Migrate to the newest known version when the file is behind it.

    Raises:
        SchemaMismatch: the file is ahead of this program, or behind and `may_migrate` is False.
    """
    current, head = stored_revision(connection), head_revision()
    if current == head:
        return
    if is_newer(current):
        raise SchemaMismatch(
            f"The database was written by a newer version (schema {current}, this program knows "
            f"{head}): install that version, or restore an older backup."
        )
    if not may_migrate:
        raise SchemaMismatch(
            f"The database has schema {current or 'none'} and this program needs {head}: "
            "run `tingbro migrate`.",
            is_behind=True,
        )
    _migrate(connection)
    _log.info(events.DATABASE_SCHEMA_MIGRATE, from_revision=current, to_revision=head)


def stored_revision(connection: sqlite3.Connection) -> str | None:
    """Return the version that the file says it has, or None for an empty file."""
    known = connection.execute(
        "SELECT count(*) FROM sqlite_master WHERE type = 'table' AND name = 'alembic_version'"
    ).fetchone()[0]
    row = (
        connection.execute("SELECT version_num FROM alembic_version").fetchone() if known else None
    )
    return str(row[0]) if row else None


def _migrate(connection: sqlite3.Connection) -> None:
    from sqlalchemy import create_engine
    from sqlalchemy.pool import StaticPool

    engine = create_engine("sqlite://", creator=lambda: connection, poolclass=StaticPool)
    # Foreign keys are off while tables are rebuilt; SQLite ignores the setting inside a transaction.
    connection.execute("PRAGMA foreign_keys = OFF")
    try:
        with engine.connect() as alchemy:
            alchemy.exec_driver_sql("BEGIN IMMEDIATE")
            upgrade(alchemy)
            alchemy.commit()
    finally:
        connection.execute("PRAGMA foreign_keys = ON")
