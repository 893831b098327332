"""The write units of the outbox that say what became of attempts.

Most outcomes are first attempts that succeeded: they are one UPDATE over their ids. When it
finds fewer rows than it should, some delivery has come to its end meanwhile; all is rolled back and
written again, checked row by row.
"""

from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import orjson
from sqlalchemy import BigInteger, BindParameter, Text, bindparam, delete, or_, select, update

from protocols.messages import TargetId
from storage.database import BulkInsert, BulkUpdate, Merge, Transaction
from storage.delivery.deliveries import DeliveryOutcome, DeliveryState
from storage.delivery.target_events import NewEvent, write_events
from storage.delivery.target_health import TargetHealth, write_health
from storage.instants import microseconds, microseconds_or_none
from storage.leases import Lease, check_lease
from storage.ledger_changes import LedgerChanges
from storage.tables.entities import data_target
from storage.tables.pipeline import delivery, delivery_attempt, delivery_lane, is_waiting

_ids: BindParameter[Any] = bindparam("ids", expanding=True)
_UPDATE_FIRST = (
    update(delivery)
    .where(delivery.c.delivery_id.in_(_ids), is_waiting)
    .values(
        state=bindparam("end", type_=Text),
        attempts=1,
        settled_at=bindparam("at", type_=BigInteger),
    )
)
_UPDATE_OTHERS = BulkUpdate(
    delivery, ("delivery_id",), ("state", "attempts", "next_at", "settled_at", "is_aside")
)
# Locked: somebody who pulls may be ending the same deliveries, and whoever comes second has to see it.
_SELECT_WAITING = (
    select(delivery.c.delivery_id)
    .where(delivery.c.delivery_id.in_(_ids), is_waiting)
    .order_by(delivery.c.delivery_id)
    .with_for_update()
)
_INSERT_ATTEMPTS = BulkInsert(
    delivery_attempt,
    (
        "delivery_id",
        "target_id",
        "attempt",
        "state",
        "attempted_at",
        "next_at",
        "status_code",
        "error_code",
        "error",
        "duration_us",
        "response_excerpt",
        "details",
    ),
)
_INSERT_LANES = BulkInsert(
    delivery_lane,
    ("target_id", "device_id", "delivery_id", "due_at", "held_us"),
    {"delivery_id": Merge.NEW, "due_at": Merge.NEW, "held_us": Merge.NEW},
)
_DELETE_LANES = delete(delivery_lane).where(
    delivery_lane.c.target_id == bindparam("target_id"),
    delivery_lane.c.device_id.in_(bindparam("lanes", expanding=True)),
    delivery_lane.c.delivery_id.in_(_ids),
)
_TAKEN = frozenset((DeliveryState.DELIVERED, DeliveryState.UNCONFIRMED, DeliveryState.PULLED))
_at: BindParameter[Any] = bindparam("at", type_=BigInteger)
_MOVE_LAST_MESSAGE = (
    update(data_target)
    .where(
        data_target.c.id == bindparam("target_id"),
        or_(data_target.c.last_message_at.is_(None), data_target.c.last_message_at < _at),
    )
    .values(last_message_at=_at)
)


class OutcomeTooLate(Exception):
    """A delivery has come to its end before its outcome was written."""


@dataclass(frozen=True, slots=True)
class TargetNote:
    """What else there is to write of a target: how it fares, and what befell it."""

    target_id: TargetId
    health: TargetHealth
    events: Sequence[NewEvent] = ()


class Recording:
    """One batch of outcomes; its methods are write units and may run more than once."""

    def __init__(
        self,
        outcomes: Sequence[DeliveryOutcome],
        lease: Lease | None = None,
        note: TargetNote | None = None,
    ) -> None:
        self._outcomes = outcomes
        self._lease = lease
        self._note = note

    def write_plainly(self, transaction: Transaction) -> list[TargetId]:
        self._check_lease(transaction)
        firsts = [outcome for outcome in self._outcomes if _is_plain(outcome)]
        others = [outcome for outcome in self._outcomes if not _is_plain(outcome)]
        ids = {outcome.delivery_id for outcome in self._outcomes}
        if len(ids) != len(self._outcomes):
            raise OutcomeTooLate
        changes = LedgerChanges()
        self._write_firsts(transaction, firsts, changes)
        if self._write_others(transaction, others, changes):
            raise OutcomeTooLate
        return self._finish(transaction, changes)

    def write_checked(self, transaction: Transaction) -> tuple[int, list[TargetId]]:
        """Write what still may be written; return how many outcomes were ignored, and as above."""
        self._check_lease(transaction)
        changes = LedgerChanges()
        ignored = 0
        for part in _without_repeats(self._outcomes):
            ignored += self._write_others(transaction, part, changes)
        return ignored, self._finish(transaction, changes)

    def _finish(self, transaction: Transaction, changes: LedgerChanges) -> list[TargetId]:
        changes.store(transaction)
        _move_last_message(transaction, self._outcomes)
        if self._note is None:
            return []
        write_health(transaction, self._note.target_id, self._note.health)
        if not self._note.events:
            return []
        return write_events(transaction, self._note.target_id, self._note.events)

    def _check_lease(self, transaction: Transaction) -> None:
        if self._lease is not None:
            check_lease(transaction, self._lease)

    def _write_firsts(
        self,
        transaction: Transaction,
        outcomes: Sequence[DeliveryOutcome],
        changes: LedgerChanges,
    ) -> None:
        by_state: defaultdict[str, list[DeliveryOutcome]] = defaultdict(list)
        for outcome in outcomes:
            by_state[outcome.state].append(outcome)
            changes.add(outcome.organization_id, outcome.state)
        for state, group in by_state.items():
            found = transaction.execute(
                _UPDATE_FIRST,
                {
                    "ids": [outcome.delivery_id for outcome in group],
                    "end": str(state),
                    # One instant for the batch: they differ by less than a commit takes.
                    "at": microseconds(group[-1].at),
                },
            )
            if found != len(group):
                raise OutcomeTooLate

    def _write_others(
        self,
        transaction: Transaction,
        outcomes: Sequence[DeliveryOutcome],
        changes: LedgerChanges,
    ) -> int:
        """Write outcomes of any kind, one per delivery; return how many came too late."""
        if not outcomes:
            return 0
        ids = [outcome.delivery_id for outcome in outcomes]
        waiting = {row.delivery_id for row in transaction.fetch_all(_SELECT_WAITING, {"ids": ids})}
        timely = [outcome for outcome in outcomes if outcome.delivery_id in waiting]
        if timely:
            transaction.update_many(_UPDATE_OTHERS, [_row(outcome) for outcome in timely])
            _move_lanes(transaction, [one for one in timely if one.lane is not None])
            _keep_attempts(transaction, timely)
        for outcome in timely:
            if outcome.next_at is None:
                changes.add(outcome.organization_id, outcome.state)
        return len(outcomes) - len(timely)


