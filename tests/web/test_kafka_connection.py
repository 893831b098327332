"""A broker that speaks TLS only and wants a login."""

import asyncio
import ssl
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from protocols.errors import ConnectionLost, InvalidSettings
from storage.kafka.cluster import WantedTopic, cluster_view
from storage.kafka.producing import end_producer, open_producer
from storage.kafka.settings import KafkaSettings
from tests.support import kafka_jars
from tests.support.kafka import KafkaBroker
from web.assembly import kafka_of
from web.settings import read_settings

USERNAME, PASSWORD = "hub", "0p3n-sesame"


def _make_certificate(directory: Path) -> tuple[Path, str]:
    """A certificate for loopback, signed by itself; its file, and its key as PKCS #8."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "kafka")])
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(hours=1))
        .not_valid_after(now + timedelta(hours=1))
        .add_extension(
            x509.SubjectAlternativeName([x509.IPAddress(ip_address("127.0.0.1"))]), critical=False
        )
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    file = directory / "kafka.pem"
    file.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    pem = key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
    return file, pem.decode()


def _one_line(pem: str) -> str:
    return pem.strip().replace("\n", "\\n")


@pytest.fixture(scope="module")
def guarded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    """What reaches the broker; it is asked with a login, so it cannot be waited for without."""
    directory = tmp_path_factory.mktemp("guarded-kafka")
    ca_file, key = _make_certificate(directory)
    module = "org.apache.kafka.common.security.plain.PlainLoginModule required"
    broker = KafkaBroker(
        kafka_jars.ensure(lambda _: None),
        directory / "broker",
        settings={
            # The listener keeps its name and changes what is spoken there.
            "listener.security.protocol.map": "PLAINTEXT:SASL_SSL,CONTROLLER:PLAINTEXT",
            "sasl.enabled.mechanisms": "PLAIN",
            "sasl.mechanism.inter.broker.protocol": "PLAIN",
            "listener.name.plaintext.plain.sasl.jaas.config": (
                f'{module} username="{USERNAME}" password="{PASSWORD}" '
                f'user_{USERNAME}="{PASSWORD}";'
            ),
            "ssl.keystore.type": "PEM",
            "ssl.keystore.certificate.chain": _one_line(ca_file.read_text()),
            "ssl.keystore.key": _one_line(key),
            "ssl.truststore.type": "PEM",
            "ssl.truststore.certificates": _one_line(ca_file.read_text()),
        },
    )
    broker.launch()
    yield {
        "KAFKA_BOOTSTRAP_SERVERS": broker.bootstrap_servers,
        "KAFKA_SECURITY_PROTOCOL": "sasl_ssl",
        "KAFKA_CA_FILE": str(ca_file),
        "KAFKA_SASL_MECHANISM": "plain",
        "KAFKA_SASL_USERNAME": USERNAME,
        "KAFKA_SASL_PASSWORD": PASSWORD,
    }
    broker.kill()


def kafka_with(variables: dict[str, str]) -> KafkaSettings:
    kafka = read_settings({f"TINGBRO_{name}": value for name, value in variables.items()}).kafka
    assert kafka is not None
    return kafka_of(kafka)


async def _ready(variables: dict[str, str]) -> None:
    settings = kafka_with(variables)
    async with asyncio.timeout(60):
        while True:
            try:
                async with cluster_view(settings):
                    return
            except ConnectionLost:
                await asyncio.sleep(0.2)


async def test_topic_is_made_and_written_to_over_tls_with_a_login(guarded: dict[str, str]) -> None:
    await _ready(guarded)
    settings = kafka_with(guarded)
    async with cluster_view(settings) as view:
        wanted = WantedTopic(name="guarded", partitions=1, replication=1, options={})
        assert await view.create(wanted)
        seen = await view.topic("guarded", patience_s=5.0)
        assert seen is not None
        producer = await open_producer(settings, "guarded")
        await producer.send_and_wait("guarded", b"value")
        await end_producer(producer)
        reach = await view.reach(seen, [0])
    assert reach[0].end == 1


async def test_wrong_password_is_told_apart_from_a_broker_that_is_away(
    guarded: dict[str, str],
) -> None:
    await _ready(guarded)
    settings = kafka_with(guarded | {"KAFKA_SASL_PASSWORD": "guess"})
    with pytest.raises(ConnectionLost, match="login") as caught:
        async with cluster_view(settings):
            pass
    assert "guess" not in str(caught.value)


async def test_broker_whose_certificate_is_not_trusted_is_not_talked_to(
    guarded: dict[str, str],
) -> None:
    await _ready(guarded)
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
        "KAFKA_SASL_USERNAME": USERNAME,
        "KAFKA_SASL_PASSWORD": PASSWORD,
    }
    kafka = kafka_with(variables)
    assert kafka.connection["sasl_mechanism"] == "SCRAM-SHA-256"
    assert PASSWORD not in repr(kafka)
