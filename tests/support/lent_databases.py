"""Databases that tests borrow one after the other, because making one costs more than most tests.

A database that comes back is emptied and its sequences begin anew. One in which a test has changed
more than rows (tables, functions, settings, the schema's version) is dropped instead.
"""

from typing import Any, Final

from tests.support.postgresql import PostgresqlServer

# What changes with everything but rows; temporary tables are gone with their sessions.
_FINGERPRINT: Final = """
    SELECT (SELECT string_agg(oid::text || relname || coalesce(relacl::text, ''), ',' ORDER BY oid)
            FROM pg_class WHERE relnamespace = 'public'::regnamespace),
           (SELECT count(*) FROM pg_proc WHERE pronamespace = 'public'::regnamespace),
           (SELECT count(*) FROM pg_trigger WHERE NOT tgisinternal),
           (SELECT string_agg(version_num, ',') FROM alembic_version),
           (SELECT count(*) FROM pg_db_role_setting JOIN pg_database d ON d.oid = setdatabase
            WHERE datname = current_database()),
           (SELECT datconnlimit FROM pg_database WHERE datname = current_database())
"""
_TABLES: Final = """
    SELECT relname FROM pg_class
    WHERE relkind = 'r' AND relnamespace = 'public'::regnamespace AND relname <> 'alembic_version'
    ORDER BY 1
"""
_RESTART: Final = """
    SELECT setval(oid, 1, false) FROM pg_class
    WHERE relkind = 'S' AND relnamespace = 'public'::regnamespace
"""
_END_SESSIONS: Final = """
    SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity
    WHERE datname = current_database() AND pid <> pg_backend_pid()
"""


class LentDatabases:
    """The migrated databases of one server that are free at present."""

    def __init__(self, server: PostgresqlServer) -> None:
        self._server = server
        self._free: list[str] = []
        self._fingerprints: dict[str, Any] = {}
        self._seed: dict[str, str] | None = None

    def lend(self) -> str:
        """Return the name of a database as migrating leaves it."""
        if self._free:
            return self._free.pop()
        name = self._server.create_database()
        with self._server.administration(name) as cursor:
            cursor.execute(_FINGERPRINT)
            self._fingerprints[name] = cursor.fetchone()
            if self._seed is None:
                self._seed = _contents(cursor)
        return name

    def take_back(self, name: str) -> None:
        with self._server.administration(name) as cursor:
            cursor.execute(_END_SESSIONS)
            cursor.execute(_FINGERPRINT)
            is_as_lent = cursor.fetchone() == self._fingerprints[name]
            if is_as_lent:
                self._empty(cursor)
        if is_as_lent:
            self._free.append(name)
        else:
            self._server.drop_database(name)

    def _empty(self, cursor: Any) -> None:
        assert self._seed is not None
        # Without the checks of foreign keys, the order of the tables does not matter.
        cursor.execute("SET session_replication_role = replica; SET synchronous_commit = off")
        cursor.execute("; ".join(f'DELETE FROM "{table}"' for table in self._seed))
        cursor.execute(_RESTART)
        for table, rows in self._seed.items():
            if rows:
                cursor.execute(
                    f'INSERT INTO "{table}" SELECT * FROM json_populate_recordset(null::"{table}", %s)',
                    (rows,),
                )


def _contents(cursor: Any) -> dict[str, str]:
    """The rows of every table, as JSON; empty for an empty one."""
    cursor.execute(_TABLES)
    found: dict[str, str] = {}
    for (table,) in cursor.fetchall():
        cursor.execute(f"SELECT coalesce(json_agg(t)::text, '') FROM \"{table}\" t")
        found[table] = cursor.fetchone()[0]
    return found
