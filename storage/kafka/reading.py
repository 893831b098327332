"""What was fetched from the topic, as entries of the journal."""

from collections.abc import Sequence

from aiokafka import ConsumerRecord

from storage.journal import JournalEntry
from storage.kafka.records import UnreadableRecord, kafka_partition_of, uplink_from
from storage.kafka.registration import Registration
from storage.kafka.unreadable import Unreadable


def read_records(
    registration: Registration, records: Sequence[ConsumerRecord], unreadable: list[Unreadable]
) -> list[JournalEntry]:
    """Return the entries, in order; what no hub has written is added to `unreadable`."""
    entries = []
    for record in records:
        position = registration.position(record.partition, record.offset)
        try:
            uplink = uplink_from(record.key, record.value, record.headers)
            if kafka_partition_of(record.key, registration.partitions) != record.partition:
                raise UnreadableRecord("it is not in the partition of its key")
        except UnreadableRecord as error:
            unreadable.append((position, record, str(error)))
        else:
            entries.append(JournalEntry(position, uplink))
    return entries
