"""What is said to whoever enters the settings of a Kafka data target."""

from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    PrivateFormat,
)

from protocols.errors import InvalidInput
from protocols.kafka_security import SecurityProtocol
from protocols.targets.guarding.guard import Guard, GuardRules
from protocols.targets.kafka_wire.settings import (
    KafkaTargetSettings,
    RecordKey,
    parse_kafka_settings,
)
from tests.support.certificates import Authority
from tests.support.guards import loopback_guard
from tests.support.kafka_targets import KafkaTargets

AUTHORITY = Authority()
CLIENT = AUTHORITY.issue("hub")
PASSWORD = "0p3n-sesame"
VALID: dict[str, Any] = {
    "bootstrapServers": "kafka1.example.org:9093",
    "topic": "city.readings",
    "securityProtocol": "sasl_ssl",
    "username": "hub",
    "password": PASSWORD,
    "caCertificate": AUTHORITY.certificate,
    "clientCertificate": CLIENT.certificate,
    "clientKey": CLIENT.key,
}


def parse(**changes: Any) -> KafkaTargetSettings:
    return parse_kafka_settings({**VALID, **changes}, loopback_guard())


def problem_of(**changes: Any) -> str:
    with pytest.raises(InvalidInput) as caught:
        parse(**changes)
    problem = str(caught.value)
    assert PASSWORD not in problem
    assert "PRIVATE KEY" not in problem
    return problem


def encrypted_key() -> str:
    key = ec.generate_private_key(ec.SECP256R1())
    encryption = BestAvailableEncryption(b"secret")
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, encryption).decode()


def test_little_has_to_be_said() -> None:
    parsed = parse_kafka_settings(
        {"bootstrapServers": " a.example:9093 ,[2606:4700::1]:9094 ", "topic": "t"}, Guard()
    )
    assert [str(server) for server in parsed.servers] == ["a.example:9093", "[2606:4700::1]:9094"]
    assert parsed.key is RecordKey.DEVICE
    assert parsed.security is SecurityProtocol.SSL
    assert parsed.timeout_s == 15.0
    assert (parsed.login, parsed.identity, parsed.authorities) == (None, None, None)


def test_choices_are_taken_as_kafkas_own_tools_write_them() -> None:
    parsed = parse(securityProtocol="SASL_PLAINTEXT", saslMechanism="SCRAM-SHA-256")
    assert parsed.security is SecurityProtocol.SASL_PLAINTEXT
    assert parsed.login is not None
    assert parsed.login.mechanism == "scram-sha-256"


def test_what_belongs_to_another_protocol_is_passed_over() -> None:
    parsed = parse(securityProtocol="plaintext", caCertificate="nonsense", password=None)
    assert (parsed.login, parsed.identity, parsed.authorities) == (None, None, None)


def test_text_between_certificates_is_left_out() -> None:
    parsed = parse(caCertificate=f"# ours\n{AUTHORITY.certificate}# old\n{CLIENT.certificate}")
    assert parsed.authorities == AUTHORITY.certificate + CLIENT.certificate


def test_no_secret_stands_in_the_text_of_settings_or_target(targets: KafkaTargets) -> None:
    secrets = [PASSWORD, CLIENT.key, CLIENT.key.splitlines()[1]]
    target = targets.make(**VALID)
    shown = f"{parse()!r} {parse()} {target!r} {target}"
    assert [secret for secret in secrets if secret in shown] == []
    assert repr(target) == "<KafkaTarget city.readings at kafka1.example.org:9093>"


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({"bootstrapServers": None}, "`bootstrapServers` is needed and must be a text."),
        ({"bootstrapServers": "kafka1.example.org"}, "must be host:port"),
        ({"bootstrapServers": "https://kafka1.example.org:9093"}, "must be host:port"),
        ({"bootstrapServers": "hub:secret@kafka1.example.org:9093"}, "must be host:port"),
        ({"bootstrapServers": "kafka1.example.org:9093,"}, "must be host:port"),
        ({"bootstrapServers": "kafka1.example.org:0"}, "must be host:port"),
        ({"bootstrapServers": "kafka1.example.org:65536"}, "must be host:port"),
        ({"bootstrapServers": "kafka1.example.org:25"}, "must not be at port 25"),
        ({"bootstrapServers": "a.example:9093,10.0.0.1:9093"}, "10.0.0.1 is a private address"),
        ({"bootstrapServers": "0x7f.1:9093"}, "must name another host"),
        ({"bootstrapServers": ",".join(["a.example:9093"] * 21)}, "at most 20 brokers"),
        ({"topic": None}, "`topic` is needed"),
        ({"topic": "a b"}, "`topic` must consist of"),
        ({"topic": ".."}, "`topic` must consist of"),
        ({"topic": "t" * 250}, "`topic` must consist of"),
        ({"key": "city"}, "`key` must be one of device, message, none."),
        ({"securityProtocol": "tls"}, "`securityProtocol` must be one of plaintext, ssl"),
        ({"saslMechanism": "gssapi"}, "`saslMechanism` must be one of plain, scram-sha-256"),
        ({"username": ""}, "`username` is needed"),
        ({"password": f"{PASSWORD}\n"}, "`password` must be at most 1024 characters without"),
        ({"password": "\ud800"}, "`password` must be at most 1024 characters without"),
        ({"timeout": 0}, "`timeout` must be a whole number of milliseconds"),
        ({"timeout": True}, "`timeout` must be a whole number of milliseconds"),
        ({"caCertificate": "nonsense"}, "`caCertificate` must be one or more certificates in PEM."),
        ({"caCertificate": CLIENT.key}, "`caCertificate` must be one or more certificates in PEM."),
        ({"caCertificate": "x" * 65_537}, "of at most 65536 characters"),
        ({"clientKey": None}, "`clientCertificate` and `clientKey` are needed both or neither."),
        ({"clientCertificate": None}, "are needed both or neither."),
        (
            {"clientKey": "nonsense"},
            "`clientKey` must be a private key in PEM that is not encrypted.",
        ),
        ({"clientKey": encrypted_key()}, "must be a private key in PEM that is not encrypted."),
        ({"clientKey": AUTHORITY.issue("other").key}, "is not the key of the first"),
    ],
)
def test_mistake_is_named(changes: dict[str, Any], problem: str) -> None:
    assert problem in problem_of(**changes)


def test_every_mistake_is_named_at_once() -> None:
    problem = problem_of(topic=None, bootstrapServers=None, password=None, key=7)
    assert [
        name for name in ("topic", "bootstrapServers", "password", "key") if f"`{name}`" in problem
    ]
    assert problem.count(".") == 4


@pytest.mark.parametrize("protocol", ["plaintext", "sasl_plaintext"])
def test_hub_that_sends_nothing_unencrypted_takes_no_protocol_without_tls(protocol: str) -> None:
    guard = Guard(GuardRules(allow_http=False))
    with pytest.raises(InvalidInput, match="this hub sends nothing unencrypted"):
        parse_kafka_settings({**VALID, "securityProtocol": protocol}, guard)
