"""The rows that a batch of results makes, collected first and then written with few statements."""

import json
from collections.abc import Iterable, Mapping
from dataclasses import replace
from datetime import timedelta
from typing import Final

from storage.database import BulkInsert, BulkUpdate, Merge, Transaction
from storage.instants import microseconds
from storage.ledger_changes import LedgerChanges
from storage.message_result import JobResult, JobState, MessageResult
from storage.tables.pipeline import delivery, device_state, message, message_job
from storage.uplinks import UPLINK_COLUMNS, uplink_row

DELIVERY_LIFETIME = timedelta(hours=72)
_LIFETIME_US = int(DELIVERY_LIFETIME.total_seconds()) * 1_000_000

_OUTCOME_COLUMNS = (
    "generation",
    "state",
    "decoder_version",
    "body",
    "warnings",
    "error_code",
    "error",
    "settled_at",
)
_INSERT_MESSAGES = BulkInsert(message, UPLINK_COLUMNS)
_INSERT_JOBS = BulkInsert(
    message_job,
    ("message_id", "decoder_id", "position", "device_id", "organization_id", *_OUTCOME_COLUMNS),
)
_UPDATE_JOBS = BulkUpdate(message_job, ("message_id", "decoder_id"), _OUTCOME_COLUMNS)
INSERT_DELIVERIES: Final = BulkInsert(
    delivery,
    (
        "delivery_id",
        "message_id",
        "target_id",
        "decoder_id",
        "device_id",
        "organization_id",
        "position",
        "generation",
        "state",
        "attempts",
        "created_at",
        "expires_at",
    ),
)
"""New deliveries, whoever makes them: of a result, of an event, or once more."""
_INSERT_STATES = BulkInsert(
    device_state,
    ("device_id", "state", "last_message_at"),
    {"state": Merge.NEW, "last_message_at": Merge.GREATEST},
)
_INSERT_TIMES = BulkInsert(
    device_state, ("device_id", "last_message_at"), {"last_message_at": Merge.GREATEST}
)
# Deferred is not final: it is counted from the rows, never in the ledger.
_COUNTERS: dict[str, str] = {
    str(state): str(state) for state in JobState if state is not JobState.DEFERRED
}

JobKey = tuple[str, int]


class StoredJob:
    """A job as its row says; `state` follows what this batch does to it."""

    __slots__ = ("position", "state")

    def __init__(self, position: int, state: str) -> None:
        self.position = position
        self.state = state


class ResultRows:
    """Collect with `add_live` and `add_again`, then `store` once."""

    def __init__(self) -> None:
        self._messages: list[tuple[object, ...]] = []
        self._jobs: list[tuple[object, ...]] = []
        self._moved: list[tuple[object, ...]] = []
        self._deliveries: list[tuple[object, ...]] = []
        self._states: dict[int, tuple[int, bytes | None, int | None]] = {}
        self._times: dict[int, int] = {}
        self._ledger = LedgerChanges()

    def add_live(self, result: MessageResult, position: int) -> None:
        uplink = result.uplink
        received_at = microseconds(uplink.received_at)
        self._messages.append(uplink_row(uplink, position))
        owner = (position, uplink.device_id, uplink.organization_id)
        for job in result.jobs:
            key = (uplink.message_id, job.decoder_id or 0)
            row = _outcome(job, result.generation)
            self._jobs.append(key + owner + row)
            self._book(uplink.organization_id, row[1])
        if len(result.jobs) > 1:
            self._ledger.add(uplink.organization_id, "accepted", len(result.jobs) - 1)
        self._add_deliveries(result, position)
        self._add_state(result, received_at)

    def add_again(
        self, result: MessageResult, stored: Mapping[JobKey, StoredJob]
    ) -> MessageResult | None:
        """Move the jobs that may move; return the result with those alone, or None for none."""
        message_id, organization_id = result.uplink.message_id, result.uplink.organization_id
        movable = JobState.FAILED if result.generation else JobState.DEFERRED
        moved: list[JobResult] = []
        position = 0
        for job in result.jobs:
            row = stored.get((message_id, job.decoder_id or 0))
            if row is None or row.state != movable or job.state is JobState.DEFERRED:
                continue
            self._moved.append((message_id, job.decoder_id or 0, *_outcome(job, result.generation)))
            self._book(organization_id, row.state, -1)
            self._book(organization_id, job.state)
            row.state, position = job.state.value, row.position
            moved.append(job)
        if not moved:
            return None
        decoders = {job.decoder_id for job in moved}
        drafts = [draft for draft in result.deliveries if draft.decoder_id in decoders]
        took_effect = replace(result, jobs=tuple(moved), deliveries=drafts, order=position)
        self._add_deliveries(took_effect, position)
        self._add_state(took_effect, None)
        return took_effect

    def store(self, transaction: Transaction) -> None:
        if self._messages:
            transaction.insert_many(_INSERT_MESSAGES, self._messages)
            transaction.insert_many(_INSERT_JOBS, self._jobs)
        if self._moved:
            transaction.update_many(_UPDATE_JOBS, self._moved)
        if self._deliveries:
            transaction.insert_many(INSERT_DELIVERIES, self._deliveries)
        if self._states:
            transaction.insert_many(_INSERT_STATES, _sorted(self._states.values()))
        if self._times:
            transaction.insert_many(_INSERT_TIMES, _sorted(self._times.items()))
        self._ledger.store(transaction)

    def _book(self, organization_id: int, state: str, amount: int = 1) -> None:
        if (counter := _COUNTERS.get(state)) is not None:
            self._ledger.add(organization_id, counter, amount)

    def _add_deliveries(self, result: MessageResult, position: int) -> None:
        if not result.deliveries:
            return
        uplink = result.uplink
        created_at = microseconds(result.jobs[0].settled_at)
        tail = (
            uplink.device_id,
            uplink.organization_id,
            position,
            result.generation,
            "pending",
            0,
            created_at,
            created_at + _LIFETIME_US,
        )
        for draft in result.deliveries:
            head = (draft.delivery_id, uplink.message_id, draft.target_id, draft.decoder_id or 0)
            self._deliveries.append(head + tail)
        self._ledger.add(uplink.organization_id, "deliveries_created", len(result.deliveries))

    def _add_state(self, result: MessageResult, received_at: int | None) -> None:
        device_id = result.uplink.device_id
        if result.device_state is not None:
            before = self._states.get(device_id)
            times = [at for at in (received_at, before and before[2]) if at is not None]
            self._states[device_id] = (device_id, result.device_state, max(times, default=None))
        elif received_at is not None:
            self._times[device_id] = max(received_at, self._times.get(device_id, received_at))


def _outcome(
    job: JobResult, generation: int
) -> tuple[int, str, str | None, bytes | None, str | None, str | None, str | None, int]:
    return (
        generation,
        job.state.value,
        job.decoder_version,
        job.body,
        json.dumps(job.warnings) if job.warnings else None,
        job.error_code,
        job.error,
        microseconds(job.settled_at),
    )


def _sorted(rows: Iterable[tuple[object, ...]]) -> list[tuple[object, ...]]:
    """In the order of the device, so that neighbours in the tree are written together."""
    return sorted(rows, key=lambda row: row[0])  # type: ignore[arg-type, return-value]  # device ids are integers
