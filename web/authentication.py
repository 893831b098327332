"""Finding out who calls: a session token or an API key, checked against the database each time."""

import hashlib
import hmac
import secrets
import uuid
from asyncio import Future
from collections.abc import Callable, Mapping
from datetime import datetime, timedelta

from protocols.errors import NotFound, Unauthenticated
from storage.database import Database
from storage.instants import instant, microseconds
from storage.repositories import api_keys, users
from storage.repositories.api_keys import ApiKey
from web.access import ANONYMOUS, Caller, CallerKind, Level
from web.error_codes import ErrorCode
from web.tokens import TokenSigner

API_KEY_HEADER = "X-API-KEY"
_BEARER = "bearer "
# The time of last use is written at most this often: a key is used for every request.
_USE_NOTED_EVERY = timedelta(minutes=5)


def new_api_key() -> str:
    """A random UUID: 122 bits that nobody guesses, in the form that clients know."""
    return str(uuid.UUID(bytes=secrets.token_bytes(16), version=4))


def hash_api_key(key: str) -> str:
    return hashlib.sha256(key.encode()).hexdigest()


class Authenticator:
    """Turns a request's credentials into a `Caller`. The token is looked at before the key."""

    def __init__(
        self, database: Database, signer: TokenSigner, *, clock: Callable[[], datetime]
    ) -> None:
        self._database = database
        self._signer = signer
        self._clock = clock

    async def authenticate(self, headers: Mapping[str, str]) -> Caller:
        """Return the caller, `ANONYMOUS` when there are no credentials at all.

        Raises:
            Unauthenticated: there are credentials, and they are no good.
        """
        authorization = headers.get("Authorization")
        if authorization is not None and authorization[: len(_BEARER)].lower() == _BEARER:
            return await self._user(authorization[len(_BEARER) :].strip())
        key = headers.get(API_KEY_HEADER)
        if key is not None:
            return await self._machine(key.strip())
        return ANONYMOUS

    async def _user(self, token: str) -> Caller:
        session = self._signer.verify(token, self._clock())
        try:
            user = await self._database.read(lambda reader: users.get(reader, session.user_id))
        except NotFound as exc:
            raise Unauthenticated("Unauthorized") from exc
        if not user.is_active or user.credentials_version != session.credentials_version:
            raise Unauthenticated("Unauthorized")
        return Caller(
            kind=CallerKind.USER,
            id=user.id,
            name=user.email,
            is_administrator=user.is_administrator,
        )

    async def _machine(self, key: str) -> Caller:
        key_hash = hash_api_key(key)
        try:
            found = await self._database.read(lambda reader: api_keys.get_by_hash(reader, key_hash))
        except NotFound as exc:
            raise Unauthenticated(ErrorCode.API_KEY_FAILED) from exc
        if not hmac.compare_digest(found.key_hash, key_hash):
            raise Unauthenticated(ErrorCode.API_KEY_FAILED)
        now = self._clock()
        if found.fields.expires_at is not None and found.fields.expires_at <= microseconds(now):
            raise Unauthenticated(ErrorCode.API_KEY_EXPIRED)
        self._note_use(found, now)
        return Caller(
            kind=CallerKind.API_KEY,
            id=found.id,
            name=found.fields.name,
            levels={
                found.organization_id: frozenset(Level(level) for level in found.fields.levels)
            },
        )

    def _note_use(self, key: ApiKey, now: datetime) -> None:
        if key.last_used_at is None or now - instant(key.last_used_at) >= _USE_NOTED_EVERY:
            noted = self._database.submit(lambda change: api_keys.note_use(change, key.id, now))
            # Not waited for: a disk that is full must not keep anyone from reading.
            noted.add_done_callback(ignore_outcome)


def ignore_outcome(noted: Future[None]) -> None:
    """Look at the outcome of a write that nobody waits for."""
    if not noted.cancelled():
        noted.exception()
