"""What an operator does to the data from the command line, beside the hub or while it is stopped."""

from datetime import UTC, datetime
from pathlib import Path
from typing import Final
from urllib.parse import unquote

from protocols.errors import NotFound, SchemaMismatch, StorageUnavailable
from storage import open_database
from storage.database import Transaction
from storage.migrations import head_revision
from storage.repositories import audit, users
from storage.repositories.stamps import Author
from web.passwords import PasswordHasher, generate_password
from web.settings import Settings

COMMAND_LINE: Final = "command_line"


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
    password = generate_password()
    password_hash = await PasswordHasher().hash(password)
    at = datetime.now(UTC)

    def reset(transaction: Transaction) -> None:
        try:
            user = users.get_by_email(transaction, email)
        except NotFound:
            raise NotFound(f"There is no user with the e-mail {email}.") from None
        users.update_password(transaction, user.id, password_hash, Author(None, at))
        audit.record(transaction, _audit_entry(user, at))

    database = open_database(settings.storage.database_url, is_shared=True, migrate=False)
    await database.open()
    try:
        await database.write(reset)
    finally:
        await database.close()
    return password


def _audit_entry(user: users.User, at: datetime) -> audit.NewAuditEntry:
    return audit.NewAuditEntry(
        at=at,
        actor_type=COMMAND_LINE,
        actor_id=None,
        actor_name="tingbro admin reset-password",
        address=None,
        action="reset_password",
        entity="user",
        entity_id=user.id,
        entity_name=user.email,
        organization_id=None,
    )
