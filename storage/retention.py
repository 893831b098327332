"""Deleting what has been kept long enough, a little at a time.

A message goes with its jobs, once nothing of it is on its way; a delivery goes with its attempts,
once it has come to its end. Where deliveries are kept for long their attempts go before them, but the
last ten thousand of each target stay. What goes leaves the states of the ledger for its column `deleted`, so
that the books still balance.

Ids are UUIDv7, so that the primary keys are in order of time and no index over instants is needed.
"""

from collections import Counter
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any, Final

from sqlalchemy import bindparam, delete, exists, select

from protocols.identifiers import first_uuid7
from storage.database import Database, Reader, Transaction
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
from storage.tables.targets import redelivery, target_event

# A transaction that deletes thousands of rows holds up every acknowledgement behind it; this many
# rows with what hangs on them take about 1 ms.
SLICE_ROWS = 50

ATTEMPTS_KEPT: Final = timedelta(days=30)
"""How long attempts are kept at the least, unless their deliveries are not."""
# Of each target, however old they are.
LAST_ATTEMPTS: Final = 10_000


class RetentionKind(StrEnum):
    """What is kept for a time of its own. Deliveries stand before the messages they point at."""

    DELIVERIES = "deliveries"
    MESSAGES = "messages"
    SOURCE_KEYS = "source_keys"
    ATTEMPTS = "attempts"
    REDELIVERIES = "redeliveries"
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
_NEXT_TARGET = (
    select(delivery_attempt.c.target_id)
    .where(delivery_attempt.c.target_id > bindparam("after"))
    .order_by(delivery_attempt.c.target_id)
    .limit(1)
)
_OLDEST_ATTEMPTS = (
    select(delivery_attempt.c.attempt_id, delivery_attempt.c.attempted_at)
    .where(delivery_attempt.c.target_id == bindparam("target_id"))
    .order_by(delivery_attempt.c.attempt_id)
    .limit(SLICE_ROWS)
)
_FIRST_TO_GO = (
    select(delivery_attempt.c.attempt_id)
    .where(delivery_attempt.c.target_id == bindparam("target_id"))
    .order_by(delivery_attempt.c.attempt_id.desc())
    .offset(bindparam("last"))
    .limit(1)
)
_DELETE_OLD_ATTEMPTS = delete(delivery_attempt).where(
    delivery_attempt.c.attempt_id.in_(bindparam("ids", expanding=True))
)
_OLD_REDELIVERIES = (
    select(redelivery.c.redelivery_id)
    .where(redelivery.c.finished_at < bindparam("before"))
    .limit(SLICE_ROWS)
)
_DELETE_REDELIVERIES = delete(redelivery).where(
    redelivery.c.redelivery_id.in_(bindparam("ids", expanding=True))
)


class Retention:
    """Deletes; one slice is one write unit, so that other units come in between."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def delete_slice(self, kind: RetentionKind, *, older_than: datetime) -> int:
        """Delete at most `SLICE_ROWS` rows of this kind; return how many, 0 when none is left."""
        if kind is RetentionKind.ATTEMPTS:
            return await self._delete_attempts(older_than)
        unit = _UNITS[kind]
        return await self._database.write(lambda transaction: unit(transaction, older_than))

    async def _delete_attempts(self, older_than: datetime) -> int:
        # Looked for outside of the transaction, because it passes over ten thousand rows of each target.
        ids = await self._database.read(lambda reader: _old_attempts(reader, older_than))
        if ids:
            await self._database.write(
                lambda transaction: transaction.execute(_DELETE_OLD_ATTEMPTS, {"ids": ids})
            )
        return len(ids)


def _old_attempts(reader: Reader, older_than: datetime) -> list[int]:
    """Find some of one target's that are neither young nor among its last."""
    before, target_id = microseconds(older_than), 0
    while (row := reader.fetch_one(_NEXT_TARGET, {"after": target_id})) is not None:
        target_id = row.target_id
        oldest = reader.fetch_all(_OLDEST_ATTEMPTS, {"target_id": target_id})
        if oldest[0].attempted_at >= before:
            continue
        parameters = {"target_id": target_id, "last": LAST_ATTEMPTS}
        last_to_go = reader.fetch_one(_FIRST_TO_GO, parameters)
        if last_to_go is None:
            continue
        ids = [
            one.attempt_id
            for one in oldest
            if one.attempted_at < before and one.attempt_id <= last_to_go.attempt_id
        ]
        if ids:
            return ids
    return []


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


def _delete_redeliveries(transaction: Transaction, older_than: datetime) -> int:
    rows = transaction.fetch_all(_OLD_REDELIVERIES, {"before": microseconds(older_than)})
    ids = [row.redelivery_id for row in rows]
    if ids:
        transaction.execute(_DELETE_REDELIVERIES, {"ids": ids})
    return len(ids)


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
    RetentionKind.REDELIVERIES: _delete_redeliveries,
    RetentionKind.TARGET_EVENTS: _delete_events,
}
