"""The write unit of the embedded journal: a batch of appends, with their source keys."""

from asyncio import Future
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import timedelta

from sqlalchemy import BigInteger, bindparam, select, update

from protocols.messages import MessageId, Uplink
from storage.database import BulkInsert, Merge, Reader, Transaction
from storage.instants import microseconds
from storage.journal import EMBEDDED, Appended, JournalEntry
from storage.ledger_changes import LedgerChanges
from storage.tables.pipeline import journal, journal_cursor, source_key
from storage.uplinks import UPLINK_COLUMNS, uplink_row

_INSERT_ENTRIES = BulkInsert(journal, UPLINK_COLUMNS)
_INSERT_KEYS = BulkInsert(
    source_key,
    ("device_id", "key", "message_id", "seen_at"),
    {"message_id": Merge.NEW, "seen_at": Merge.NEW},
)
# Positions are never given twice, also when the last entries were settled and deleted.
_TAKE_POSITIONS = (
    update(journal_cursor)
    .where(journal_cursor.c.partition == EMBEDDED)
    .values(tail=journal_cursor.c.tail + bindparam("count", type_=BigInteger))
    .returning(journal_cursor.c.tail)
)
_SELECT_KEYS = select(
    source_key.c.device_id, source_key.c.key, source_key.c.message_id, source_key.c.seen_at
).where(
    source_key.c.device_id.in_(bindparam("device_ids", expanding=True)),
    source_key.c.key.in_(bindparam("keys", expanding=True)),
)

Queued = tuple[Uplink, "Future[Appended]"]


@dataclass(frozen=True, slots=True)
class Written:
    """What became of a batch: `appended` for each of it, `entries` for those that are no duplicates."""

    appended: list[Appended]
    entries: list[JournalEntry]


class AppendUnit:
    """Writes what `take` returns when it first runs; a second run writes the very same."""

    def __init__(self, take: Callable[[], list[Queued]], window: timedelta) -> None:
        self._take: Callable[[], list[Queued]] | None = take
        self.window = window
        self.taken: list[Queued] = []

    def __call__(self, transaction: Transaction) -> Written:
        if self._take is not None:
            self.taken, self._take = self._take(), None
        known = _KnownKeys(transaction, [uplink for uplink, _ in self.taken], self.window)
        firsts = [known.first_of(uplink) for uplink, _ in self.taken]
        fresh = firsts.count(None)
        position = _take_positions(transaction, fresh) if fresh else 0
        appended: list[Appended] = []
        entries: list[JournalEntry] = []
        for (uplink, _), first in zip(self.taken, firsts, strict=True):
            if first is None:
                position += 1
                entries.append(JournalEntry(position, uplink))
                appended.append(Appended(uplink.message_id, position, False))
            else:
                appended.append(Appended(first, None, True))
        _store(transaction, entries)
        known.store(transaction)
        return Written(appended, entries)


class _KnownKeys:
    """The source keys of one unit: those in the table, and those it adds itself."""

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


def _take_positions(transaction: Transaction, count: int) -> int:
    """Return the position before the first of `count` new ones."""
    row = transaction.fetch_one(_TAKE_POSITIONS, {"count": count})
    assert row is not None, "the migration makes the cursor's row"
    return int(row.tail) - count


def _store(transaction: Transaction, entries: list[JournalEntry]) -> None:
    if not entries:
        return
    changes = LedgerChanges()
    counts = Counter(entry.uplink.organization_id for entry in entries)
    for organization_id, count in counts.items():
        changes.add(organization_id, "accepted", count)
    rows = [uplink_row(entry.uplink, entry.position) for entry in entries]
    transaction.insert_many(_INSERT_ENTRIES, rows)
    changes.store(transaction)
