"""User accounts. A password is never here, only what it is checked against."""

from dataclasses import dataclass, field
from datetime import datetime

from sqlalchemy import select, update

from protocols.errors import NotFound
from storage.database import Reader, Row, Transaction
from storage.instants import microseconds
from storage.repositories.stamps import Author, Stamps
from storage.tables.entities import user_account

_SELECT = select(
    user_account.c.id,
    user_account.c.name,
    user_account.c.email,
    user_account.c.password_hash,
    user_account.c.credentials_version,
    user_account.c.is_active,
    user_account.c.is_administrator,
    user_account.c.last_login_at,
    user_account.c.created_at,
    user_account.c.updated_at,
    user_account.c.created_by,
    user_account.c.updated_by,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class User:
    id: int
    name: str
    email: str
    password_hash: str = field(repr=False)
    credentials_version: int
    """Tokens that were issued for another version are void."""
    is_active: bool
    is_administrator: bool
    last_login_at: int | None
    stamps: Stamps


@dataclass(frozen=True, slots=True, kw_only=True)
class NewUser:
    name: str
    email: str
    password_hash: str = field(repr=False)
    is_administrator: bool


def normalise_email(email: str) -> str:
    """The form that accounts are found by: without blanks around it, in lower case."""
    return email.strip().lower()


def create(transaction: Transaction, new: NewUser, author: Author) -> int:
    return transaction.insert(
        user_account,
        {
            "name": new.name,
            "email": normalise_email(new.email),
            "password_hash": new.password_hash,
            "credentials_version": 1,
            "is_active": True,
            "is_administrator": new.is_administrator,
            "last_login_at": None,
            **author.creating(),
        },
    )


def get(reader: Reader, user_id: int) -> User:
    return _one(reader.fetch_one(_SELECT.where(user_account.c.id == user_id)))


def get_by_email(reader: Reader, email: str) -> User:
    return _one(reader.fetch_one(_SELECT.where(user_account.c.email == normalise_email(email))))


def has_administrator(reader: Reader) -> bool:
    statement = select(user_account.c.id).where(user_account.c.is_administrator)
    return reader.fetch_one(statement.limit(1)) is not None


def update_password(
    transaction: Transaction, user_id: int, password_hash: str, author: Author
) -> None:
    """Replace the password and end every session; the account is active afterwards."""
    transaction.execute(
        update(user_account)
        .where(user_account.c.id == user_id)
        .values(
            password_hash=password_hash,
            credentials_version=user_account.c.credentials_version + 1,
            is_active=True,
            **author.updating(),
        )
    )


def note_login(transaction: Transaction, user_id: int, at: datetime) -> None:
    transaction.execute(
        update(user_account)
        .where(user_account.c.id == user_id)
        .values(last_login_at=microseconds(at))
    )


def _one(row: Row | None) -> User:
    if row is None:
        raise NotFound("There is no such user.")
    return User(
        id=row.id,
        name=row.name,
        email=row.email,
        password_hash=row.password_hash,
        credentials_version=row.credentials_version,
        is_active=bool(row.is_active),
        is_administrator=bool(row.is_administrator),
        last_login_at=row.last_login_at,
        stamps=Stamps.of(row),
    )
