"""The journal as a topic of Kafka: what a hub of several processes accepts and reads from.

The only package that speaks to Kafka. `tingbro migrate` makes and registers the topics (`topics`);
processes that take messages in use `KafkaAppender`, those that decode `KafkaReader` and
`DecodedPublisher`. The registration in the database says which topic is the journal; wherever
Kafka and the database disagree, nothing goes on by itself (`JournalMismatch`), and `inspection` says
what a person can do. The format of the records is for others to read, too: docs/kafka.md.
"""

from storage.kafka.settings import KafkaSettings

__all__ = ["KafkaSettings"]
