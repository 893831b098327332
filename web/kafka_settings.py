"""How to reach Kafka, and the topics of this hub there."""

import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from protocols.kafka_security import SaslMechanism, SecurityProtocol
from web.environment import Environment

# Few enough that a worker can hold all of them, many enough that twelve workers can share.
DEFAULT_PARTITIONS: Final = 12
# A partition costs a consumer memory and a cursor row; beyond this, several hubs serve better.
MOST_PARTITIONS: Final = 4096
MOST_REPLICAS: Final = 32

# Kafka's own rule for topics, whose names have 249 characters at the most.
_TOPIC_PREFIX: Final = re.compile(r"[A-Za-z0-9._-]{0,200}")
_SASL_NAMES: Final = ("KAFKA_SASL_MECHANISM", "KAFKA_SASL_USERNAME", "KAFKA_SASL_PASSWORD")


@dataclass(frozen=True, slots=True, kw_only=True)
class SaslLogin:
    mechanism: SaslMechanism
    username: str
    password: str = field(repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class KafkaSecurity:
    """`ca_file` None trusts what the system trusts; `login` is there exactly when the protocol has one."""

    protocol: SecurityProtocol
    ca_file: Path | None
    login: SaslLogin | None


@dataclass(frozen=True, slots=True, kw_only=True)
class KafkaSettings:
    """`partitions` and `replication` are for topics that are yet to be made."""

    bootstrap_servers: tuple[str, ...]
    partitions: int
    replication: int
    topic_prefix: str
    security: KafkaSecurity


def read_kafka(environment: Environment) -> KafkaSettings | None:
    """The settings for Kafka, every one of them checked; None when no server is named."""
    settings = KafkaSettings(
        bootstrap_servers=environment.servers("KAFKA_BOOTSTRAP_SERVERS"),
        partitions=environment.integer(
            "KAFKA_PARTITIONS", DEFAULT_PARTITIONS, lowest=1, highest=MOST_PARTITIONS
        ),
        replication=environment.integer("KAFKA_REPLICATION", 1, lowest=1, highest=MOST_REPLICAS),
        topic_prefix=_topic_prefix(environment),
        security=_security(environment),
    )
    return settings if settings.bootstrap_servers else None


def _topic_prefix(environment: Environment) -> str:
    value = environment.text("KAFKA_TOPIC_PREFIX") or ""
    if not _TOPIC_PREFIX.fullmatch(value):
        environment.refuse(
            "KAFKA_TOPIC_PREFIX",
            "must have at most 200 letters, digits, dots, dashes or underscores",
        )
    return value


def _security(environment: Environment) -> KafkaSecurity:
    name = "KAFKA_SECURITY_PROTOCOL"
    protocol = SecurityProtocol(
        environment.choice(name, "plaintext", allowed=tuple(SecurityProtocol))
    )
    ca_file = environment.file("KAFKA_CA_FILE")
    is_known = not environment.is_refused(name)
    if is_known and not protocol.is_encrypted and environment.text("KAFKA_CA_FILE"):
        environment.refuse(
            "KAFKA_CA_FILE", f"has no effect with {protocol}: set {name} to ssl or sasl_ssl"
        )
    return KafkaSecurity(
        protocol=protocol, ca_file=ca_file, login=_login(environment, protocol, is_known=is_known)
    )


def _login(
    environment: Environment, protocol: SecurityProtocol, *, is_known: bool
) -> SaslLogin | None:
    mechanism = environment.choice(_SASL_NAMES[0], "", allowed=tuple(SaslMechanism))
    username, password = (environment.text(name) for name in _SASL_NAMES[1:])
    for name in _SASL_NAMES if is_known else ():
        is_given = environment.text(name) is not None
        if is_given and not protocol.has_login:
            environment.refuse(
                name,
                f"has no effect with {protocol}: the protocol must be sasl_plaintext or sasl_ssl",
            )
        elif protocol.has_login and not is_given:
            environment.refuse(name, f"must be set when the security protocol is {protocol}")
    if not (protocol.has_login and mechanism and username and password):
        return None
    return SaslLogin(mechanism=SaslMechanism(mechanism), username=username, password=password)
