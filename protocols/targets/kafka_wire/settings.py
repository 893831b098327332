"""Settings of Kafka data targets: reading them, and saying what is wrong with them."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Final, TypeVar

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_pem_private_key,
)

from protocols.errors import InvalidInput
from protocols.kafka_security import SaslMechanism, SecurityProtocol
from protocols.targets.guarding.guard import Guard
from protocols.targets.http.settings import DEFAULT_TIMEOUT_MS, MAX_TIMEOUT_MS

MAX_SERVERS: Final = 20
MAX_PEM_LENGTH: Final = 65_536
MAX_LOGIN_LENGTH: Final = 1024

_SERVER: Final = re.compile(
    r"(?:\[(?P<ip6>[0-9A-Fa-f:.]{2,45})\]|(?P<host>[0-9A-Za-z._-]{1,253})):(?P<port>[0-9]{1,5})"
)
# What Kafka itself takes for a topic's name (org.apache.kafka.common.internals.Topic).
_TOPIC: Final = re.compile(r"(?!\.{1,2}$)[0-9A-Za-z._-]{1,249}")

_Choice = TypeVar("_Choice", bound=StrEnum)


class RecordKey(StrEnum):
    """What a record is keyed by, which decides its partition: records of one key keep their order."""

    DEVICE = "device"
    MESSAGE = "message"
    NONE = "none"


@dataclass(frozen=True, slots=True)
class BrokerAddress:
    host: str
    port: int

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Login:
    mechanism: SaslMechanism
    username: str = field(repr=False)
    password: str = field(repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Identity:
    """What the hub shows to brokers that ask for a certificate, both as PEM."""

    certificates: str = field(repr=False)
    key: str = field(repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class KafkaTargetSettings:
    servers: tuple[BrokerAddress, ...]
    """Whom to ask for the cluster; it names its brokers itself."""
    topic: str
    key: RecordKey
    timeout_s: float
    security: SecurityProtocol
    authorities: str | None = field(repr=False)
    """Certificates of those who may vouch for a broker, as PEM; None for those of the system."""
    identity: Identity | None
    login: Login | None


def parse_kafka_settings(settings: Mapping[str, object], guard: Guard) -> KafkaTargetSettings:
    """Read `settings`; the brokers have to be ones that `guard` lets through.

    Choices are taken in any case, as Kafka's own tools write them in capitals. What belongs to another
    `securityProtocol` is passed over.

    Raises:
        InvalidInput: one sentence for each setting that cannot be used.
    """
    reader = _Reader(settings, guard)
    security = reader.security()
    parsed = KafkaTargetSettings(
        servers=reader.servers(),
        topic=reader.topic(),
        key=reader.choice("key", RecordKey, RecordKey.DEVICE),
        timeout_s=reader.timeout_s(),
        security=security,
        authorities=reader.certificates("caCertificate") if security.is_encrypted else None,
        identity=reader.identity() if security.is_encrypted else None,
        login=reader.login() if security.has_login else None,
    )
    reader.raise_for_problems()
    return parsed


class _Reader:
    """Reads one setting at a time and remembers what was wrong; a wrong one reads as a stand-in."""

    def __init__(self, settings: Mapping[str, object], guard: Guard) -> None:
        self._settings = settings
        self._guard = guard
        self._problems: list[str] = []

    def raise_for_problems(self) -> None:
        if self._problems:
            raise InvalidInput(" ".join(self._problems))

    def servers(self) -> tuple[BrokerAddress, ...]:
        names = [name.strip() for name in self._text("bootstrapServers").split(",")]
        if names == [""]:
            return ()
        if len(names) > MAX_SERVERS:
            self._problems.append(f"`bootstrapServers` may name at most {MAX_SERVERS} brokers.")
            return ()
        found = [_SERVER.fullmatch(name) for name in names]
        servers = tuple(
            BrokerAddress(one["ip6"] or one["host"], int(one["port"])) for one in found if one
        )
        if len(servers) < len(names) or not all(0 < one.port < 65_536 for one in servers):
            self._problems.append(
                "`bootstrapServers` must be host:port, several with commas between, "
                "such as kafka1.example.org:9093,kafka2.example.org:9093."
            )
            return servers
        for server in servers:
            try:
                self._guard.check(server.host, server.port)
            except InvalidInput as error:
                self._problems.append(f"`bootstrapServers` {error}.")
        return servers

    def security(self) -> SecurityProtocol:
        security = self.choice("securityProtocol", SecurityProtocol, SecurityProtocol.SSL)
        if not security.is_encrypted and not self._guard.rules.allow_http:
            self._problems.append(
                "`securityProtocol` must be ssl or sasl_ssl: this hub sends nothing unencrypted."
            )
        return security

    def topic(self) -> str:
        topic = self._text("topic")
        if topic and not _TOPIC.fullmatch(topic):
            self._problems.append(
                "`topic` must consist of at most 249 letters, digits, dots, underscores and hyphens."
            )
        return topic

    def timeout_s(self) -> float:
        value = self._settings.get("timeout")
        if value is None:
            return DEFAULT_TIMEOUT_MS / 1000
        if (
            isinstance(value, bool)
            or not isinstance(value, int)
            or not 1 <= value <= MAX_TIMEOUT_MS
        ):
            self._problems.append(
                f"`timeout` must be a whole number of milliseconds from 1 to {MAX_TIMEOUT_MS}."
            )
            return DEFAULT_TIMEOUT_MS / 1000
        return value / 1000

    def choice(self, name: str, choices: type[_Choice], default: _Choice) -> _Choice:
        value = self._settings.get(name)
        if value is None or value == "":
            return default
        if isinstance(value, str) and value.lower() in list(choices):
            return choices(value.lower())
        self._problems.append(f"`{name}` must be one of {', '.join(choices)}.")
        return default

    def login(self) -> Login:
        return Login(
            mechanism=self.choice("saslMechanism", SaslMechanism, SaslMechanism.SCRAM_SHA_512),
            username=self._login_text("username"),
            password=self._login_text("password"),
        )

    def identity(self) -> Identity | None:
        certificates = self.certificates("clientCertificate")
        pem = self._pem("clientKey")
        if certificates is None and pem is None:
            return None
        if certificates is None or pem is None:
            self._problems.append("`clientCertificate` and `clientKey` are needed both or neither.")
            return None
        try:
            key = load_pem_private_key(pem.encode(), password=None)
        # TypeError where it is encrypted.
        except (ValueError, TypeError, UnsupportedAlgorithm):
            self._problems.append("`clientKey` must be a private key in PEM that is not encrypted.")
            return None
        own = x509.load_pem_x509_certificate(certificates.encode())
        if _public(own) != key.public_key().public_bytes(*_PUBLIC):
            self._problems.append("`clientKey` is not the key of the first `clientCertificate`.")
        return Identity(
            certificates=certificates,
            key=key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode(),
        )

    def certificates(self, name: str) -> str | None:
        """Return them without anything that stands between them, or None where there are none."""
        pem = self._pem(name)
        if pem is None:
            return None
        try:
            found = x509.load_pem_x509_certificates(pem.encode())
            for one in found:
                _public(one)
        except (ValueError, UnsupportedAlgorithm):
            self._problems.append(f"`{name}` must be one or more certificates in PEM.")
            return None
        return "".join(one.public_bytes(Encoding.PEM).decode() for one in found)

    def _pem(self, name: str) -> str | None:
        value = self._settings.get(name)
        if value is None or value == "":
            return None
        if not isinstance(value, str) or len(value) > MAX_PEM_LENGTH or not value.isascii():
            self._problems.append(
                f"`{name}` must be a text in PEM of at most {MAX_PEM_LENGTH} characters."
            )
            return None
        return value

    def _login_text(self, name: str) -> str:
        value = self._text(name)
        if len(value) > MAX_LOGIN_LENGTH or not value.isprintable():
            self._problems.append(
                f"`{name}` must be at most {MAX_LOGIN_LENGTH} characters without control characters."
            )
            return ""
        return value

    def _text(self, name: str) -> str:
        value = self._settings.get(name)
        if not isinstance(value, str) or not value:
            self._problems.append(f"`{name}` is needed and must be a text.")
            return ""
        return value


_PUBLIC: Final = (Encoding.DER, PublicFormat.SubjectPublicKeyInfo)


def _public(certificate: x509.Certificate) -> bytes:
    return certificate.public_key().public_bytes(*_PUBLIC)
