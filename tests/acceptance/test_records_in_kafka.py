"""From a device's post to records in somebody's topic, through a hub that knows nothing of tests."""

import json

from tests.support.city import City
from tests.support.hub_client import CONNECTIONS
from tests.support.kafka import KafkaBroker
from tests.support.kafka_doors import PASSWORD, WRITER, Door, KafkaDoors
from tests.support.kafka_topics import TestTopic

MESSAGES = 30


async def test_messages_of_several_devices_are_written_in_the_order_of_each(
    city: City, kafka_broker: KafkaBroker, kafka_doors: KafkaDoors
) -> None:
    client = city.client
    topic = TestTopic(kafka_broker.bootstrap_servers)
    await topic.make()
    target = await client.create(
        "data-target",
        {
            "name": "The topic of the city",
            "type": "KAFKA",
            "applicationId": city.application_id,
            "bootstrapServers": kafka_doors.servers(Door.NUMBERED),
            "topic": topic.name,
            "securityProtocol": "sasl_ssl",
            "saslMechanism": "scram-sha-512",
            "username": WRITER,
            "password": PASSWORD,
            "caCertificate": kafka_doors.authority.certificate,
            "clientCertificate": kafka_doors.client.certificate,
            "clientKey": kafka_doors.client.key,
        },
    )
    shown = json.dumps([target, await client.get(f"data-target/{target['id']}")])
    assert PASSWORD not in shown
    assert "PRIVATE KEY" not in shown
    devices = [await city.device() for _ in range(3)]
    body = {
        "iotDeviceIds": [device.id for device in devices],
        "payloadDecoderId": await city.decoder(),
        "dataTargetId": target["id"],
    }
    await client.create(CONNECTIONS, body)
    tried = await client.request("POST", f"/api/v1/data-target/{target['id']}/test", json={})
    assert (tried.status, tried.body["isDelivered"]) == (200, True), tried
    assert tried.body["response"]["excerpt"].startswith("partition ")
    for number in range(MESSAGES):
        for device in devices:
            await client.send(device, {"n": number})
    await city.settled()
    written: dict[str, list[int]] = {}
    for record in await topic.records():
        if record.value == b'{"test":true}':
            continue
        written.setdefault(record.headers["tingbro-device-id"], []).append(
            json.loads(record.value or b"null")["n"]
        )
    assert written == {str(device.id): list(range(MESSAGES)) for device in devices}
