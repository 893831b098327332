"""Settling entries of a journal that is a log: they stay where they are, and only the cursors move.

Nothing is counted or compared while a message is on its way, so both is done here: a source key that
was used before is recognised, and a message is booked as accepted, in the transaction that keeps
it. The rows of the cursors are locked first: another process that claims a partition waits for
this transaction, or this transaction finds that it has.
"""

from collections.abc import Callable, Mapping, Sequence
from datetime import timedelta

from sqlalchemy import bindparam, select

from protocols.errors import ClaimLost
from protocols.messages import DeviceId
from storage.cursor_claims import CursorClaims
from storage.database import BulkUpdate, Transaction
from storage.journal import partition_of
from storage.known_keys import KnownKeys
from storage.ledger_changes import LedgerChanges
from storage.message_result import MessageResult
from storage.settling import Settled
from storage.tables.pipeline import journal_cursor

_LOCK = (
    select(journal_cursor.c.partition, journal_cursor.c.epoch, journal_cursor.c.position)
    .where(journal_cursor.c.partition.in_(bindparam("partitions", expanding=True)))
    .order_by(journal_cursor.c.partition)
    .with_for_update()
)
_MOVE = BulkUpdate(journal_cursor, ("partition",), ("position", "starts"))


class LogSettling:
    """Implements `Settling`. `partition_for` says where a device's messages are."""

    def __init__(
        self,
        claims: CursorClaims,
        partition_for: Callable[[DeviceId], int],
        source_key_window: timedelta,
    ) -> None:
        self._claims = claims
        self._partition_for = partition_for
        self._window = source_key_window

    def partition(self, result: MessageResult) -> int | None:
        if result.position is not None:
            return partition_of(result.position)
        # A replay stands outside of the order of its device: whoever keeps house makes it.
        return None if result.generation else self._partition_for(result.uplink.device_id)

    def begin(
        self,
        transaction: Transaction,
        results: Sequence[MessageResult],
        cursors: Mapping[int, int],
    ) -> None:
        needed = {self.partition(result) for result in results} | cursors.keys()
        partitions = sorted(partition for partition in needed if partition is not None)
        if not partitions:
            return
        lost = set(partitions)
        for row in transaction.fetch_all(_LOCK, {"partitions": partitions}):
            is_behind = cursors.get(row.partition, row.position) < row.position
            if row.epoch == self._claims.epoch_of(row.partition) and not is_behind:
                lost.discard(row.partition)
        if lost:
            raise ClaimLost(lost)

    def without_duplicates(
        self, transaction: Transaction, live: Sequence[MessageResult]
    ) -> Sequence[MessageResult]:
        if all(result.uplink.source_key is None for result in live):
            return live
        known = KnownKeys(transaction, [result.uplink for result in live], self._window)
        fresh = [
            result
            for result in live
            if known.first_of(result.uplink) in {None, result.uplink.message_id}
        ]
        known.store(transaction)
        return fresh

    def finish(
        self,
        transaction: Transaction,
        live: Sequence[MessageResult],
        kept: Sequence[MessageResult],
        cursors: Mapping[int, int],
    ) -> Settled:
        changes = LedgerChanges()
        for result in kept:
            changes.add(result.uplink.organization_id, "accepted")
        changes.store(transaction)
        if cursors:
            rows = [(partition, position, 0) for partition, position in cursors.items()]
            transaction.update_many(_MOVE, rows)
        size_bytes = sum(len(result.uplink.payload) for result in live)
        return Settled(cursors, len(live), size_bytes)
