"""TLS, certificates and logins, at a broker that asks for them."""

from typing import Any

import pytest

from protocols.errors import DeliveryFault, DeliveryRefused, DeliveryRetryable
from protocols.targets import Delivered
from protocols.targets.guarding.guard import Guard
from protocols.targets.guarding.name_lookup import NameLookup
from tests.support.certificates import Authority
from tests.support.guards import LOOPBACK_RULES
from tests.support.kafka_doors import (
    ELSEWHERE,
    FORBIDDEN,
    NAME,
    PASSWORD,
    STRANGER,
    WRITER,
    Door,
    KafkaDoors,
)
from tests.support.kafka_targets import (
    KafkaTargets,
    deliver_one,
    failure_of_one,
)
from tests.support.kafka_topics import TestTopic

MECHANISMS = ("plain", "scram-sha-256", "scram-sha-512")
PROTOCOLS = {Door.LOGIN: "sasl_plaintext", Door.SECURE: "sasl_ssl"}


@pytest.fixture
def tls(kafka_doors: KafkaDoors, topic: TestTopic) -> dict[str, Any]:
    return {
        "bootstrapServers": kafka_doors.servers(Door.TLS),
        "topic": topic.name,
        "securityProtocol": "ssl",
        "caCertificate": kafka_doors.authority.certificate,
    }


def login(doors: KafkaDoors, door: Door, topic: TestTopic, mechanism: str) -> dict[str, Any]:
    return {
        "bootstrapServers": doors.servers(door),
        "topic": topic.name,
        "securityProtocol": PROTOCOLS[door],
        "saslMechanism": mechanism,
        "username": WRITER,
        "password": PASSWORD,
        "caCertificate": doors.authority.certificate,
    }


async def assert_arrives(targets: KafkaTargets, topic: TestTopic, settings: dict[str, Any]) -> None:
    target = targets.make(**settings)
    assert isinstance(await deliver_one(target), Delivered)
    assert len(await topic.records()) == 1


async def test_records_arrive_over_tls_under_the_name_that_the_certificate_proves(
    targets: KafkaTargets, topic: TestTopic, tls: dict[str, Any]
) -> None:
    assert tls["bootstrapServers"].startswith(NAME)
    await assert_arrives(targets, topic, tls)


async def test_records_arrive_where_a_certificate_of_the_hub_is_asked_for(
    targets: KafkaTargets, topic: TestTopic, tls: dict[str, Any], kafka_doors: KafkaDoors
) -> None:
    identity = {
        "clientCertificate": kafka_doors.client.certificate,
        "clientKey": kafka_doors.client.key,
    }
    servers = kafka_doors.servers(Door.MUTUAL)
    await assert_arrives(targets, topic, {**tls, "bootstrapServers": servers, **identity})


@pytest.mark.parametrize("mechanism", MECHANISMS)
@pytest.mark.parametrize("door", [Door.LOGIN, Door.SECURE])
async def test_records_arrive_with_a_login(
    targets: KafkaTargets,
    topic: TestTopic,
    kafka_doors: KafkaDoors,
    door: Door,
    mechanism: str,
) -> None:
    await assert_arrives(targets, topic, login(kafka_doors, door, topic, mechanism))


@pytest.mark.parametrize("mechanism", MECHANISMS)
@pytest.mark.parametrize("door", [Door.LOGIN, Door.SECURE])
@pytest.mark.parametrize("wrong", ["username", "password"])
async def test_wrong_login_is_the_owners_to_mend_and_stands_in_no_text(
    targets: KafkaTargets,
    topic: TestTopic,
    kafka_doors: KafkaDoors,
    door: Door,
    mechanism: str,
    wrong: str,
) -> None:
    settings = login(kafka_doors, door, topic, mechanism) | {wrong: "gu3ss"}
    target = targets.make(**settings)
    for error in [await failure_of_one(target) for _ in range(2)]:
        assert isinstance(error, DeliveryRetryable)
        assert error.fault is DeliveryFault.CONFIGURATION
        assert str(error) == "The broker does not accept `username` and `password`."
        assert "gu3ss" not in f"{error!r} {error.exchange} {target!r}"
        assert PASSWORD not in f"{error!r} {error.exchange} {target!r}"
    assert await topic.records() == []


