"""The journal as a topic of Kafka: what a hub of several processes accepts and reads from.

The only package that speaks to Kafka. `tingbro migrate` makes and registers the topics (`topics`);
processes that take messages in use `KafkaAppender`, those that decode `KafkaReader` and
`DecodedPublisher`. The registration in the database says which topic is the journal; wherever
Kafka and the database disagree, nothing goes on by itself (`JournalMismatch`), and `inspection` says
what a person can do. The format of the records is for others to read, too: docs/kafka.md.
"""

from storage.kafka.appender import KafkaAppender
from storage.kafka.inspection import accept, describe
from storage.kafka.publisher import DecodedPublisher
from storage.kafka.reader import KafkaReader
from storage.kafka.settings import KafkaSettings
from storage.kafka.topics import make_topics

__all__ = [
    "DecodedPublisher",
    "KafkaAppender",
    "KafkaReader",
    "KafkaSettings",
    "accept",
    "describe",
    "make_topics",
]
