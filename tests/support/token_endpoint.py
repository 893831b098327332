"""An OAuth 2.0 token endpoint that grants client credentials and nothing else, strictly.

    tokens = TokenEndpoint.keycloak()
    async with Receiver(tokens) as receiver:
        ...  # have a token fetched from `tokens.url_of(receiver)`
        assert tokens.is_live(token)

Source: RFC 6749, sections 2.3.1, 3.2, 4.4 and 5; the public behaviour of Keycloak and Keyrock.
"""

import asyncio
import base64
import binascii
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final, Self
from urllib.parse import parse_qsl, unquote_plus

from tests.support.receivers import ReceivedRequest, Receiver

CLIENT_ID: Final = "tingbro"
CLIENT_SECRET: Final = "cl1ent s3cret+/&=æ%"

_PARAMETERS = {"grant_type", "client_id", "client_secret", "scope"}


class TokenError(Exception):
    def __init__(self, status: int, code: str) -> None:
        super().__init__(code)
        self.status = status
        self.code = code


@dataclass(kw_only=True)
class TokenEndpoint:
    """An `Answer` for a `Receiver`. Its attributes may be changed between requests."""

    path: str
    takes_body: bool = True
    takes_basic: bool = True
    secret: str = CLIENT_SECRET
    scopes: frozenset[str] = frozenset({"email", "profile"})
    answer_fields: Mapping[str, object] = field(
        default_factory=lambda: {"expires_in": 300, "token_type": "Bearer"}
    )
    """What is answered beside the token."""

    issued: list[str] = field(default_factory=list)
    refused: list[str] = field(default_factory=list)
    revoked: set[str] = field(default_factory=set)
    at_once: int = 0
    most_at_once: int = 0
    gate: asyncio.Event = field(default_factory=asyncio.Event)
    """Answers only while it is set, which it is at first."""

    def __post_init__(self) -> None:
        self.gate.set()

    @classmethod
    def keycloak(cls) -> Self:
        return cls(path="/realms/city/protocol/openid-connect/token")

    @classmethod
    def keyrock(cls) -> Self:
        """Takes the credentials in the header only."""
        return cls(
            path="/oauth2/token",
            takes_body=False,
            answer_fields={"expires_in": 3599, "token_type": "bearer", "scope": ["bearer"]},
        )

    def url_of(self, receiver: Receiver) -> str:
        return f"http://127.0.0.1:{receiver.port}{self.path}"

    def is_live(self, token: str) -> bool:
        return token in self.issued and token not in self.revoked

    def revoke_all(self) -> None:
        self.revoked.update(self.issued)

    async def __call__(self, request: ReceivedRequest, writer: asyncio.StreamWriter) -> None:
        self.at_once += 1
        self.most_at_once = max(self.most_at_once, self.at_once)
        try:
            await self.gate.wait()
            writer.write(self.answer(request))
        finally:
            self.at_once -= 1

    def answer(self, request: ReceivedRequest) -> bytes:
        try:
            self._check(request)
        except TokenError as error:
            self.refused.append(error.code)
            return _json(error.status, {"error": error.code, "error_description": "Refused"})
        self.issued.append(f"t0ken.{len(self.issued) + 1}-{self.path.count('/')}")
        return _json(200, {"access_token": self.issued[-1], **self.answer_fields})

    def _check(self, request: ReceivedRequest) -> None:
        if request.target != self.path:
            # Also for a query: credentials must not stand in an address.
            raise TokenError(404, "not_found")
        if request.method != "POST":
            raise TokenError(405, "invalid_request")
        if request.headers.get("Content-Type") != "application/x-www-form-urlencoded":
            raise TokenError(415, "invalid_request")
        fields = _form(request.body)
        self._check_client(request, fields)
        if fields.get("grant_type") != "client_credentials":
            raise TokenError(400, "unsupported_grant_type")
        if "scope" in fields and not set(fields["scope"].split(" ")) <= self.scopes:
            raise TokenError(400, "invalid_scope")

    def _check_client(self, request: ReceivedRequest, fields: Mapping[str, str]) -> None:
        in_body = (fields.get("client_id"), fields.get("client_secret"))
        in_header = _basic(request.headers.get("Authorization"))
        if in_header is not None and in_body != (None, None):
            # "The client MUST NOT use more than one authentication method in each request."
            raise TokenError(400, "invalid_request")
        shown = in_body if in_header is None else in_header
        takes = self.takes_body if in_header is None else self.takes_basic
        if not takes or shown != (CLIENT_ID, self.secret):
            raise TokenError(401, "invalid_client")


def _form(body: bytes) -> dict[str, str]:
    try:
        pairs = parse_qsl(body.decode("ascii"), strict_parsing=True, errors="strict")
    except ValueError:
        raise TokenError(400, "invalid_request") from None
    fields = dict(pairs)
    # "Request and response parameters MUST NOT be included more than once."
    if len(fields) != len(pairs) or fields.keys() - _PARAMETERS:
        raise TokenError(400, "invalid_request")
    return fields


def _basic(header: str | None) -> tuple[str, str] | None:
    if header is None:
        return None
    scheme, _, encoded = header.partition(" ")
    try:
        client_id, colon, secret = base64.b64decode(encoded, validate=True).decode().partition(":")
    except (binascii.Error, UnicodeDecodeError):
        raise TokenError(400, "invalid_request") from None
    if scheme != "Basic" or not colon:
        raise TokenError(400, "invalid_request")
    return unquote_plus(client_id, errors="strict"), unquote_plus(secret, errors="strict")


def _json(status: int, body: Mapping[str, object]) -> bytes:
    encoded = json.dumps(body).encode()
    head = (
        f"HTTP/1.1 {status} Status\r\ncontent-type: application/json\r\ncache-control: no-store\r\n"
        f"content-length: {len(encoded)}\r\n\r\n"
    )
    return head.encode() + encoded
