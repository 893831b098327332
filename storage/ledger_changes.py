"""What one transaction adds to the counters of the ledger; see `storage.ledger` for what they mean."""

from storage.database import BulkInsert, Merge, Transaction
from storage.tables.pipeline import ledger

_KEYS = ("organization_id", "shard")
_COUNTERS = tuple(column.name for column in ledger.c if column.name not in _KEYS)
_INDEX = {name: index for index, name in enumerate(_COUNTERS)}
_ADD = BulkInsert(ledger, (*_KEYS, *_COUNTERS), dict.fromkeys(_COUNTERS, Merge.SUM))


class LedgerChanges:
    """Collects, then `store` once in the transaction that makes the changes true."""

    def __init__(self) -> None:
        self._changes: dict[int, list[int]] = {}

    def add(self, organization_id: int, counter: str, amount: int = 1) -> None:
        change = self._changes.get(organization_id)
        if change is None:
            change = self._changes[organization_id] = [0] * len(_COUNTERS)
        change[_INDEX[counter]] += amount

    def store(self, transaction: Transaction) -> None:
        if self._changes:
            shard = transaction.ledger_shard
            # In one order everywhere: two transactions that book the same rows cannot lock each other out.
            rows = [(key, shard, *self._changes[key]) for key in sorted(self._changes)]
            transaction.insert_many(_ADD, rows)
