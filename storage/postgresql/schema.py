"""The schema's version in a PostgreSQL database, and migrating it.

Several processes may start at once: the first takes a lock, and the others find the work done. The
migration is one transaction, so a process killed in the middle leaves the version it found.
"""

from contextlib import closing
from typing import Any, Final

import structlog

from protocols.errors import SchemaMismatch
from storage import events
from storage.migrations import head_revision, is_newer, upgrade
from storage.postgresql.address import DatabaseAddress
from storage.postgresql.connection import connect
from storage.postgresql.errors import fence

# The claim's number with another second part.
_LOCK: Final = (1_953_066_599, 2)
# Rebuilding a large table may take long, and so may waiting for the process that does it.
_WITHOUT_LIMITS: Final = (
    "SET statement_timeout = 0; SET lock_timeout = 0; SET idle_in_transaction_session_timeout = 0"
)

_log = structlog.get_logger(__name__)


def check_schema(connection: Any) -> None:
    """See that the schema is the one of this program.

    Raises:
        SchemaMismatch: it is ahead, or behind.
    """
    current, head = stored_revision(connection), head_revision()
    _refuse_newer(current, head)
    if current != head:
        raise SchemaMismatch(
            f"The database has schema {current or 'none'} and this program needs {head}: "
            "run `tingbro migrate`.",
            is_behind=True,
        )


def bring_up_to_date(address: DatabaseAddress) -> None:
    """Migrate to the newest known version when the database is behind it.

    Raises:
        SchemaMismatch: it is ahead of this program.
        StorageUnavailable: it cannot be reached.
    """
    with closing(connect(address)) as connection:
        if stored_revision(connection) == head_revision():
            return
        with fence(), connection.cursor() as cursor:
            cursor.execute(_WITHOUT_LIMITS)
            cursor.execute("SELECT pg_advisory_lock(%s, %s)", _LOCK)
        current, head = stored_revision(connection), head_revision()
        _refuse_newer(current, head)
        if current != head:
            with fence():
                _migrate(connection)
            _log.info(events.DATABASE_SCHEMA_MIGRATE, from_revision=current, to_revision=head)


def stored_revision(connection: Any) -> str | None:
    """Return the version that the database says it has, or None for an empty one."""
    with fence(), connection.cursor() as cursor:
        cursor.execute("SELECT to_regclass('alembic_version') IS NOT NULL")
        if not cursor.fetchone()[0]:
            return None
        cursor.execute("SELECT version_num FROM alembic_version")
        row = cursor.fetchone()
    return str(row[0]) if row else None


def _refuse_newer(current: str | None, head: str) -> None:
    if is_newer(current):
        raise SchemaMismatch(
            f"The database was written by a newer version (schema {current}, this program knows "
            f"{head}): install that version, or restore an older backup."
        )


def _migrate(connection: Any) -> None:
    from sqlalchemy import create_engine
    from sqlalchemy.exc import DBAPIError
    from sqlalchemy.pool import StaticPool

    # SQLAlchemy changes how the session's values come back; it is used for nothing else afterwards.
    engine = create_engine(
        "postgresql+psycopg2://", creator=lambda: connection, poolclass=StaticPool
    )
    try:
        with engine.connect() as alchemy:
            alchemy.exec_driver_sql("BEGIN")
            upgrade(alchemy)
            alchemy.exec_driver_sql("COMMIT")
    except DBAPIError as exc:
        if exc.orig is not None:
            raise exc.orig from exc
        raise
