"""The first administrator."""

from datetime import datetime

import structlog

from storage.database import Database, Transaction
from storage.repositories import Author, users
from storage.repositories.users import NewUser
from web.events import ADMINISTRATOR_CREATE
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
