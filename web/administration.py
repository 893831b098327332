"""What an operator does to the data from the command line, beside the hub or while it is stopped."""

from datetime import UTC, datetime
from pathlib import Path
from urllib.parse import unquote

from protocols.errors import NotFound, SchemaMismatch, StorageUnavailable
from storage import open_database
from storage.migrations import head_revision
from web import administrators
from web.settings import Settings


def database_file(settings: Settings) -> Path:
    """The file in which this version keeps everything; it need not exist yet."""
    return Path(unquote(settings.storage.database_url.removeprefix("sqlite:///")))


async def migrate(settings: Settings) -> str:
    """Bring the database to this version's schema, making it if need be; returns a sentence.

    Raises: StorageUnavailable while a hub uses it; SchemaMismatch when it is from a newer version.
    """
    database = open_database(settings.storage.database_url)
    await database.open()
    await database.close()
    return f"{database_file(settings)} has schema {head_revision()}, which this version needs."


async def schema_summary(settings: Settings) -> tuple[bool, str]:
    """Whether the database can be used as it is or by migrating, and a sentence about it.

    A database that does not exist is not made by asking.
    """
    path = database_file(settings)
    if not path.exists():
        return True, f"{path} does not exist yet; the first start makes it."
    database = open_database(settings.storage.database_url, is_shared=True, migrate=False)
    try:
        await database.open()
    except (SchemaMismatch, StorageUnavailable) as error:
        return False, str(error)
    await database.close()
    return True, f"{path} has schema {head_revision()}, which this version needs."


async def reset_password(settings: Settings, email: str) -> str:
    """Give the user a new password, end all sessions, and return the password.

    Works beside a running hub.

    Raises: NotFound when there is no such user, or no database.
    """
    if not database_file(settings).exists():
        raise NotFound(
            f"There is no database at {database_file(settings)}: is TINGBRO_DATA_DIR the hub's?"
        )
    database = open_database(settings.storage.database_url, is_shared=True, migrate=False)
    await database.open()
    try:
        return await administrators.reset_password(database, email, now=datetime.now(UTC))
    except NotFound:
        raise NotFound(f"There is no user with the e-mail {email}.") from None
    finally:
        await database.close()
