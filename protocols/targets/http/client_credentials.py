"""OAuth 2.0 client credentials: what is asked of a token endpoint, and what its answers mean.

Does no I/O. Nothing that came from the endpoint stands in a text: a careless one repeats the secret
it was shown, and its answers hold tokens.

Source: RFC 6749, sections 2.3.1 (the two forms of showing credentials), 4.4, 5.1 and 5.2.
"""

import base64
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Final
from urllib.parse import quote_plus, urlencode

import msgspec
from yarl import URL

from protocols.errors import DeliveryFault, DeliveryRetryable

DEFAULT_LIFETIME_S: Final = 300.0
"""For tokens whose lifetime is not told: long enough to be worth keeping, and a receiver that takes
one no longer answers 401, which renews it."""

MAX_LIFETIME_S: Final = 24 * 3600.0

# What can stand in a header behind "Bearer "; RFC 6750 allows less, and some servers send more.
_TOKEN = re.compile(r"[!-~]+")
_NUMBER = re.compile(r"[0-9]{1,10}")

# RFC 6749, section 5.2.
_MEANINGS = {
    "invalid_client": "it does not know this `clientId` with this `clientSecret`",
    "invalid_grant": "it does not grant this client a token",
    "invalid_request": "it finds the request malformed",
    "invalid_scope": "it does not give this client the `scope` that is set",
    "unauthorized_client": "this client may not ask for tokens with its own credentials",
    "unsupported_grant_type": "it does not offer the grant `client_credentials`",
}
# Said by endpoints that take credentials in one form only and were shown the other; or they say
# nothing that can be understood.
_OTHER_FORM = frozenset({"invalid_client", "invalid_request", None})


class ClientAuthentication(StrEnum):
    """Where a token endpoint is shown the client's credentials."""

    BODY = "body"
    """In the form, as `client_id` and `client_secret`."""
    BASIC = "basic"
    """In the header `Authorization`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ClientCredentials:
    """What the hub is to a token endpoint."""

    token_endpoint: URL = field(repr=False)
    client_id: str
    client_secret: str = field(repr=False)
    scope: str | None = None

    authentication: ClientAuthentication | None = None
    """None tries the body, and the header where the endpoint does not take that."""

    def request(self, form: ClientAuthentication) -> tuple[dict[str, str], bytes]:
        """Return the headers and the body that ask for a token."""
        headers = {
            "Content-Type": "application/x-www-form-urlencoded",
            "Accept": "application/json",
        }
        fields = {"grant_type": "client_credentials"}
        if form is ClientAuthentication.BASIC:
            headers["Authorization"] = f"Basic {self._basic()}"
        else:
            fields |= {"client_id": self.client_id, "client_secret": self.client_secret}
        if self.scope:
            fields["scope"] = self.scope
        return headers, urlencode(fields).encode()

    @property
    def secrets(self) -> tuple[str, ...]:
        """Every spelling of the secret that an endpoint could repeat."""
        secret = self.client_secret
        return (secret, in_json(secret), quote_plus(secret), self._basic())

    def _basic(self) -> str:
        # RFC 6749, section 2.3.1: both are encoded as a form would be, and only then put together.
        pair = f"{quote_plus(self.client_id)}:{quote_plus(self.client_secret)}"
        return base64.b64encode(pair.encode()).decode()


def in_json(secret: str) -> str:
    """Return how a secret stands in JSON that a careless server repeats it in."""
    return json.dumps(secret)[1:-1]


@dataclass(frozen=True, slots=True, kw_only=True)
class Token:
    value: str = field(repr=False)
    lifetime_s: float
    """From when it was asked for; 0 or less for one that is not to be kept."""


def parse_token(body: bytes) -> Token:
    """Read the answer of a token endpoint that granted a token.

    Raises:
        DeliveryRetryable: there is no token in it that could be used.
    """
    answer = _object(body)
    value, kind = answer.get("access_token"), answer.get("token_type", "Bearer")
    if not isinstance(value, str) or not _TOKEN.fullmatch(value):
        raise _misconfigured(
            "The token endpoint's answer holds no token: look whether `tokenEndpoint` is its address."
        )
    if not isinstance(kind, str) or kind.lower() != "bearer":
        raise _misconfigured("The token endpoint gives tokens of another type than Bearer.")
    return Token(value=value, lifetime_s=_lifetime_s(answer.get("expires_in")))


def _lifetime_s(value: object) -> float:
    if isinstance(value, str) and _NUMBER.fullmatch(value):
        value = int(value)  # Some servers send a text.
    if isinstance(value, bool) or not isinstance(value, int | float):
        return DEFAULT_LIFETIME_S
    return float(min(value, MAX_LIFETIME_S))


def wants_other_form(status_code: int, body: bytes) -> bool:
    """Return whether the credentials, shown in the other form, might be taken."""
    return status_code in (400, 401) and error_code_of(body) in _OTHER_FORM


def error_code_of(body: bytes) -> str | None:
    """Return which of the errors of RFC 6749 it is, if it is one."""
    code = _object(body).get("error")
    return code if isinstance(code, str) and code in _MEANINGS else None


def refusal(status_code: int, body: bytes) -> tuple[DeliveryFault, str]:
    """Return what an answer without a token means, and to whom: a sentence for the target's owner.

    Whatever it is, it says nothing about the receiver, which may be as well as ever: an endpoint that
    is gone must not end the target, as a receiver that is gone does.
    """
    answered = f"The token endpoint answered {status_code}"
    if 300 <= status_code < 400:
        return (
            DeliveryFault.CONFIGURATION,
            f"{answered}, which points to another address; give the final one as `tokenEndpoint`.",
        )
    if status_code in (408, 429, 502, 504):
        return DeliveryFault.THROTTLED, f"{answered}: it cannot answer now."
    if status_code >= 500:
        return DeliveryFault.RECEIVER, f"{answered}: it failed."
    meaning = _MEANINGS.get(error_code_of(body) or "", "it gives no token")
    return DeliveryFault.CONFIGURATION, f"{answered}: {meaning}."


def _object(body: bytes) -> Mapping[str, Any]:
    try:
        return msgspec.json.decode(body, type=dict[str, Any])
    # UnicodeDecodeError is a ValueError, as are the errors of msgspec.
    except (ValueError, RecursionError):
        return {}


def _misconfigured(sentence: str) -> DeliveryRetryable:
    return DeliveryRetryable(sentence, fault=DeliveryFault.CONFIGURATION)
