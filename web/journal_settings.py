"""What the operator decided about Kafka, in the words of the journal on Kafka."""

from storage.kafka import KafkaSettings as JournalSettings
from storage.kafka.security import KafkaLogin
from storage.kafka.security import KafkaSecurity as JournalSecurity
from storage.kafka.settings import DECODED_TOPIC, RAW_TOPIC
from web.kafka_settings import KafkaSecurity, KafkaSettings

# With three copies one broker may be away: what is acknowledged is on two, and appends go on.
_COPIES_FOR_TWO_IN_SYNC = 3


def journal_settings(kafka: KafkaSettings) -> JournalSettings:
    """Topics and group carry the operator's prefix, so that several hubs can share one Kafka."""
    prefix = kafka.topic_prefix
    return JournalSettings(
        bootstrap_servers=",".join(kafka.bootstrap_servers),
        security=_security(kafka.security),
        raw_topic=prefix + RAW_TOPIC,
        decoded_topic=prefix + DECODED_TOPIC,
        group=f"{prefix}tingbro",
        partitions=kafka.partitions,
        replication=kafka.replication,
        min_insync=2 if kafka.replication >= _COPIES_FOR_TWO_IN_SYNC else 1,
    )


def _security(security: KafkaSecurity) -> JournalSecurity:
    login = security.login
    return JournalSecurity(
        is_encrypted=security.protocol.is_encrypted,
        ca_file=security.ca_file,
        login=None
        if login is None
        else KafkaLogin(
            mechanism=login.mechanism.upper(), username=login.username, password=login.password
        ),
    )
