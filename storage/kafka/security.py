"""How connections to Kafka are encrypted and logged in to."""

import ssl
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from protocols.errors import InvalidSettings


@dataclass(frozen=True, slots=True, kw_only=True)
class KafkaLogin:
    """`mechanism` is PLAIN, SCRAM-SHA-256 or SCRAM-SHA-512."""

    mechanism: str
    username: str
    password: str = field(repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class KafkaSecurity:
    """Without `is_encrypted` everything crosses the network in clear, the password of PLAIN included.

    `ca_file` None checks the brokers' certificates against the authorities that the system trusts.
    """

    is_encrypted: bool = False
    ca_file: Path | None = None
    login: KafkaLogin | None = None


def client_options(security: KafkaSecurity) -> dict[str, Any]:
    """What each of the library's clients is given.

    Raises:
        InvalidSettings: the file holds no certificates.
    """
    name = "SSL" if security.is_encrypted else "PLAINTEXT"
    options: dict[str, Any] = {"security_protocol": name}
    if security.is_encrypted:
        options["ssl_context"] = _context(security.ca_file)
    if security.login is not None:
        options |= {
            "security_protocol": f"SASL_{name}",
            "sasl_mechanism": security.login.mechanism,
            "sasl_plain_username": security.login.username,
            "sasl_plain_password": security.login.password,
        }
    return options


def _context(ca_file: Path | None) -> ssl.SSLContext:
    try:
        return ssl.create_default_context(cafile=ca_file)
    except (ssl.SSLError, OSError) as error:
        raise InvalidSettings([f"{ca_file} holds no certificates that can be used."]) from error
