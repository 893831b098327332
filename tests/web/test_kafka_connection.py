"""A broker that speaks TLS only and wants a login."""

import ssl
from pathlib import Path

import pytest

from protocols.errors import ConnectionLost, InvalidSettings
from storage.kafka.cluster import WantedTopic, cluster_view
from storage.kafka.producing import end_producer, open_producer
from storage.kafka.settings import KafkaSettings
from tests.support.kafka import KafkaBroker
from tests.support.kafka_doors import PASSWORD, WRITER, Door, KafkaDoors
from web.assembly import kafka_of
from web.settings import read_settings


@pytest.fixture
def guarded(kafka_broker: KafkaBroker, kafka_doors: KafkaDoors, tmp_path: Path) -> dict[str, str]:
    """What reaches the broker."""
    ca_file = tmp_path / "kafka.pem"
    ca_file.write_text(kafka_doors.authority.certificate)
    return {
        "KAFKA_BOOTSTRAP_SERVERS": kafka_doors.servers(Door.NUMBERED),
        "KAFKA_SECURITY_PROTOCOL": "sasl_ssl",
        "KAFKA_CA_FILE": str(ca_file),
        "KAFKA_SASL_MECHANISM": "plain",
        "KAFKA_SASL_USERNAME": WRITER,
        "KAFKA_SASL_PASSWORD": PASSWORD,
    }


def kafka_with(variables: dict[str, str]) -> KafkaSettings:
    kafka = read_settings({f"TINGBRO_{name}": value for name, value in variables.items()}).kafka
    assert kafka is not None
    return kafka_of(kafka)


@pytest.mark.parametrize("mechanism", ["plain", "scram-sha-256", "scram-sha-512"])
async def test_topic_is_made_and_written_to_over_tls_with_a_login(
    guarded: dict[str, str], mechanism: str
) -> None:
    settings, topic = kafka_with(guarded | {"KAFKA_SASL_MECHANISM": mechanism}), f"hub.{mechanism}"
    async with cluster_view(settings) as view:
        wanted = WantedTopic(name=topic, partitions=1, replication=1, options={})
        assert await view.create(wanted)
        seen = await view.topic(topic, patience_s=5.0)
        assert seen is not None
        producer = await open_producer(settings, topic)
        await producer.send_and_wait(topic, b"value")
        await end_producer(producer)
        reach = await view.reach(seen, [0])
    assert reach[0].end == 1


async def test_wrong_password_is_told_apart_from_a_broker_that_is_away(
    guarded: dict[str, str],
) -> None:
    settings = kafka_with(guarded | {"KAFKA_SASL_PASSWORD": "guess"})
    with pytest.raises(ConnectionLost, match="login") as caught:
        async with cluster_view(settings):
            pass
    assert "guess" not in str(caught.value)


async def test_broker_whose_certificate_is_not_trusted_is_not_talked_to(
    guarded: dict[str, str],
) -> None:
    settings = kafka_with(guarded | {"KAFKA_CA_FILE": ""})
    with pytest.raises(ConnectionLost, match="certificate"):
        async with cluster_view(settings):
            pass


def test_file_without_certificates_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "ca.pem"
    file.write_text("nothing")
    variables = {
        "KAFKA_BOOTSTRAP_SERVERS": "kafka:9093",
        "KAFKA_SECURITY_PROTOCOL": "ssl",
        "KAFKA_CA_FILE": str(file),
    }
    with pytest.raises(InvalidSettings, match=r"ca\.pem"):
        kafka_with(variables)


def test_certificates_are_always_checked() -> None:
    variables = {
        "KAFKA_BOOTSTRAP_SERVERS": "kafka:9093",
        "KAFKA_SECURITY_PROTOCOL": "ssl",
    }
    context = kafka_with(variables).connection["ssl_context"]
    assert context.verify_mode is ssl.CERT_REQUIRED
    assert context.check_hostname


def test_login_is_not_in_the_text_of_the_settings() -> None:
    variables = {
        "KAFKA_BOOTSTRAP_SERVERS": "kafka:9093",
        "KAFKA_SECURITY_PROTOCOL": "sasl_plaintext",
        "KAFKA_SASL_MECHANISM": "scram-sha-256",
        "KAFKA_SASL_USERNAME": WRITER,
        "KAFKA_SASL_PASSWORD": PASSWORD,
    }
    kafka = kafka_with(variables)
    assert kafka.connection["sasl_mechanism"] == "SCRAM-SHA-256"
    assert PASSWORD not in repr(kafka)
