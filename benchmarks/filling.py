"""Deliveries by the hundred thousand, written straight into a hub's database while it is stopped."""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Final

from protocols.identifiers import new_delivery_id, new_message_id
from storage import Database
from storage.database import BulkInsert, Merge, Transaction
from storage.instants import microseconds
from storage.result_rows import DELIVERY_LIFETIME
from storage.tables.pipeline import delivery, ledger, message, message_job
from storage.uplinks import UPLINK_COLUMNS

_UNIT_ROWS: Final = 10_000
_BODY: Final = b'{"temperature":21.5,"humidity":47,"co2":412,"light":330,"motion":3,"battery":3.63}'
_LIFETIME_US: Final = int(DELIVERY_LIFETIME.total_seconds()) * 1_000_000

_MESSAGES = BulkInsert(message, UPLINK_COLUMNS)
_JOBS = BulkInsert(
    message_job,
    (
        *("message_id", "decoder_id", "position", "device_id", "organization_id"),
        *("generation", "state", "body", "settled_at"),
    ),
)
_DELIVERIES = BulkInsert(
    delivery,
    (
        *("delivery_id", "message_id", "target_id", "decoder_id", "device_id", "organization_id"),
        *("position", "generation", "state", "attempts", "created_at", "expires_at", "settled_at"),
    ),
)
_BOOKED = ("accepted", "decoded", "deliveries_created", "dead")
_BOOK = BulkInsert(
    ledger, ("organization_id", "shard", *_BOOKED), dict.fromkeys(_BOOKED, Merge.SUM)
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Backlog:
    """Whose deliveries, and in which state: pending, or dead."""

    target_id: int
    device_ids: tuple[int, ...]
    organization_id: int
    decoder_id: int
    state: str = "pending"
    age: timedelta = timedelta(hours=1)
    """How long ago they were made."""


async def fill(database: Database, backlog: Backlog, count: int, *, first_position: int) -> None:
    """Make `count` deliveries, each of a message of its own, in the order of their positions."""
    made_at = microseconds(datetime.now(UTC) - backlog.age)
    for start in range(0, count, _UNIT_ROWS):
        positions = range(first_position + start, first_position + min(start + _UNIT_ROWS, count))
        await database.write(partial(_write, backlog=backlog, positions=positions, made_at=made_at))


def _write(transaction: Transaction, *, backlog: Backlog, positions: range, made_at: int) -> None:
    messages: list[tuple[object, ...]] = []
    jobs: list[tuple[object, ...]] = []
    deliveries: list[tuple[object, ...]] = []
    is_dead = backlog.state == "dead"
    settled_at = made_at if is_dead else None
    for position in positions:
        device_id = backlog.device_ids[position % len(backlog.device_ids)]
        owner = (position, device_id, backlog.organization_id)
        message_id = new_message_id()
        messages.append((message_id, *owner, 1, "GENERIC_HTTP", made_at, b"{}", None))
        jobs.append((message_id, backlog.decoder_id, *owner, 0, "decoded", _BODY, made_at))
        deliveries.append(
            (
                *(new_delivery_id(), message_id, backlog.target_id, backlog.decoder_id),
                *(device_id, backlog.organization_id, position, 0, backlog.state),
                *(11 if is_dead else 0, made_at, made_at + _LIFETIME_US, settled_at),
            )
        )
    transaction.insert_many(_MESSAGES, messages)
    transaction.insert_many(_JOBS, jobs)
    transaction.insert_many(_DELIVERIES, deliveries)
    count = len(positions)
    transaction.insert_many(
        _BOOK, [(backlog.organization_id, 0, count, count, count, count if is_dead else 0)]
    )