async def test_login_without_rights_is_the_owners_to_mend(
    targets: KafkaTargets, topic: TestTopic, kafka_doors: KafkaDoors
) -> None:
    settings = login(kafka_doors, Door.LOGIN, topic, "plain") | {"username": STRANGER}
    target = targets.make(**settings)
    for error in [await failure_of_one(target) for _ in range(2)]:
        assert error.fault is DeliveryFault.CONFIGURATION
        assert str(error) == "Kafka does not allow the hub to write to this topic."


@pytest.mark.parametrize("authority", ["of the system", "another"])
async def test_certificate_that_nobody_trusted_vouches_for_is_refused(
    targets: KafkaTargets, tls: dict[str, Any], authority: str
) -> None:
    pem = Authority.other().certificate if authority == "another" else None
    target = targets.make(**{**tls, "caCertificate": pem})
    for error in [await failure_of_one(target) for _ in range(2)]:
        assert error.fault is DeliveryFault.CONFIGURATION
        assert str(error).startswith("The broker's certificate is not accepted: ")


async def test_certificate_for_another_name_is_refused(
    targets: KafkaTargets, tls: dict[str, Any], kafka_doors: KafkaDoors
) -> None:
    target = targets.make(**{**tls, "bootstrapServers": kafka_doors.servers(Door.MISNAMED)})
    error = await failure_of_one(target)
    assert error.fault is DeliveryFault.CONFIGURATION
    assert f"not valid for '{NAME}'" in str(error)


async def test_certificate_for_the_name_of_a_server_does_not_do_for_its_brokers(
    targets: KafkaTargets, tls: dict[str, Any], kafka_doors: KafkaDoors
) -> None:
    server = f"{ELSEWHERE}:{kafka_doors.port(Door.MISNAMED)}"
    target = targets.make(**{**tls, "bootstrapServers": server})
    error = await failure_of_one(target)
    assert error.fault is DeliveryFault.CONFIGURATION
    assert f"not valid for '{NAME}'" in str(error)


async def test_broker_that_wants_a_certificate_says_so(
    targets: KafkaTargets, tls: dict[str, Any], kafka_doors: KafkaDoors
) -> None:
    target = targets.make(**{**tls, "bootstrapServers": kafka_doors.servers(Door.MUTUAL)})
    error = await failure_of_one(target)
    assert error.fault is DeliveryFault.CONFIGURATION
    assert "`clientCertificate`" in str(error)


@pytest.mark.parametrize(
    ("door", "protocol"), [(Door.TLS, "plaintext"), (Door.LOGIN, "ssl"), (Door.LOGIN, "plaintext")]
)
async def test_other_security_protocol_than_the_brokers_is_named_as_what_may_be_wrong(
    targets: KafkaTargets, tls: dict[str, Any], kafka_doors: KafkaDoors, door: Door, protocol: str
) -> None:
    servers = f"{NAME}:{kafka_doors.port(door)}"
    target = targets.make(**{**tls, "bootstrapServers": servers, "securityProtocol": protocol})
    assert "`securityProtocol`" in str(await failure_of_one(target))


async def test_broker_that_is_named_by_the_cluster_and_not_allowed_is_not_connected_to(
    targets: KafkaTargets, topic: TestTopic, kafka_doors: KafkaDoors
) -> None:
    assert not any(FORBIDDEN in str(network) for network in LOOPBACK_RULES.allow_networks)
    target = targets.make(bootstrapServers=kafka_doors.servers(Door.ASTRAY), topic=topic.name)
    error = await failure_of_one(target)
    assert isinstance(error, DeliveryRefused)
    assert await topic.records() == []


async def test_name_whose_address_has_become_a_forbidden_one_is_not_connected_to(
    targets: KafkaTargets, topic: TestTopic, tls: dict[str, Any]
) -> None:
    addresses = ["127.0.0.1"]
    guard = Guard(LOOPBACK_RULES, lookup=NameLookup(lambda _: addresses))
    target = targets.make(guard=guard, **tls)
    assert isinstance(await deliver_one(target), Delivered)
    addresses[:] = [FORBIDDEN]
    # It keeps the connection that it has, and gets no other.
    assert isinstance(await deliver_one(target), Delivered)
    await target.close()
    assert isinstance(await failure_of_one(target), DeliveryRefused)
