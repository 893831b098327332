"""Source keys: how a message that is handed over twice is recognised.

A key names an acceptance within its device. The first message that uses it within the window is
kept; a later one with the same key is the same message again.
"""

from collections.abc import Sequence
from datetime import timedelta

from sqlalchemy import bindparam, select

from protocols.messages import MessageId, Uplink
from storage.database import BulkInsert, Merge, Reader, Transaction
from storage.instants import microseconds
from storage.tables.pipeline import source_key

_INSERT_KEYS = BulkInsert(
    source_key,
    ("device_id", "key", "message_id", "seen_at"),
    {"message_id": Merge.NEW, "seen_at": Merge.NEW},
)
_SELECT_KEYS = select(
    source_key.c.device_id, source_key.c.key, source_key.c.message_id, source_key.c.seen_at
).where(
    source_key.c.device_id.in_(bindparam("device_ids", expanding=True)),
    source_key.c.key.in_(bindparam("keys", expanding=True)),
)


class KnownKeys:
    """The source keys of one unit's messages: those in the table, and those that it adds itself."""

    def __init__(self, reader: Reader, uplinks: Sequence[Uplink], window: timedelta) -> None:
        self._window_us = int(window.total_seconds() * 1_000_000)
        self._seen: dict[tuple[int, str], tuple[MessageId, int]] = {}
        self._added: dict[tuple[int, str], tuple[MessageId, int]] = {}
        keyed = [uplink for uplink in uplinks if uplink.source_key is not None]
        if keyed:
            self._load(reader, keyed)

    def first_of(self, uplink: Uplink) -> MessageId | None:
        """Return the message that used this key before; None notes it as the first."""
        if uplink.source_key is None:
            return None
        key = (uplink.device_id, uplink.source_key)
        received_at = microseconds(uplink.received_at)
        seen = self._seen.get(key)
        if seen is not None and seen[1] >= received_at - self._window_us:
            return seen[0]
        self._seen[key] = self._added[key] = (uplink.message_id, received_at)
        return None

    def store(self, transaction: Transaction) -> None:
        if self._added:
            rows = [(*key, *first) for key, first in self._added.items()]
            transaction.insert_many(_INSERT_KEYS, rows)

    def _load(self, reader: Reader, keyed: Sequence[Uplink]) -> None:
        parameters = {
            "device_ids": list({uplink.device_id for uplink in keyed}),
            "keys": list({uplink.source_key for uplink in keyed}),
        }
        for row in reader.fetch_all(_SELECT_KEYS, parameters):
            self._seen[row.device_id, row.key] = (MessageId(row.message_id), row.seen_at)
