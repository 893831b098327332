"""Session tokens: JSON Web Tokens signed with HMAC-SHA256."""

from dataclasses import dataclass
from datetime import datetime, timedelta

import jwt

from protocols.errors import Unauthenticated

_ALGORITHM = "HS256"


@dataclass(frozen=True, slots=True, kw_only=True)
class Session:
    """What a token says. Whether the account still stands by it is for its reader to check."""

    user_id: int
    username: str
    credentials_version: int


class TokenSigner:
    def __init__(self, secret_key: str, lifetime_s: int) -> None:
        self._secret_key = secret_key
        self._lifetime = timedelta(seconds=lifetime_s)

    def __repr__(self) -> str:
        return f"<{type(self).__name__}>"

    def issue(self, session: Session, now: datetime) -> str:
        """A token that is good until the lifetime is over."""
        claims = {
            # RFC 7519, section 4.1.2: a subject is a text.
            "sub": str(session.user_id),
            "username": session.username,
            "version": session.credentials_version,
            "isKombit": False,
            "iat": now,
            "exp": now + self._lifetime,
        }
        return jwt.encode(claims, self._secret_key, algorithm=_ALGORITHM)

    def verify(self, token: str, now: datetime) -> Session:
        """Raises: Unauthenticated for whatever is wrong with it, without saying what."""
        try:
            claims = jwt.decode(
                token,
                self._secret_key,
                algorithms=[_ALGORITHM],
                # Against our clock, below: PyJWT looks at the system's.
                options={"verify_exp": False, "verify_iat": False, "require": ["exp", "sub"]},
            )
            session = Session(
                user_id=int(claims["sub"]),
                username=str(claims["username"]),
                credentials_version=int(claims["version"]),
            )
            is_expired = now.timestamp() >= float(claims["exp"])
        except (jwt.InvalidTokenError, KeyError, ValueError, TypeError) as exc:
            raise Unauthenticated("Unauthorized") from exc
        if is_expired:
            raise Unauthenticated("Unauthorized")
        return session
