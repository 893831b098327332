"""What stands in the database after the faults, read past the hub."""

import sqlite3
from collections import Counter
from collections.abc import Set
from contextlib import closing
from pathlib import Path

import psycopg2

Key = tuple[int, int]
"""The device and the number that a message carries."""

_DOUBLED = (
    "SELECT count(*) FROM (SELECT 1 FROM delivery"
    " GROUP BY message_id, decoder_id, target_id, generation HAVING count(*) > 1) AS doubled"
)


def assert_kept_once(database: str | Path, acknowledged: Set[Key]) -> None:
    """Every acknowledged message stands there once, no message twice, and no delivery twice.

    `database` is a SQLite file or the URL of a PostgreSQL database.
    """
    kept, doubled = _in_sqlite(database) if isinstance(database, Path) else _on_server(database)
    assert not [key for key, times in kept.items() if times > 1]
    assert acknowledged <= kept.keys()
    assert doubled == 0


def _in_sqlite(path: Path) -> tuple[Counter[Key], int]:
    with closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True)) as database:
        rows = database.execute(
            "SELECT json_extract(text, '$.device'), json_extract(text, '$.n')"
            " FROM (SELECT CAST(payload AS TEXT) AS text FROM message)"
        ).fetchall()
        (doubled,) = database.execute(_DOUBLED).fetchone()
    return Counter((row[0], row[1]) for row in rows), doubled


def _on_server(url: str) -> tuple[Counter[Key], int]:
    with closing(psycopg2.connect(url)) as connection, connection.cursor() as cursor:
        cursor.execute(
            "SELECT (text::json->>'device')::int, (text::json->>'n')::int"
            " FROM (SELECT convert_from(payload, 'UTF8') AS text FROM message) AS messages"
        )
        rows = cursor.fetchall()
        cursor.execute(_DOUBLED)
        (doubled,) = cursor.fetchone()
    return Counter((row[0], row[1]) for row in rows), doubled
