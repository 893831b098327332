"""What one transaction adds to the counters of the ledger; see `storage.ledger` for what they mean."""

from storage.database import BulkInsert, Merge, Transaction
from storage.tables.pipeline import ledger

_COUNTERS = tuple(column.name for column in ledger.c if column.name != "organization_id")
_INDEX = {name: index for index, name in enumerate(_COUNTERS)}
_ADD = BulkInsert(ledger, ("organization_id", *_COUNTERS), dict.fromkeys(_COUNTERS, Merge.SUM))


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
            rows = [(organization, *row) for organization, row in self._changes.items()]
            transaction.insert_many(_ADD, rows)