def _move_last_message(transaction: Transaction, outcomes: Sequence[DeliveryOutcome]) -> None:
    """Once for each target; also for what came too late, since the target has taken it."""
    latest: dict[int, datetime] = {}
    for outcome in outcomes:
        if outcome.state in _TAKEN:
            at = latest.get(outcome.target_id, outcome.at)
            latest[outcome.target_id] = max(at, outcome.at)
    for target_id, at in latest.items():
        transaction.execute(_MOVE_LAST_MESSAGE, {"target_id": target_id, "at": microseconds(at)})


def _is_plain(outcome: DeliveryOutcome) -> bool:
    """The first attempt, it ended the delivery, and there is nothing to remember of it."""
    return (
        outcome.attempt == 1
        and not outcome.was_retrying
        and outcome.next_at is None
        and outcome.error_code is None
        and outcome.was_made
    )


def _without_repeats(
    outcomes: Iterable[DeliveryOutcome],
) -> list[list[DeliveryOutcome]]:
    """Return the outcomes in parts in which no delivery stands twice, earlier attempts first."""
    parts: list[list[DeliveryOutcome]] = []
    seen: Counter[str] = Counter()
    for outcome in outcomes:
        number = seen[outcome.delivery_id]
        seen[outcome.delivery_id] += 1
        if number == len(parts):
            parts.append([])
        parts[number].append(outcome)
    return parts


def _row(outcome: DeliveryOutcome) -> tuple[object, ...]:
    settled_at = microseconds(outcome.at) if outcome.next_at is None else None
    return (
        outcome.delivery_id,
        outcome.state.value,
        outcome.attempt if outcome.is_spent else outcome.attempt - 1,
        microseconds_or_none(outcome.next_at),
        settled_at,
        outcome.is_aside,
    )


def _move_lanes(transaction: Transaction, outcomes: Sequence[DeliveryOutcome]) -> None:
    blocked: dict[tuple[int, int], tuple[str, int, int]] = {}
    opened: defaultdict[int, list[DeliveryOutcome]] = defaultdict(list)
    for outcome in outcomes:
        if outcome.lane_due_at is not None:
            assert outcome.lane is not None
            # Of those that travel together the first is the head.
            blocked.setdefault(
                (outcome.target_id, outcome.lane),
                (
                    outcome.delivery_id,
                    microseconds(outcome.lane_due_at),
                    round(outcome.held_s * 1_000_000),
                ),
            )
        else:
            opened[outcome.target_id].append(outcome)
    for target_id, group in opened.items():
        parameters = {
            "target_id": target_id,
            "lanes": [outcome.lane for outcome in group],
            "ids": [outcome.delivery_id for outcome in group],
        }
        transaction.execute(_DELETE_LANES, parameters)
    if blocked:
        transaction.insert_many(_INSERT_LANES, [(*lane, *due) for lane, due in blocked.items()])


def _keep_attempts(transaction: Transaction, outcomes: Sequence[DeliveryOutcome]) -> None:
    rows = [
        (
            outcome.delivery_id,
            outcome.target_id,
            outcome.attempt,
            outcome.state.value,
            microseconds(outcome.at),
            microseconds_or_none(outcome.next_at),
            outcome.status_code,
            outcome.error_code,
            outcome.error,
            round(outcome.duration_s * 1_000_000),
            outcome.response_excerpt,
            None if outcome.exchange is None else orjson.dumps(outcome.exchange.to_json()).decode(),
        )
        for outcome in outcomes
        if outcome.was_made and not _is_plain(outcome)
    ]
    if rows:
        transaction.insert_many(_INSERT_ATTEMPTS, rows)
