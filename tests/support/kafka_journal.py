"""A journal in Kafka for one test: topics and a group that no other test has."""

import uuid
from typing import Any

from storage.kafka import KafkaSettings
from tests.support.kafka import KafkaBroker


def kafka_settings(broker: KafkaBroker, **changes: Any) -> KafkaSettings:
    """Three partitions, as quick to notice a silent member as the broker allows."""
    name = uuid.uuid4().hex[:8]
    chosen: dict[str, Any] = {
        "bootstrap_servers": broker.bootstrap_servers,
        "raw_topic": f"uplink.raw.{name}",
        "decoded_topic": f"uplink.decoded.{name}",
        "group": f"tingbro.{name}",
        "partitions": 3,
        "heartbeat_s": 0.3,
        **changes,
    }
    return KafkaSettings(**chosen)
