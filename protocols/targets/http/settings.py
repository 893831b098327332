"""Settings of targets that are reached over HTTP: reading them, and saying what is wrong with them.

The names are those that clients of `/api/v1` already send (`url`, `timeout` in milliseconds,
`authorizationHeader`), and further ones in the same manner.
"""

import base64
import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum
from urllib.parse import quote, quote_plus

from yarl import URL

from protocols.errors import InvalidInput
from protocols.targets.guarding.guard import Guard
from protocols.targets.http.client_credentials import (
    ClientAuthentication,
    ClientCredentials,
    in_json,
)
from protocols.targets.http.signing import SigningKey, parse_signing_keys
from protocols.targets.setting_names import implied_authorization

# From the start of an attempt to the end of the answer. OS2iot waits 30 s; receivers that are in order
# answer within a second, and whoever holds a push for longer is better asked again later.
DEFAULT_TIMEOUT_MS = 15_000
MAX_TIMEOUT_MS = 300_000

# RFC 9110, section 5.6.2.
_HEADER_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]{1,100}")
# RFC 9110, section 5.5, without what lies beyond ASCII: no two receivers agree on that.
_HEADER_VALUE = re.compile(r"[!-~](?:[ \t!-~]*[!-~])?")
# RFC 6749, section 3.3.
_SCOPE = re.compile(r"[!#-\[\]-~]+(?: [!#-\[\]-~]+)*")
# Headers that the hub or the protocol sets; a secret in one of them would break the push.
_RESERVED_HEADERS = frozenset(
    {
        "accept",
        "accept-encoding",
        "connection",
        "content-encoding",
        "content-length",
        "content-type",
        "expect",
        "host",
        "keep-alive",
        "te",
        "trailer",
        "transfer-encoding",
        "upgrade",
        "user-agent",
    }
)
_RESERVED_PREFIXES = ("webhook-", "tingbro-", "proxy-")


class AuthorizationType(StrEnum):
    """How the hub proves to a receiver that it is the hub."""

    NO_AUTHORIZATION = "NO_AUTHORIZATION"
    HEADER_BASED_AUTHORIZATION = "HEADER_BASED_AUTHORIZATION"
    HTTP_BASIC_AUTHORIZATION = "HTTP_BASIC_AUTHORIZATION"
    SECRET_HEADER = "SECRET_HEADER"
    SECRET_URL_PARAMETER = "SECRET_URL_PARAMETER"
    OAUTH_AUTHORIZATION = "OAUTH_AUTHORIZATION"


@dataclass(frozen=True, slots=True, kw_only=True)
class HttpTargetSettings:
    """Where and how to send, ready to be sent: nothing here needs quoting or encoding again."""

    url: URL = field(repr=False)
    shown_url: str
    """The same address for people to read, without what is secret."""
    timeout_s: float
    signing_keys: tuple[SigningKey, ...] = ()
    authorization_headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    credentials: ClientCredentials | None = None
    """What tokens are got with, where each push shows one."""

    secrets: tuple[str, ...] = field(default=(), repr=False)
    """Every spelling of a secret that a receiver could echo, the longest first."""


