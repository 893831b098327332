"""What the person who runs the hub may decide, read once from the environment.

`web/variables.py` lists the variables; this module gives them types and makes sure that they fit
together. What a component lets its builder tune, but no operator, is declared beside its code.
"""

import os
import re
import socket
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Final

from protocols.errors import InvalidSettings
from protocols.targets.guarding.guard import DEFAULT_PORTS, GuardRules
from web.environment import Environment, Network
from web.kafka_settings import KafkaSettings, read_kafka
from web.roles import Role, role_problems

KIBIBYTE: Final = 1024
DEFAULT_MAX_BODY_BYTES: Final = 1024 * KIBIBYTE
# A decoder has 32 MB of memory for the payload and everything that it makes of it.
LARGEST_MAX_BODY_BYTES: Final = 16 * 1024 * KIBIBYTE

# Two at the least: a script that spins must not hold up every other one. Eight at the most: each
# keeps its decoders resident, and a person with more cores than that can say so.
FEWEST_WORKERS: Final = 2
MOST_WORKERS: Final = 8

_PROCESS_NAME: Final = re.compile(r"[A-Za-z0-9._-]{1,100}")


class LogFormat(StrEnum):
    AUTO = "auto"
    CONSOLE = "console"
    JSON = "json"


@dataclass(frozen=True, slots=True, kw_only=True)
class TlsSettings:
    certificate: Path
    key: Path


@dataclass(frozen=True, slots=True, kw_only=True)
class HttpSettings:
    """`base_url` has no trailing slash. `tls` is None for plain HTTP."""

    host: str
    port: int
    base_url: str
    max_body_bytes: int
    tls: TlsSettings | None
    trusted_proxies: tuple[Network, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class StorageSettings:
    """`database_url` may hold a password: it is never shown, `storage.place_of` says what may be."""

    database_url: str = field(repr=False)
    raw_retention_days: int


@dataclass(frozen=True, slots=True, kw_only=True)
class AdministratorSettings:
    """The first administrator. A `password` of None is to be generated and shown once."""

    email: str
    password: str | None = field(repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class LogSettings:
    level: str
    format: LogFormat


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """Everything. `secret_key` is None when it is to be read from, or made in, `data_dir`.

    `kafka` is None when the journal is the embedded one. `targets` says where data targets may be.
    `process_name` tells this process from the
    others of the same hub.
    """

    data_dir: Path
    http: HttpSettings
    storage: StorageSettings
    kafka: KafkaSettings | None
    targets: GuardRules
    process_name: str
    administrator: AdministratorSettings
    log: LogSettings
    decoder_workers: int
    shutdown_timeout_s: int
    # Neither this nor the password may end up in a log or a traceback.
    secret_key: str | None = field(repr=False)


def read_settings(variables: Mapping[str, str], role: Role | None = None) -> Settings:
    """The settings that an environment describes. Reads files' existence, changes nothing.

    With a `role` they must also be enough for that kind of process; without, for a command.

    Raises: InvalidSettings with one sentence for each mistake.
    """
    environment = Environment(variables)
    data_dir = Path(environment.text("DATA_DIR") or "data")
    settings = Settings(
        data_dir=data_dir,
        http=_http(environment),
        storage=StorageSettings(
            database_url=_database_url(environment, data_dir),
            raw_retention_days=environment.integer(
                "RAW_RETENTION_DAYS", 30, lowest=1, highest=3650
            ),
        ),
        kafka=read_kafka(environment),
        targets=_targets(environment),
        process_name=_process_name(environment),
        administrator=_administrator(environment),
        log=_log(environment),
        decoder_workers=environment.integer(
            "DECODER_WORKERS", _default_workers(), lowest=1, highest=64
        ),
        shutdown_timeout_s=environment.integer("SHUTDOWN_TIMEOUT_S", 8, lowest=1, highest=300),
        secret_key=environment.limited_text("SECRET_KEY", lowest=32, highest=1024),
    )
    if role is not None:
        environment.problems += role_problems(role, environment)
    if environment.problems:
        raise InvalidSettings(environment.problems)
    return settings


def _http(environment: Environment) -> HttpSettings:
    tls = _tls(environment)
    port = environment.integer("HTTP_PORT", 3000, lowest=1, highest=65535)
    scheme = "https" if tls else "http"
    return HttpSettings(
        host=environment.text("HTTP_HOST") or "0.0.0.0",
        port=port,
        base_url=environment.web_address("BASE_URL", f"{scheme}://localhost:{port}"),
        max_body_bytes=environment.integer(
            "MAX_BODY_BYTES",
            DEFAULT_MAX_BODY_BYTES,
            lowest=KIBIBYTE,
            highest=LARGEST_MAX_BODY_BYTES,
        ),
        tls=tls,
        trusted_proxies=environment.networks("TRUSTED_PROXIES"),
    )


def _tls(environment: Environment) -> TlsSettings | None:
    names = ("TLS_CERTIFICATE", "TLS_KEY")
    given = [name for name in names if environment.text(name)]
    if len(given) == 1:
        (missing,) = set(names) - set(given)
        environment.refuse(missing, f"must be given together with TINGBRO_{given[0]}")
        return None
    certificate, key = environment.file(names[0]), environment.file(names[1])
    return TlsSettings(certificate=certificate, key=key) if certificate and key else None


def _database_url(environment: Environment, data_dir: Path) -> str:
    default = f"sqlite:///{data_dir / 'tingbro.db'}"
    value = environment.text("DATABASE_URL")
    if value is None:
        return default
    for scheme in ("sqlite:///", "postgresql://"):
        if value.startswith(scheme) and value != scheme:
            return value
    # The value may hold a password, so it is not repeated.
    environment.refuse(
        "DATABASE_URL",
        "must look like sqlite:///path/to/file or postgresql://user:password@host:5432/database",
    )
    return default


def _targets(environment: Environment) -> GuardRules:
    return GuardRules(
        allow_networks=environment.networks("TARGET_ALLOW_NETWORKS"),
        allow_http=environment.choice("TARGET_ALLOW_HTTP", "no", allowed=("no", "yes")) == "yes",
        allow_ports=environment.port_ranges("TARGET_ALLOW_PORTS", tuple(DEFAULT_PORTS)),
    )


def _process_name(environment: Environment) -> str:
    value = environment.text("PROCESS_NAME")
    if value is None:
        return f"{socket.gethostname()}-{os.getpid()}"
    if not _PROCESS_NAME.fullmatch(value):
        environment.refuse(
            "PROCESS_NAME", "must have 1 to 100 letters, digits, dots, dashes or underscores"
        )
    return value


def _administrator(environment: Environment) -> AdministratorSettings:
    email = environment.text("ADMIN_EMAIL") or "admin@localhost"
    name, _, domain = email.partition("@")
    if not name or not domain or "@" in domain or any(character.isspace() for character in email):
        environment.refuse("ADMIN_EMAIL", f"must be an e-mail address, not {email!r}")
    return AdministratorSettings(
        email=email,
        # 50 is the longest that the API's clients may send at login.
        password=environment.limited_text("ADMIN_PASSWORD", lowest=8, highest=50),
    )


def _log(environment: Environment) -> LogSettings:
    return LogSettings(
        level=environment.choice(
            "LOG_LEVEL", "info", allowed=("debug", "info", "warning", "error")
        ),
        format=LogFormat(environment.choice("LOG_FORMAT", "auto", allowed=tuple(LogFormat))),
    )


def _default_workers() -> int:
    """The cores that this process may use, which in a container are fewer than the machine has."""
    return min(MOST_WORKERS, max(FEWEST_WORKERS, len(os.sched_getaffinity(0))))
