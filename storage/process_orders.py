"""What one process asks of another: a row that whoever carries it out takes away first.

So an order is carried out once at the most: it is gone with a process that dies over it. Order
nothing this way that must happen.
"""

import asyncio
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Final

from sqlalchemy import ColumnElement, bindparam, delete, insert, or_, select

from protocols.errors import NotFound, StorageUnavailable
from storage.database import Database, Reader, Row, Transaction
from storage.database_clock import database_now
from storage.processes import LOST_AFTER_S
from storage.tables.fleet import lease, process, process_order

# A database that cannot be written is tried for as long as it takes; who asks has less patience.
_PATIENCE_S: Final = 10.0

_TO_ME = process_order.c.process_id == bindparam("me")
_TO_ME_OR_THE_HOUSEKEEPER = or_(_TO_ME, process_order.c.process_id.is_(None))

_PUT = insert(process_order).values(created_at=database_now())
_LIVING = select(process.c.process_id).where(
    process.c.process_id == bindparam("of_process"),
    process.c.seen_at >= database_now() - int(LOST_AFTER_S * 1_000_000),
)
_LIVING_OF_ROLE = select(process.c.process_id).where(
    process.c.role == bindparam("of_role"),
    process.c.seen_at >= database_now() - int(LOST_AFTER_S * 1_000_000),
)

_HOLDER = select(lease.c.holder).where(lease.c.name == bindparam("of_name"))


def _waiting(addressed: ColumnElement[bool]) -> Any:
    return select(process_order.c.order_id).where(addressed).limit(1)


def _take(addressed: ColumnElement[bool]) -> Any:
    columns = (process_order.c.order_id, process_order.c.kind, process_order.c.body)
    return delete(process_order).where(addressed).returning(*columns)


_WAITING = {False: _waiting(_TO_ME), True: _waiting(_TO_ME_OR_THE_HOUSEKEEPER)}
_TAKE = {False: _take(_TO_ME), True: _take(_TO_ME_OR_THE_HOUSEKEEPER)}


class OrderKind(StrEnum):
    RESTART_ACTOR = "restart_actor"
    """`path`: as the process itself calls it."""
    REPLAY = "replay"
    """`decoderId`, and `since` and `until` as ISO 8601 or null."""
    RELEASE_DECODER = "release_decoder"
    """`decoderId`: forgive what it did."""
    WITHDRAW_DELIVERIES = "withdraw_deliveries"
    """`targetId`, and `deliveryIds` that were fetched and need not be pushed any more."""


@dataclass(frozen=True, slots=True)
class Order:
    """`kind` is an `OrderKind`, or one that only a newer version knows."""

    order_id: int
    kind: str
    body: Mapping[str, Any]


class ProcessOrders:
    """Orders given, and those for the process that `process_id` names.

    Whoever asks may get StorageUnavailable: the order could not be written in time, and may be later on.
    """

    def __init__(self, database: Database, process_id: str) -> None:
        self._database = database
        self._process_id = process_id

    async def ask(self, process_id: str, kind: OrderKind, body: Mapping[str, object]) -> None:
        """Ask one process.

        Raises:
            NotFound: there is no such process, or it is lost.
        """

        def unit(transaction: Transaction) -> None:
            if transaction.fetch_one(_LIVING, {"of_process": process_id}) is None:
                raise NotFound(f"There is no process {process_id} that could be asked.")
            _put(transaction, process_id, kind, body)

        await self._write(unit)

    async def ask_all(self, role: str, kind: OrderKind, body: Mapping[str, object]) -> None:
        """Ask every living process of a role."""

        def unit(transaction: Transaction) -> None:
            for row in transaction.fetch_all(_LIVING_OF_ROLE, {"of_role": role}):
                _put(transaction, row.process_id, kind, body)

        await self._write(unit)

    async def ask_holder(self, name: str, kind: OrderKind, body: Mapping[str, object]) -> None:
        """Ask the process that has leased what is called `name`, if one has."""

        def unit(transaction: Transaction) -> None:
            row = transaction.fetch_one(_HOLDER, {"of_name": name})
            if row is not None and row.holder is not None:
                _put(transaction, row.holder, kind, body)

        await self._write(unit)

    async def ask_housekeeper(self, kind: OrderKind, body: Mapping[str, object]) -> None:
        """Ask whoever keeps house, at present or next."""
        await self._write(lambda transaction: _put(transaction, None, kind, body))

    async def take(self, *, keeps_house: bool) -> list[Order]:
        """Take what was asked of this process, in the order in which it was asked."""
        parameters = {"me": self._process_id}

        def is_waiting(reader: Reader) -> bool:
            return reader.fetch_one(_WAITING[keeps_house], parameters) is not None

        # Twice a second in every process: a read costs no commit.
        if not await self._database.read(is_waiting):
            return []
        rows = await self._database.write(
            lambda transaction: transaction.fetch_all(_TAKE[keeps_house], parameters)
        )
        return sorted(map(_build, rows), key=lambda order: order.order_id)

    async def _write(self, unit: Callable[[Transaction], None]) -> None:
        try:
            async with asyncio.timeout(_PATIENCE_S):
                await self._database.write(unit)
        except TimeoutError as exc:
            raise StorageUnavailable("The other process could not be asked in time.") from exc


def _put(
    transaction: Transaction, process_id: str | None, kind: OrderKind, body: Mapping[str, object]
) -> None:
    transaction.execute(
        _PUT,
        {"process_id": process_id, "kind": str(kind), "body": json.dumps(dict(body)).encode()},
    )


def _build(row: Row) -> Order:
    return Order(row.order_id, row.kind, json.loads(bytes(row.body)))
