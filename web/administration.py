"""What an operator does to the data from the command line, beside the hub or while it is stopped."""

from datetime import UTC, datetime
from pathlib import Path

from protocols.errors import NotFound, SchemaMismatch, StorageUnavailable
from storage import open_database
from storage.migrations import head_revision
from storage.place import place_of
from web import administrators
from web.settings import Settings


def is_absent(settings: Settings) -> bool:
    """Whether the database is a file that is not there yet; opening it would make it."""
    url = settings.storage.database_url
    return url.startswith("sqlite:") and not Path(place_of(url)).exists()


async def schema_summary(settings: Settings) -> tuple[bool, str]:
    """Whether the database can be used as it is or by migrating, and a sentence about it.

    A database that does not exist is not made by asking.
    """
    if is_absent(settings):
        place = place_of(settings.storage.database_url)
        return True, f"{place} does not exist yet; the first start makes it."
    database = open_database(settings.storage.database_url, is_shared=True, migrate=False)
    try:
        await database.open()
    except SchemaMismatch as error:
        if error.is_behind:
            return True, f"{error} `tingbro up` does that by itself."
        return False, str(error)
    except StorageUnavailable as error:
        return False, str(error)
    await database.close()
    return True, _has_schema(settings)


async def reset_password(settings: Settings, email: str) -> str:
    """Give the user a new password, end all sessions, and return the password.

    Works beside a running hub.

    Raises: NotFound when there is no such user, or no database.
    """
    if is_absent(settings):
        place = place_of(settings.storage.database_url)
        raise NotFound(f"There is no database at {place}: is TINGBRO_DATA_DIR the hub's?")
    database = open_database(settings.storage.database_url, is_shared=True, migrate=False)
    await database.open()
    try:
        return await administrators.reset_password(database, email, now=datetime.now(UTC))
    except NotFound:
        raise NotFound(f"There is no user with the e-mail {email}.") from None
    finally:
        await database.close()


def _has_schema(settings: Settings) -> str:
    place = place_of(settings.storage.database_url)
    return f"{place} has schema {head_revision()}, which this version needs."
