"""The write unit of the embedded journal: a batch of appends, with their source keys."""

from asyncio import Future
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import timedelta
from functools import partial

from protocols.messages import Uplink
from storage.database import BulkInsert, Transaction
from storage.journal import Appended, JournalEntry
from storage.known_keys import KnownKeys
from storage.ledger_changes import LedgerChanges
from storage.tables.pipeline import journal
from storage.uplinks import UPLINK_COLUMNS, uplink_row

_INSERT_ENTRIES = BulkInsert(journal, UPLINK_COLUMNS)

Queued = tuple[Uplink, "Future[Appended]"]


@dataclass(frozen=True, slots=True)
class Written:
    """What became of a batch: `appended` for each of it, `entries` for those that are no duplicates."""

    appended: list[Appended]
    entries: list[JournalEntry]


class AppendUnit:
    """Writes what `take` returns when it first runs; a second run writes the same once more, at
    positions of its own, since `positions` gives none twice."""

    def __init__(
        self, take: Callable[[], list[Queued]], positions: Iterator[int], window: timedelta
    ) -> None:
        self._take: Callable[[], list[Queued]] | None = take
        self._positions = positions
        self._window = window
        self.taken: list[Queued] = []

    def alone(self, queued: Queued) -> "AppendUnit":
        """Return a unit that writes just this one of what was taken."""
        return AppendUnit(partial(list, (queued,)), self._positions, self._window)

    def __call__(self, transaction: Transaction) -> Written:
        if self._take is not None:
            self.taken, self._take = self._take(), None
        known = KnownKeys(transaction, [uplink for uplink, _ in self.taken], self._window)
        appended: list[Appended] = []
        entries: list[JournalEntry] = []
        for uplink, _ in self.taken:
            first = None if uplink.source_key is None else known.first_of(uplink)
            if first is None:
                position = next(self._positions)
                entries.append(JournalEntry(position, uplink))
                appended.append(Appended(uplink.message_id, position, False))
            else:
                appended.append(Appended(first, None, True))
        _store(transaction, entries)
        known.store(transaction)
        return Written(appended, entries)


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