def parse_http_settings(settings: Mapping[str, object], guard: Guard) -> HttpTargetSettings:
    """Read `settings`; the addresses have to be such that `guard` lets them through.

    Without an `authorizationType` a `tokenEndpoint` or else an `authorizationHeader` that is not empty
    is used, as existing clients expect.

    Raises:
        InvalidInput: one sentence for each setting that cannot be used.
    """
    reader = _Reader(settings, guard)
    url = reader.url()
    timeout_ms = reader.timeout_ms()
    signing_keys = reader.signing_keys()
    authorization = _authorization(reader, url)
    reader.raise_for_problems()
    # A receiver may repeat them as they were sent, or in JSON.
    spellings = {spelled for each in authorization.secrets for spelled in (each, in_json(each))}
    return HttpTargetSettings(
        url=authorization.url,
        shown_url=authorization.shown_url,
        timeout_s=timeout_ms / 1000,
        signing_keys=signing_keys,
        authorization_headers=authorization.headers,
        credentials=authorization.credentials,
        secrets=tuple(sorted(spellings - {""}, key=len, reverse=True)),
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class _Authorization:
    """What one way of authorization adds to each request, and what of it nobody is to see."""

    url: URL
    shown_url: str
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    credentials: ClientCredentials | None = None
    secrets: tuple[str, ...] = field(default=(), repr=False)


def _authorization(reader: "_Reader", url: URL) -> _Authorization:
    as_it_is = _Authorization(url=url, shown_url=str(url))
    match reader.authorization_type():
        case AuthorizationType.HEADER_BASED_AUTHORIZATION:
            value = reader.header_value("authorizationHeader")
            secrets = (value, value.rpartition(" ")[2])
            return replace(as_it_is, headers={"Authorization": value}, secrets=secrets)
        case AuthorizationType.HTTP_BASIC_AUTHORIZATION:
            encoded, password = reader.basic_credentials()
            headers = {"Authorization": f"Basic {encoded}"}
            return replace(as_it_is, headers=headers, secrets=(encoded, password))
        case AuthorizationType.SECRET_HEADER:
            name, value = reader.header_name(), reader.header_value("secretHeaderValue")
            return replace(as_it_is, headers={name: value}, secrets=(value,))
        case AuthorizationType.SECRET_URL_PARAMETER:
            name, value = reader.text("secretParameterName"), reader.text("secretParameterValue")
            secret_url = reader.with_parameter(url, name, value)
            last = secret_url.raw_query_string.split("=")[-1]
            return _Authorization(
                url=secret_url,
                shown_url=f"{url}{'&' if '?' in str(url) else '?'}{quote(name)}=[secret]",
                secrets=(value, quote(value, safe=""), quote_plus(value), last),
            )
        case AuthorizationType.OAUTH_AUTHORIZATION:
            credentials = reader.client_credentials()
            return replace(as_it_is, credentials=credentials, secrets=credentials.secrets)
        case AuthorizationType.NO_AUTHORIZATION | None:
            return as_it_is


class _Reader:
    """Reads one setting at a time and remembers what was wrong; a wrong one reads as a stand-in."""

    def __init__(self, settings: Mapping[str, object], guard: Guard) -> None:
        self._settings = settings
        self._guard = guard
        self._problems: list[str] = []

    def raise_for_problems(self) -> None:
        if self._problems:
            raise InvalidInput(" ".join(self._problems))

    def url(self, name: str = "url") -> URL:
        text = self.text(name)
        try:
            return self._guard.check_url(text) if text else URL()
        except InvalidInput as error:
            self._problems.append(f"`{name}` {error}.")
            return URL()

    def timeout_ms(self) -> int:
        value = self._settings.get("timeout")
        if value is None:
            return DEFAULT_TIMEOUT_MS
        if (
            isinstance(value, bool)
            or not isinstance(value, int)
            or not 1 <= value <= MAX_TIMEOUT_MS
        ):
            self._problems.append(
                f"`timeout` must be a whole number of milliseconds from 1 to {MAX_TIMEOUT_MS}."
            )
            return DEFAULT_TIMEOUT_MS
        return value

    def signing_keys(self) -> tuple[SigningKey, ...]:
        try:
            return parse_signing_keys(self._settings.get("signingKeys"))
        except InvalidInput as error:
            self._problems.append(str(error))
            return ()

    def authorization_type(self) -> AuthorizationType | None:
        value = self._settings.get("authorizationType")
        if value is None or value == "":
            return AuthorizationType(implied_authorization(self._settings))
        if isinstance(value, str) and value in list(AuthorizationType):
            return AuthorizationType(value)
        self._problems.append(f"`authorizationType` must be one of {', '.join(AuthorizationType)}.")
        return None

    def text(self, name: str) -> str:
        value = self._settings.get(name)
        if not isinstance(value, str) or not value:
            self._problems.append(f"`{name}` is needed and must be a text.")
            return ""
        try:
            value.encode()
        except UnicodeEncodeError:
            self._problems.append(f"`{name}` must not contain lone surrogates.")
            return ""
        return value

    def header_value(self, name: str) -> str:
        value = self.text(name)
        if value and not _HEADER_VALUE.fullmatch(value):
            self._problems.append(
                f"`{name}` must consist of printable ASCII characters and not begin or end in blanks."
            )
            return ""
        return value

    def header_name(self) -> str:
        name = self.text("secretHeaderName")
        lowered = name.lower()
        if name and not _HEADER_NAME.fullmatch(name):
            self._problems.append("`secretHeaderName` must be a valid HTTP header name.")
        elif lowered in _RESERVED_HEADERS or lowered.startswith(_RESERVED_PREFIXES):
            self._problems.append(
                "`secretHeaderName` must not be a header that the hub sets itself."
            )
        return name

    def basic_credentials(self) -> tuple[str, str]:
        username, password = self.text("username"), self.text("password")
        # RFC 7617, section 2: a user-id containing a colon is invalid.
        if ":" in username or _has_control(username):
            self._problems.append("`username` must not contain a colon or control characters.")
        if _has_control(password):
            self._problems.append("`password` must not contain control characters.")
        return base64.b64encode(f"{username}:{password}".encode()).decode(), password

    def client_credentials(self) -> ClientCredentials:
        client_id, client_secret = self.text("clientId"), self.text("clientSecret")
        if _has_control(client_id + client_secret):
            self._problems.append(
                "`clientId` and `clientSecret` must not contain control characters."
            )
        return ClientCredentials(
            token_endpoint=self.url("tokenEndpoint"),
            client_id=client_id,
            client_secret=client_secret,
            scope=self._scope(),
            authentication=self._client_authentication(),
        )

    def _scope(self) -> str | None:
        value = self._settings.get("scope")
        if value is None or value == "":
            return None
        if not isinstance(value, str) or not _SCOPE.fullmatch(value):
            self._problems.append("`scope` must be names of scopes with one blank between them.")
            return None
        return value

    def _client_authentication(self) -> ClientAuthentication | None:
        value = self._settings.get("clientAuthentication")
        if value is None or value == "":
            return None
        if isinstance(value, str) and value in list(ClientAuthentication):
            return ClientAuthentication(value)
        self._problems.append(
            f"`clientAuthentication` must be one of {', '.join(ClientAuthentication)}."
        )
        return None

    def with_parameter(self, url: URL, name: str, value: str) -> URL:
        if name and name in url.query:
            self._problems.append("`secretParameterName` already stands in `url`.")
        return url.extend_query({name: value})


def _has_control(text: str) -> bool:
    return any(character < " " or character == "\x7f" for character in text)
