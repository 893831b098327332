"""The ways into the test broker beside the plain one: TLS, client certificates, logins, and a proxy's.

Each is a listener of its own. Whoever comes in by a login or a certificate has rights, but for `STRANGER`;
whoever comes without either is one of the tests and may do anything.
"""

from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Final

from tests.support.certificates import Authority, Issued
from tests.support.hub_process import free_port

WRITER: Final = "writer"
STRANGER: Final = "stranger"
"""May log in, and is allowed nothing."""
PASSWORD: Final = "c0nf0rm-s3cret"

NAME: Final = "kafka.tests.example"
"""What the broker calls itself, and proves, at the doors with TLS. No resolver knows it."""
ELSEWHERE: Final = "kafka.elsewhere.example"
FORBIDDEN: Final = "10.99.99.99"

_LOOPBACK: Final = "127.0.0.1"
_MECHANISMS: Final = ("PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512")


class Door(StrEnum):
    TLS = "TLS"
    MUTUAL = "MUTUAL"
    """TLS with a certificate of the client."""
    MISNAMED = "MISNAMED"
    """TLS with a certificate for `ELSEWHERE`."""
    LOGIN = "LOGIN"
    """A login without TLS."""
    SECURE = "SECURE"
    """A login over TLS."""
    NUMBERED = "NUMBERED"
    """The same by address, for clients that have to look names up themselves."""
    PROXIED = "PROXIED"
    """A login without TLS, which says of itself that it is at `proxy_port`, where a test may have a proxy."""
    ASTRAY = "ASTRAY"
    """Says of itself that it is at `FORBIDDEN`."""


_PROTOCOLS: Final = {
    Door.TLS: "SSL",
    Door.MUTUAL: "SSL",
    Door.MISNAMED: "SSL",
    Door.LOGIN: "SASL_PLAINTEXT",
    Door.SECURE: "SASL_SSL",
    Door.NUMBERED: "SASL_SSL",
    Door.PROXIED: "SASL_PLAINTEXT",
    Door.ASTRAY: "PLAINTEXT",
}


@dataclass(frozen=True, slots=True)
class _Listener:
    port: int
    advertised: str


class KafkaDoors:
    """Made before the broker is formatted; `directory` is where its certificates are kept."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self.authority = Authority()
        self.client: Issued = self.authority.issue(WRITER)
        self.proxy_port = free_port()
        self._listeners = {door: self._listener(door) for door in Door}

    def port(self, door: Door) -> int:
        return self._listeners[door].port

    def servers(self, door: Door) -> str:
        return f"{_host(door)}:{self.port(door)}"

    @property
    def listeners(self) -> list[str]:
        return [f"{door}://{_LOOPBACK}:{one.port}" for door, one in self._listeners.items()]

    @property
    def advertised(self) -> list[str]:
        return [f"{door}://{one.advertised}" for door, one in self._listeners.items()]

    @property
    def protocols(self) -> list[str]:
        return [f"{door}:{protocol}" for door, protocol in _PROTOCOLS.items()]

    @property
    def users(self) -> list[str]:
        """What the broker's storage is formatted with."""
        return [
            f"{mechanism}=[name={user},password={PASSWORD}]"
            for mechanism in _MECHANISMS[1:]
            for user in (WRITER, STRANGER)
        ]

    def properties(self) -> dict[str, str]:
        """Return the server's properties, and write the files that they name."""
        own = self._store("server", self.authority.issue("broker", NAME, _LOOPBACK))
        elsewhere = self._store("elsewhere", self.authority.issue("broker", ELSEWHERE))
        trusted = self._directory / "trusted.pem"
        trusted.write_text(self.authority.certificate)
        properties = {
            "authorizer.class.name": "org.apache.kafka.metadata.authorizer.StandardAuthorizer",
            "super.users": f"User:ANONYMOUS;User:{WRITER};User:CN={WRITER}",
            "sasl.enabled.mechanisms": ",".join(_MECHANISMS),
            "connection.failed.authentication.delay.ms": "0",
            f"listener.name.{Door.MUTUAL.lower()}.ssl.client.auth": "required",
            f"listener.name.{Door.MUTUAL.lower()}.ssl.truststore.type": "PEM",
            f"listener.name.{Door.MUTUAL.lower()}.ssl.truststore.location": str(trusted),
        }
        for door, protocol in _PROTOCOLS.items():
            prefix = f"listener.name.{door.lower()}"
            if "SSL" in protocol:
                store = elsewhere if door is Door.MISNAMED else own
                properties[f"{prefix}.ssl.keystore.type"] = "PEM"
                properties[f"{prefix}.ssl.keystore.location"] = str(store)
            if "SASL" in protocol:
                properties |= {
                    f"{prefix}.{mechanism.lower()}.sasl.jaas.config": _login_module(mechanism)
                    for mechanism in _MECHANISMS
                }
        return properties

    def _store(self, name: str, issued: Issued) -> Path:
        path = self._directory / f"{name}.pem"
        path.write_text(issued.key + issued.certificate)
        return path

    def _listener(self, door: Door) -> _Listener:
        port = free_port()
        match door:
            case Door.PROXIED:
                return _Listener(port, f"{_LOOPBACK}:{self.proxy_port}")
            case Door.ASTRAY:
                return _Listener(port, f"{FORBIDDEN}:{port}")
            case _:
                return _Listener(port, f"{_host(door)}:{port}")


def _host(door: Door) -> str:
    is_named = "SSL" in _PROTOCOLS[door] and door is not Door.NUMBERED
    return NAME if is_named else _LOOPBACK


def _login_module(mechanism: str) -> str:
    package = "org.apache.kafka.common.security"
    if mechanism == "PLAIN":
        users = " ".join(f'user_{user}="{PASSWORD}"' for user in (WRITER, STRANGER))
        return f"{package}.plain.PlainLoginModule required {users};"
    return f"{package}.scram.ScramLoginModule required;"
