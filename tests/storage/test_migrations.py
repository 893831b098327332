"""The migrations make exactly the schema that the tables describe."""

import sqlite3
from contextlib import closing
from pathlib import Path

from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import create_engine
from sqlalchemy.dialects import sqlite
from sqlalchemy.schema import CreateIndex, CreateTable

from storage import open_database
from storage.migrations import head_revision
from storage.tables import load_tables
from tests.support.postgresql import PostgresqlServer


async def migrate(path: Path) -> None:
    database = open_database(f"sqlite:///{path}")
    await database.open()
    await database.close()


async def test_migrated_schema_is_the_described_one(tmp_path: Path) -> None:
    await migrate(tmp_path / "hub.db")
    engine = create_engine(f"sqlite:///{tmp_path / 'hub.db'}")
    with engine.connect() as connection:
        context = MigrationContext.configure(connection, opts={"compare_type": True})
        assert compare_metadata(context, load_tables()) == []
    engine.dispose()


async def test_migrated_tables_and_partial_indexes_read_like_the_described_ones(
    tmp_path: Path,
) -> None:
    """What the comparison above does not see: row ids, conditions of indexes."""
    await migrate(tmp_path / "hub.db")
    with closing(sqlite3.connect(tmp_path / "hub.db")) as connection:
        kept = dict(connection.execute("SELECT name, sql FROM sqlite_master WHERE sql IS NOT NULL"))
    for table in load_tables().sorted_tables:
        described = str(CreateTable(table).compile(dialect=sqlite.dialect()))
        assert ("WITHOUT ROWID" in described) == ("WITHOUT ROWID" in kept[table.name]), table.name
        for index in table.indexes:
            assert index.name is not None
            text = str(CreateIndex(index).compile(dialect=sqlite.dialect()))
            assert " ".join(kept[index.name].split()) == " ".join(text.split())


async def test_migrating_again_changes_nothing(tmp_path: Path) -> None:
    await migrate(tmp_path / "hub.db")
    with closing(sqlite3.connect(tmp_path / "hub.db")) as connection:
        before = connection.execute("PRAGMA schema_version").fetchone()
        assert connection.execute("SELECT version_num FROM alembic_version").fetchall() == [
            (head_revision(),)
        ]
    await migrate(tmp_path / "hub.db")
    with closing(sqlite3.connect(tmp_path / "hub.db")) as connection:
        assert connection.execute("PRAGMA schema_version").fetchone() == before


def test_migrated_schema_is_the_described_one_on_postgresql(
    postgresql: PostgresqlServer, postgresql_url: str
) -> None:
    """Not by Alembic's comparison: it overlooks defaults, conditions of indexes, what a delete does."""
    described = postgresql.create_database(is_migrated=False)
    engine = create_engine(
        postgresql.url(described).replace("postgresql", "postgresql+psycopg2", 1)
    )
    load_tables().create_all(engine)
    engine.dispose()
    migrated = postgresql_url.rpartition("/")[2]
    for catalog in _CATALOGS:
        found = []
        for name in (migrated, described):
            with postgresql.administration(name) as cursor:
                cursor.execute(catalog)
                found.append([row for row in cursor.fetchall() if "alembic_version" not in row[0]])
        assert found[0] == found[1]
        assert found[0]
    postgresql.drop_database(described)


_CATALOGS = (
    """
    SELECT table_name, column_name, data_type, is_nullable, column_default
    FROM information_schema.columns WHERE table_schema = 'public' ORDER BY 1, 2
    """,
    "SELECT indexdef FROM pg_indexes WHERE schemaname = 'public' ORDER BY 1",
    """
    SELECT conrelid::regclass::text, conname, pg_get_constraintdef(oid)
    FROM pg_constraint WHERE connamespace = 'public'::regnamespace ORDER BY 1, 2
    """,
)
