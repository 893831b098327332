"""Acknowledging what was fetched: it counts as pulled from then on, and is not pushed any more.

It goes in slices, each a transaction of its own with its part of the books, so that a thousand do not
hold up every commit behind them. One that breaks off in the middle has acknowledged what it has; the
same call made again finds that settled and does the rest.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from sqlalchemy import BigInteger, BindParameter, bindparam, delete, or_, select, tuple_, update

from protocols.errors import InvalidInput
from protocols.messages import DeliveryId
from storage.database import Database, Row, Transaction
from storage.delivery.deliveries import STRICT_LANE
from storage.delivery.pull_cursor import PullCursor
from storage.instants import microseconds
from storage.ledger_changes import LedgerChanges
from storage.tables.entities import data_target
from storage.tables.pipeline import delivery, delivery_lane, is_waiting

_SLICE: Final = 200

_ids: BindParameter[Any] = bindparam("ids", expanding=True)
_at: BindParameter[Any] = bindparam("at", type_=BigInteger)
_target: BindParameter[Any] = bindparam("of_target")
# As a sum, which no index holds: an engine without statistics would else read all that waits for the
# target to find a few ids.
_is_of_target = delivery.c.target_id + 0 == _target

_SELECT_LEASED = (
    select(delivery.c.delivery_id)
    .where(
        delivery.c.lease_id == bindparam("lease_id"),
        delivery.c.lease_id.is_not(None),
        is_waiting,
        _is_of_target,
        tuple_(delivery.c.position, delivery.c.decoder_id, delivery.c.delivery_id)
        <= tuple_(bindparam("position"), bindparam("decoder_id"), bindparam("delivery_id")),
    )
    .limit(_SLICE)
)
_PULL = (
    update(delivery)
    .where(delivery.c.delivery_id.in_(_ids), _is_of_target, is_waiting)
    .values(state="pulled", next_at=None, leased_until=None, settled_at=_at)
    .returning(delivery.c.delivery_id, delivery.c.device_id, delivery.c.organization_id)
)
_SELECT_KNOWN = select(delivery.c.delivery_id).where(
    delivery.c.delivery_id.in_(_ids), _is_of_target
)
_DELETE_LANES = delete(delivery_lane).where(
    delivery_lane.c.target_id == _target,
    delivery_lane.c.device_id.in_(bindparam("device_ids", expanding=True)),
    delivery_lane.c.delivery_id.in_(_ids),
)
_MOVE_LAST_MESSAGE = (
    update(data_target)
    .where(
        data_target.c.id == _target,
        or_(data_target.c.last_message_at.is_(None), data_target.c.last_message_at < _at),
    )
    .values(last_message_at=_at)
)


@dataclass(frozen=True, slots=True)
class Acknowledged:
    """What became of an acknowledgement."""

    delivery_ids: tuple[DeliveryId, ...]
    """Those that it has settled."""
    already_settled: int = 0
    """Named, and delivered, acknowledged or given up before."""
    unknown: int = 0
    """Named, and none of this target's, or not kept any more."""


class Acknowledgements:
    """Settles what was fetched, on one database."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def of_deliveries(
        self, target_id: int, delivery_ids: Sequence[str], now: datetime
    ) -> Acknowledged:
        """Acknowledge those of these deliveries that wait for this target."""
        named = list(dict.fromkeys(delivery_ids))
        pulled: list[DeliveryId] = []
        known = 0
        for start in range(0, len(named), _SLICE):
            ids = named[start : start + _SLICE]

            def unit(
                transaction: Transaction, ids: list[str] = ids
            ) -> tuple[list[DeliveryId], int]:
                of_slice = _pull(transaction, target_id, ids, now)
                rows = transaction.fetch_all(_SELECT_KNOWN, {"ids": ids, "of_target": target_id})
                return of_slice, len(rows)

            of_slice, known_of_slice = await self._database.write(unit)
            pulled += of_slice
            known += known_of_slice
        return Acknowledged(tuple(pulled), known - len(pulled), len(named) - known)

    async def up_to(self, target_id: int, cursor: PullCursor, now: datetime) -> Acknowledged:
        """Acknowledge all that the cursor's reading was handed up to the cursor, and still waits.

        Raises:
            InvalidInput: the reading had no lease, and so nothing tells what it was handed.
        """
        if not cursor.lease_id:
            raise InvalidInput(
                "This cursor is of a reading without lease, behind which more may have come since: "
                "acknowledge by ids, or read with a lease."
            )
        parameters = {
            "of_target": target_id,
            "lease_id": cursor.lease_id,
            "position": cursor.position,
            "decoder_id": cursor.decoder_id,
            "delivery_id": cursor.delivery_id,
        }

        def unit(transaction: Transaction) -> list[DeliveryId]:
            rows = transaction.fetch_all(_SELECT_LEASED, parameters)
            return _pull(transaction, target_id, [row.delivery_id for row in rows], now)

        pulled: list[DeliveryId] = []
        while of_slice := await self._database.write(unit):
            pulled += of_slice
        return Acknowledged(tuple(pulled))


def _pull(
    transaction: Transaction, target_id: int, ids: list[str], now: datetime
) -> list[DeliveryId]:
    if not ids:
        return []
    at = microseconds(now)
    rows = transaction.fetch_all(_PULL, {"ids": ids, "of_target": target_id, "at": at})
    if rows:
        _book(transaction, rows)
        _open_lanes(transaction, target_id, rows)
        transaction.execute(_MOVE_LAST_MESSAGE, {"of_target": target_id, "at": at})
    return [DeliveryId(row.delivery_id) for row in rows]


def _book(transaction: Transaction, rows: Sequence[Row]) -> None:
    changes = LedgerChanges()
    for organization_id, count in Counter(row.organization_id for row in rows).items():
        changes.add(organization_id, "pulled", count)
    changes.store(transaction)


def _open_lanes(transaction: Transaction, target_id: int, rows: Sequence[Row]) -> None:
    """A head that was fetched must not keep its device's later deliveries waiting for ever."""
    parameters = {
        "of_target": target_id,
        "device_ids": [STRICT_LANE, *{row.device_id for row in rows}],
        "ids": [row.delivery_id for row in rows],
    }
    transaction.execute(_DELETE_LANES, parameters)
