"""The names of the events that this package logs."""

from protocols.kafka_library_log import KAFKA_LIBRARY_REPORT as KAFKA_LIBRARY_REPORT

KAFKA_CONNECTION_LOSE = "kafka.connection.lose"
KAFKA_CONNECTION_RECOVER = "kafka.connection.recover"
KAFKA_CONSUMER_ABANDON = "kafka.consumer.abandon"
KAFKA_TOPIC_CREATE = "kafka.topic.create"

JOURNAL_TOPIC_REGISTER = "journal.topic.register"
JOURNAL_TOPIC_ACCEPT = "journal.topic.accept"
JOURNAL_TOPIC_MISMATCH = "journal.topic.mismatch"
JOURNAL_BATCH_FAIL = "journal.batch.fail"
JOURNAL_RECORD_UNREADABLE = "journal.record.unreadable"
DECODED_RECORD_SKIP = "decoded.record.skip"
JOURNAL_RECORDS_LOST = "journal.records.lost"
