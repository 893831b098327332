"""Deleting what has been kept long enough, a little at a time.

A message goes with its jobs, once nothing of it is on its way; a delivery goes with its attempts,
once it has come to its end. What goes leaves the states of the ledger for its column `deleted`, so
that the books still balance.

Ids are UUIDv7, so that the primary keys are in order of time and no index over instants is needed.
"""

from collections import Counter
from datetime import datetime
from enum import StrEnum
from typing import Any

from sqlalchemy import bindparam, delete, exists, select

from protocols.identifiers import first_uuid7
from storage.database import Database, Transaction
from storage.instants import microseconds
from storage.ledger_changes import LedgerChanges
from storage.tables.pipeline import (
    delivery,
    delivery_attempt,
    is_deferred,
    is_waiting,
    message,
    message_job,
    source_key,
)
from storage.tables.targets import target_event

# A transaction that deletes thousands of rows holds up every acknowledgement behind it; this many
# rows with what hangs on them take about 1 ms.
SLICE_ROWS = 50


class RetentionKind(StrEnum):
    """What is kept for a time of its own. Deliveries stand before the messages they point at."""

    DELIVERIES = "deliveries"
    MESSAGES = "messages"
    SOURCE_KEYS = "source_keys"
    TARGET_EVENTS = "target_events"


_OLD_DELIVERIES = (
    select(delivery.c.delivery_id, delivery.c.organization_id, delivery.c.state)
    .where(delivery.c.delivery_id < bindparam("before"), delivery.c.settled_at.is_not(None))
    .order_by(delivery.c.delivery_id)
    .limit(SLICE_ROWS)
)
_OLD_MESSAGES = (
    select(message.c.message_id)
    .where(
        message.c.message_id < bindparam("before"),
        ~exists().where(message_job.c.message_id == message.c.message_id, is_deferred),
        ~exists().where(delivery.c.message_id == message.c.message_id, is_waiting),
    )
    .order_by(message.c.message_id)
    .limit(SLICE_ROWS)
)
_JOBS = select(message_job.c.organization_id, message_job.c.state).where(
    message_job.c.message_id.in_(bindparam("ids", expanding=True))
)
_OLD_KEYS = (
    select(source_key.c.device_id, source_key.c.key)
    .where(source_key.c.seen_at < bindparam("before"))
    .order_by(source_key.c.seen_at)
    .limit(SLICE_ROWS)
)
_OLD_EVENTS = (
    select(target_event.c.event_id)
    .where(
        target_event.c.event_id < bindparam("before"),
        ~exists().where(delivery.c.message_id == target_event.c.event_id, is_waiting),
    )
    .order_by(target_event.c.event_id)
    .limit(SLICE_ROWS)
)
_DELETE_EVENTS = delete(target_event).where(
    target_event.c.event_id.in_(bindparam("ids", expanding=True))
)
_DELETE_DELIVERIES = delete(delivery).where(
    delivery.c.delivery_id.in_(bindparam("ids", expanding=True))
)
_DELETE_ATTEMPTS = delete(delivery_attempt).where(
    delivery_attempt.c.delivery_id.in_(bindparam("ids", expanding=True))
)
_DELETE_MESSAGES = delete(message).where(message.c.message_id.in_(bindparam("ids", expanding=True)))
_DELETE_JOBS = delete(message_job).where(
    message_job.c.message_id.in_(bindparam("ids", expanding=True))
)
_DELETE_KEY = delete(source_key).where(
    source_key.c.device_id == bindparam("device_id"), source_key.c.key == bindparam("key")
)


class Retention:
    """Deletes; one slice is one write unit, so that other units come in between."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def delete_slice(self, kind: RetentionKind, *, older_than: datetime) -> int:
        """Delete at most `SLICE_ROWS` rows of this kind; return how many, 0 when none is left."""
        unit = _UNITS[kind]
        return await self._database.write(lambda transaction: unit(transaction, older_than))


def _delete_deliveries(transaction: Transaction, older_than: datetime) -> int:
    rows = transaction.fetch_all(_OLD_DELIVERIES, {"before": first_uuid7(older_than)})
    ids = [row.delivery_id for row in rows]
    if ids:
        _move(transaction, rows, "deliveries_deleted")
        transaction.execute(_DELETE_ATTEMPTS, {"ids": ids})
        transaction.execute(_DELETE_DELIVERIES, {"ids": ids})
    return len(ids)


def _delete_messages(transaction: Transaction, older_than: datetime) -> int:
    rows = transaction.fetch_all(_OLD_MESSAGES, {"before": first_uuid7(older_than)})
    ids = [row.message_id for row in rows]
    if ids:
        _move(transaction, transaction.fetch_all(_JOBS, {"ids": ids}), "jobs_deleted")
        transaction.execute(_DELETE_JOBS, {"ids": ids})
        transaction.execute(_DELETE_MESSAGES, {"ids": ids})
    return len(ids)


def _delete_keys(transaction: Transaction, older_than: datetime) -> int:
    rows = transaction.fetch_all(_OLD_KEYS, {"before": microseconds(older_than)})
    for row in rows:
        transaction.execute(_DELETE_KEY, {"device_id": row.device_id, "key": row.key})
    return len(rows)


def _delete_events(transaction: Transaction, older_than: datetime) -> int:
    rows = transaction.fetch_all(_OLD_EVENTS, {"before": first_uuid7(older_than)})
    if rows:
        transaction.execute(_DELETE_EVENTS, {"ids": [row.event_id for row in rows]})
    return len(rows)


def _move(transaction: Transaction, rows: list[Any], to: str) -> None:
    """Take the rows out of the states they are booked in, and book them as deleted."""
    changes = LedgerChanges()
    for (organization_id, state), count in Counter(
        (row.organization_id, row.state) for row in rows
    ).items():
        changes.add(organization_id, state, -count)
        changes.add(organization_id, to, count)
    changes.store(transaction)


_UNITS = {
    RetentionKind.DELIVERIES: _delete_deliveries,
    RetentionKind.MESSAGES: _delete_messages,
    RetentionKind.SOURCE_KEYS: _delete_keys,
    RetentionKind.TARGET_EVENTS: _delete_events,
}
