"""What is to be known of Kafka before anything is asked of it."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from storage.journal import JournalLimits

RAW_TOPIC: Final = "uplink.raw"
DECODED_TOPIC: Final = "uplink.decoded"


@dataclass(frozen=True, slots=True, kw_only=True)
class KafkaSettings:
    """`partitions`, `replication`, `min_insync` and the retentions matter only when a topic is made."""

    bootstrap_servers: str
    """`host:port`, several with commas between."""
    raw_topic: str = RAW_TOPIC
    decoded_topic: str = DECODED_TOPIC
    group: str = "tingbro"
    partitions: int = 12
    """The most workers that can share the work; changing it later needs a pause."""
    replication: int = 1
    min_insync: int = 1
    raw_retention_hours: int = 7 * 24
    """How long the workers may be away before messages are lost."""
    decoded_retention_hours: int = 7 * 24

    connection: Mapping[str, Any] = field(default_factory=dict, repr=False)
    """How to connect beside that: security, certificates, a login; options of the library."""
    session_timeout_s: float = 6.0
    """A worker that keeps silent for so long is taken for dead."""
    heartbeat_s: float = 1.0
    acknowledge_timeout_s: float = 5.0
    """How long an append waits for Kafka before its sender is told to try again."""
    limits: JournalLimits = field(
        default_factory=lambda: JournalLimits(
            backlog_entries=20_000, backlog_bytes=64 * 1024**2, free_bytes=0
        )
    )
    """What may wait in one process for Kafka's acknowledgement. The backlog itself is Kafka's to hold."""
    held_entries: int = 32_768
    """How many entries a worker holds ahead of what is settled, of all its partitions together."""
    held_bytes: int = 64 * 1024**2
