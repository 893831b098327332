from pathlib import Path

import pytest

from protocols.errors import InvalidSettings
from protocols.kafka_security import SaslMechanism, SecurityProtocol
from web.kafka_settings import KafkaSettings
from web.settings import read_settings

LOGIN = {
    "KAFKA_SASL_MECHANISM": "SCRAM-SHA-512",
    "KAFKA_SASL_USERNAME": "hub",
    "KAFKA_SASL_PASSWORD": "hunter2",
}


def kafka_of(**variables: str) -> KafkaSettings:
    settings = {"KAFKA_BOOTSTRAP_SERVERS": "kafka:9092", **variables}
    kafka = read_settings({f"TINGBRO_{name}": value for name, value in settings.items()}).kafka
    assert kafka is not None
    return kafka


def problems_of(**variables: str) -> list[str]:
    with pytest.raises(InvalidSettings) as caught:
        kafka_of(**variables)
    return caught.value.problems


def test_no_servers_mean_no_kafka() -> None:
    assert read_settings({}).kafka is None


def test_one_server_is_enough_to_begin_with() -> None:
    kafka = kafka_of()
    assert kafka.bootstrap_servers == ("kafka:9092",)
    assert (kafka.partitions, kafka.replication, kafka.topic_prefix) == (12, 1, "")
    assert kafka.security.protocol is SecurityProtocol.PLAINTEXT
    assert kafka.security.login is None


def test_every_value_given_is_used(tmp_path: Path) -> None:
    ca_file = tmp_path / "ca.pem"
    ca_file.touch()
    kafka = kafka_of(
        KAFKA_BOOTSTRAP_SERVERS="kafka-1.example.org:9093, 192.0.2.1:9093,[2001:db8::1]:9093",
        KAFKA_PARTITIONS="64",
        KAFKA_REPLICATION="3",
        KAFKA_TOPIC_PREFIX="city.",
        KAFKA_SECURITY_PROTOCOL="SASL_SSL",
        KAFKA_CA_FILE=str(ca_file),
        **LOGIN,
    )
    assert kafka.bootstrap_servers == (
        "kafka-1.example.org:9093",
        "192.0.2.1:9093",
        "[2001:db8::1]:9093",
    )
    assert (kafka.partitions, kafka.replication, kafka.topic_prefix) == (64, 3, "city.")
    assert kafka.security.protocol is SecurityProtocol.SASL_SSL
    assert kafka.security.ca_file == ca_file
    assert kafka.security.login is not None
    assert kafka.security.login.mechanism is SaslMechanism.SCRAM_SHA_512
    assert kafka.security.login.username == "hub"
    assert kafka.security.login.password == "hunter2"


@pytest.mark.parametrize(
    "servers",
    [
        "kafka",
        "kafka:",
        "kafka:0",
        "kafka:65536",
        "kafka:٩٠٩٢",
        ":9092",
        "kafka:9092,",
        ",",
        "hub:hunter2@kafka:9092",
        "plaintext://kafka:9092",
    ],
)
def test_servers_that_are_none_are_refused_without_repeating_them(servers: str) -> None:
    (problem,) = problems_of(KAFKA_BOOTSTRAP_SERVERS=servers)
    assert problem.startswith("TINGBRO_KAFKA_BOOTSTRAP_SERVERS must be servers such as")
    assert "hunter2" not in problem


@pytest.mark.parametrize("prefix", ["a b", "ø", "a/", "x" * 201])
def test_prefix_that_no_topic_may_have_is_refused(prefix: str) -> None:
    (problem,) = problems_of(KAFKA_TOPIC_PREFIX=prefix)
    assert problem.startswith("TINGBRO_KAFKA_TOPIC_PREFIX")


def test_login_that_the_protocol_does_not_have_is_refused_and_not_ignored() -> None:
    problems = problems_of(KAFKA_SECURITY_PROTOCOL="ssl", **LOGIN)
    assert len(problems) == 3
    assert all("has no effect with ssl" in problem for problem in problems)
    assert not any("hunter2" in problem for problem in problems)


def test_every_missing_part_of_a_login_is_named() -> None:
    problems = problems_of(KAFKA_SECURITY_PROTOCOL="sasl_plaintext", KAFKA_SASL_USERNAME="hub")
    assert len(problems) == 2
    assert any("KAFKA_SASL_MECHANISM" in problem for problem in problems)
    assert any("KAFKA_SASL_PASSWORD" in problem for problem in problems)


def test_authorities_without_encryption_are_refused(tmp_path: Path) -> None:
    ca_file = tmp_path / "ca.pem"
    ca_file.touch()
    (problem,) = problems_of(KAFKA_CA_FILE=str(ca_file))
    assert "has no effect with plaintext" in problem


def test_unknown_protocol_is_one_mistake_and_not_four() -> None:
    (problem,) = problems_of(KAFKA_SECURITY_PROTOCOL="tls", **LOGIN)
    assert problem.startswith("TINGBRO_KAFKA_SECURITY_PROTOCOL must be one of")
