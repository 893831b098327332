"""The first administrator, and the way back in for one who is locked out."""

from datetime import datetime

import structlog

from storage.database import Database, Transaction
from storage.repositories import Author, audit, users
from storage.repositories.users import NewUser
from web.events import ADMINISTRATOR_CREATE, PASSWORD_RESET
from web.passwords import PasswordHasher, generate_password

_log = structlog.get_logger()

_NAME = "Administrator"


async def ensure_administrator(
    database: Database, email: str, password: str | None, *, now: datetime
) -> str | None:
    """Make an administrator when there is none yet.

    Returns the password that was generated because `password` is None, to be shown once; None when
    there was nothing to generate. With an administrator in place it changes nothing, whatever
    `email` and `password` say.
    """
    if await database.read(users.has_administrator):
        return None
    chosen = password or generate_password()
    password_hash = await PasswordHasher().hash(chosen)

    def unit(transaction: Transaction) -> int | None:
        # Another process may have been first.
        if users.has_administrator(transaction):
            return None
        new = NewUser(name=_NAME, email=email, password_hash=password_hash, is_administrator=True)
        return users.create(transaction, new, Author(None, now))

    user_id = await database.write(unit)
    if user_id is None:
        return None
    _log.info(ADMINISTRATOR_CREATE, user_id=user_id)
    return None if password else chosen


async def reset_password(database: Database, email: str, *, now: datetime) -> str:
    """Give a user a new, generated password and end all sessions; returns it, to be shown once.

    Raises: NotFound.
    """
    password = generate_password()
    password_hash = await PasswordHasher().hash(password)

    def unit(transaction: Transaction) -> int:
        user = users.get_by_email(transaction, email)
        users.update_password(transaction, user.id, password_hash, Author(None, now))
        audit.record(
            transaction,
            audit.NewAuditEntry(
                at=now,
                actor_type="command_line",
                actor_id=None,
                actor_name="tingbro admin reset-password",
                address=None,
                action="reset_password",
                entity="user",
                entity_id=user.id,
                entity_name=user.email,
                organization_id=None,
            ),
        )
        return user.id

    _log.info(PASSWORD_RESET, user_id=await database.write(unit))
    return password
