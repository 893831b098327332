"""Logging in, and what an account may know of itself."""

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

import structlog

from protocols.errors import NotFound, Unauthenticated
from storage.database import Reader
from storage.repositories import Page, organizations, users
from storage.repositories.users import User
from web.access import PEOPLE, Level, Needs
from web.authentication import ignore_outcome
from web.call import Call
from web.events import LOGIN_FAIL, LOGIN_SUCCEED
from web.login_throttle import LoginThrottle
from web.passwords import PasswordHasher
from web.routing import API_ROOT, Route
from web.schemas.auth import LoginBody, MeSchema, ProfileSchema, TokenSchema
from web.tokens import Session, TokenSigner

_log = structlog.get_logger()

_TAG = "auth"
_ORGANIZATIONS_SHOWN = 1000


def routes(*, signer: TokenSigner, hasher: PasswordHasher, throttle: LoginThrottle) -> list[Route]:
    login = _Login(signer=signer, hasher=hasher, throttle=throttle)
    return [
        Route(
            method="POST",
            path=f"{API_ROOT}/auth/login",
            needs=Needs.NOTHING,
            handler=login,
            summary="Log in with e-mail and password; the token goes into Authorization: Bearer",
            tag=_TAG,
            body=LoginBody,
            reply=TokenSchema,
            status=201,
        ),
        Route(
            method="GET",
            path=f"{API_ROOT}/auth/profile",
            needs=Needs.SIGNED_IN,
            handler=_profile,
            summary="Who is logged in",
            tag=_TAG,
            reply=ProfileSchema,
            kinds=PEOPLE,
        ),
        Route(
            method="GET",
            path=f"{API_ROOT}/auth/me",
            needs=Needs.SIGNED_IN,
            handler=_me,
            summary="Who is logged in, with permissions and organizations",
            tag=_TAG,
            reply=MeSchema,
            kinds=PEOPLE,
        ),
    ]


class _Login:
    def __init__(
        self, *, signer: TokenSigner, hasher: PasswordHasher, throttle: LoginThrottle
    ) -> None:
        self._signer = signer
        self._hasher = hasher
        self._throttle = throttle

    async def __call__(self, call: Call) -> Mapping[str, str]:
        name, password = call.body["username"], call.body["password"]
        self._throttle.attempt(call.address, name)
        user = await self._verified(call, name, password)
        if user is None:
            _log.warning(LOGIN_FAIL, address=call.address)
            raise Unauthenticated("Unauthorized")
        self._throttle.succeed(call.address, name)
        now = call.services.clock()
        noted = call.services.database.submit(lambda change: users.note_login(change, user.id, now))
        # Not waited for: who logs in may want to see why the disk cannot be written.
        noted.add_done_callback(ignore_outcome)
        _log.info(LOGIN_SUCCEED, user_id=user.id, address=call.address)
        session = Session(
            user_id=user.id, username=user.email, credentials_version=user.credentials_version
        )
        return {"access_token": self._signer.issue(session, now)}

    async def _verified(self, call: Call, name: str, password: str) -> User | None:
        user = await call.read(lambda reader: _find(reader, name))
        # Also for an unknown name: otherwise the time of the answer would tell which there are.
        is_right = await self._hasher.verify(user.password_hash if user else None, password)
        return user if user and is_right and user.is_active else None


async def _profile(call: Call) -> Mapping[str, Any]:
    return {"sub": call.caller.id, "username": call.caller.name}


async def _me(call: Call) -> Mapping[str, Any]:
    def read(reader: Reader) -> Mapping[str, Any]:
        user = users.get(reader, call.caller.id or 0)
        page = organizations.list_page(reader, call.scope, Page(limit=_ORGANIZATIONS_SHOWN))
        permissions = [_GLOBAL_ADMIN] if user.is_administrator else []
        shown = {**asdict(user), "stamps": user.stamps, "permissions": permissions}
        return {"user": shown, "organizations": page.rows}

    return await call.read(read)


_GLOBAL_ADMIN = {"name": Level.GLOBAL_ADMIN, "type": [{"type": Level.GLOBAL_ADMIN}]}


def _find(reader: Reader, email: str) -> User | None:
    try:
        return users.get_by_email(reader, email)
    except NotFound:
        return None
