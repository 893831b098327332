import sqlite3
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path

import pytest

from protocols.errors import NotFound, SchemaMismatch
from storage import open_database
from storage.database import Reader, Transaction
from storage.place import place_of
from storage.repositories import users
from storage.repositories.stamps import Author
from tests.support.postgresql import PASSWORD, PostgresqlServer
from web.administration import is_absent, reset_password, schema_summary
from web.migration import migrate
from web.passwords import PasswordHasher
from web.settings import Settings, read_settings


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return read_settings({"TINGBRO_DATA_DIR": str(tmp_path / "data")})


async def make_user(settings: Settings, email: str) -> None:
    new = users.NewUser(name="Anna", email=email, password_hash="old", is_administrator=True)

    def create(transaction: Transaction) -> int:
        return users.create(transaction, new, Author(None, datetime.now(UTC)))

    database = open_database(settings.storage.database_url)
    await database.open()
    await database.write(create)
    await database.close()


async def user_of(settings: Settings, email: str) -> users.User:
    def get(reader: Reader) -> users.User:
        return users.get_by_email(reader, email)

    database = open_database(settings.storage.database_url)
    await database.open()
    try:
        return await database.read(get)
    finally:
        await database.close()


async def test_migrate_makes_a_database_and_says_so_again_the_second_time(
    settings: Settings,
) -> None:
    first = await migrate(settings)
    assert not is_absent(settings)
    assert await migrate(settings) == first


async def test_database_of_a_newer_version_is_refused(settings: Settings) -> None:
    await migrate(settings)
    with closing(sqlite3.connect(settings.data_dir / "tingbro.db")) as connection, connection:
        connection.execute("UPDATE alembic_version SET version_num = '9999'")
    with pytest.raises(SchemaMismatch, match="newer"):
        await migrate(settings)
    is_usable, sentence = await schema_summary(settings)
    assert not is_usable
    assert "9999" in sentence


async def test_asking_for_the_schema_makes_no_database(settings: Settings) -> None:
    is_usable, sentence = await schema_summary(settings)
    assert is_usable
    assert "first start" in sentence
    assert is_absent(settings)


async def test_database_that_is_behind_is_usable_because_the_start_migrates_it(
    settings: Settings,
) -> None:
    await migrate(settings)
    with (
        closing(sqlite3.connect(place_of(settings.storage.database_url))) as connection,
        connection,
    ):
        connection.execute("UPDATE alembic_version SET version_num = '0000'")
    is_usable, sentence = await schema_summary(settings)
    assert is_usable
    assert "0000" in sentence


async def test_empty_database_on_a_server_is_usable_and_left_empty(
    postgresql: PostgresqlServer,
) -> None:
    name = postgresql.create_database(is_migrated=False)
    settings = read_settings({"TINGBRO_DATABASE_URL": postgresql.url(name)})
    for _ in range(2):
        is_usable, sentence = await schema_summary(settings)
        assert is_usable
        assert "schema none" in sentence
    first = await migrate(settings)
    assert await migrate(settings) == first
    assert name in first[0]
    assert PASSWORD not in first[0]
    postgresql.drop_database(name)


async def test_server_that_refuses_the_password_is_no_usable_database(
    postgresql: PostgresqlServer,
) -> None:
    url = postgresql.url("postgres", password=PASSWORD + "x")
    is_usable, sentence = await schema_summary(read_settings({"TINGBRO_DATABASE_URL": url}))
    assert not is_usable
    assert "refuses the password" in sentence
    assert PASSWORD not in sentence


async def test_new_password_replaces_the_old_one_and_ends_sessions(settings: Settings) -> None:
    await make_user(settings, "anna@example.org")
    before = await user_of(settings, "anna@example.org")
    password = await reset_password(settings, "Anna@example.org")
    after = await user_of(settings, "anna@example.org")
    assert await PasswordHasher().verify(after.password_hash, password)
    assert after.credentials_version > before.credentials_version


async def test_password_is_reset_beside_a_running_hub(settings: Settings) -> None:
    await make_user(settings, "anna@example.org")
    hub = open_database(settings.storage.database_url)
    await hub.open()
    try:
        assert await reset_password(settings, "anna@example.org")
    finally:
        await hub.close()


async def test_unknown_user_is_named(settings: Settings) -> None:
    await make_user(settings, "anna@example.org")
    with pytest.raises(NotFound, match=r"bo@example\.org"):
        await reset_password(settings, "bo@example.org")


async def test_missing_database_is_not_made_by_a_reset(settings: Settings) -> None:
    with pytest.raises(NotFound, match="TINGBRO_DATA_DIR"):
        await reset_password(settings, "anna@example.org")
    assert is_absent(settings)
