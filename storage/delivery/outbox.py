"""The outbox: every delivery that was made, until it has come to its end.

The rows are the truth; what a TargetActor holds in memory is a cache of them. A delivery in flight
stays pending or retrying on disk, so that after a crash it is simply sent again, under the same
id. The deliveries of one device to one target keep their order: while the head is in back-off its
*lane* is blocked, and `waiting` leaves out what stands behind it. A target in strict order has one lane
for all, one without order has none. A replay (generation above 0) has no lane, nor has what
stepped aside.
"""

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import structlog

from protocols.messages import DecoderId, DeliveryId, DeviceId, MessageId, OrganizationId, TargetId
from protocols.targets import DECODED
from protocols.targets.policy import Ordering
from storage import events
from storage.database import Database, Reader, Row
from storage.delivery.deliveries import BlockedLane, DeliveryOutcome, DeliveryState, OutboxItem
from storage.delivery.lane_order import do_lanes_fit, fit_lanes
from storage.delivery.outbox_endings import SLICE, cancel_slice, expire_slice, find_expired, freeze
from storage.delivery.outbox_queries import (
    SELECT_BLOCKED,
    SELECT_COUNTS,
    SELECT_NEXT_DUE,
    SELECT_NEXT_TARGET,
    SELECT_REST_OF_BATCHES,
    SELECT_WAITED_FOR,
    SELECT_WAITING,
)
from storage.delivery.outbox_recording import OutcomeTooLate, Recording, TargetNote
from storage.delivery.target_health import TargetHealth, read_health
from storage.instants import instant, instant_or_none, microseconds
from storage.leases import Lease
from storage.message_result import MessageResult
from storage.result_rows import DELIVERY_LIFETIME

__all__ = [
    "BlockedLane",
    "DeliveryOutcome",
    "DeliveryState",
    "Outbox",
    "OutboxCounts",
    "OutboxItem",
    "TargetNote",
    "outbox_items",
]

_log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class OutboxCounts:
    """What waits for one target."""

    pending: int
    retrying: int
    oldest_created_at: datetime | None


def outbox_items(results: Sequence[MessageResult]) -> list[OutboxItem]:
    """Return what committed `results` (`CommitReport.written`) put into the outbox, in their order."""
    return [item for result in results if result.deliveries for item in _items(result)]


class Outbox:
    """Reads what waits and records what became of it."""

    def __init__(
        self, database: Database, now: Callable[[], datetime] = lambda: datetime.now(UTC)
    ) -> None:
        self._database = database
        self._now = now

    async def waiting(
        self,
        target_id: TargetId,
        *,
        now: datetime,
        limit: int = 1_000,
        excluding: Collection[DeliveryId] = (),
        ordering: Ordering = Ordering.PER_DEVICE,
    ) -> list[OutboxItem]:
        """Return up to `limit` deliveries that may be attempted at `now`, in order, with bodies.

        Batches that were frozen are whole, even if that makes it more. Left out: what is in back-off, what stands behind the head of a lane that is, and
        `excluding`, which the caller holds already.
        """
        parameters = {
            "target_id": target_id,
            "now": microseconds(now),
            "limit": limit,
            "excluding": list(excluding),
        }
        rows = await self._database.read(lambda reader: _waiting(reader, ordering, parameters))
        return [_item(row) for row in rows if row.body is not None]

    async def next_due_at(self, target_id: TargetId, *, now: datetime) -> datetime | None:
        """Return when, after `now`, the first back-off ends, or None if none does."""
        parameters = {"target_id": target_id, "now": microseconds(now)}
        rows = await self._database.read(
            lambda reader: reader.fetch_all(SELECT_NEXT_DUE, parameters)
        )
        dues = [row.due_at for row in rows if row.due_at is not None]
        return instant_or_none(min(dues, default=None))

    async def blocked_lanes(self, target_id: TargetId) -> list[BlockedLane]:
        """Return the lanes whose head is in back-off, or was when it was last heard of."""
        rows = await self._database.read(
            lambda reader: reader.fetch_all(SELECT_BLOCKED, {"target_id": target_id})
        )
        return [
            BlockedLane(
                lane=row.device_id,
                delivery_id=DeliveryId(row.delivery_id),
                due_at=instant(row.due_at),
                held_s=row.held_us / 1_000_000,
            )
            for row in rows
        ]

    async def fit_lanes(self, target_id: TargetId, ordering: Ordering, lease: Lease | None) -> None:
        """See to it that what has failed blocks the lanes of this order, whatever it was before.

        Raises: as `record`.
        """
        if not await self._database.read(lambda reader: do_lanes_fit(reader, target_id, ordering)):
            await self._database.write(
                lambda transaction: fit_lanes(transaction, target_id, ordering, lease)
            )

    async def health(self, target_id: TargetId) -> TargetHealth:
        """Return how the target has fared so far."""
        return await self._database.read(lambda reader: read_health(reader, target_id))

    async def counts(self, target_id: TargetId) -> OutboxCounts:
        """Return how much waits for a target; reads every waiting row of it."""
        rows = await self._database.read(
            lambda reader: reader.fetch_all(SELECT_COUNTS, {"target_id": target_id})
        )
        counted: Mapping[str, int] = {row.state: row.rows for row in rows}
        oldest = min((row.oldest for row in rows), default=None)
        return OutboxCounts(
            pending=counted.get(DeliveryState.PENDING, 0),
            retrying=counted.get(DeliveryState.RETRYING, 0),
            oldest_created_at=instant_or_none(oldest),
        )

    async def record(
        self,
        outcomes: Sequence[DeliveryOutcome],
        lease: Lease | None = None,
        note: TargetNote | None = None,
    ) -> list[TargetId]:
        """Write what became of attempts, in one unit, in the order given; and what `note` says.

        A first attempt that succeeds leaves no attempt row; every other does. An outcome of a
        delivery that has come to its end meanwhile (cancelled, pulled) changes nothing. With
        `lease` it is written in the name of that tenure, which must not have ended. Returned
        are the targets that deliveries of events were made for.

        Raises:
            LeaseLost: another process has taken over; nothing was or will be recorded.
            StorageUnavailable: nothing was recorded; the same call may be made again.
        """
        if not outcomes and note is None:
            return []
        recording = Recording(outcomes, lease, note)
        try:
            return await self._database.write(recording.write_plainly)
        except OutcomeTooLate:
            ignored, listeners = await self._database.write(recording.write_checked)
            _log.info(events.OUTBOX_OUTCOME_IGNORE, count=ignored)
            return listeners

    async def freeze(
        self, batch_id: DeliveryId, delivery_ids: Sequence[DeliveryId], lease: Lease | None
    ) -> None:
        """Have these travel together, on every attempt from the first, under `batch_id`.

        Raises: as `record`.
        """
        await self._database.write(
            lambda transaction: freeze(transaction, batch_id, delivery_ids, lease)
        )

    async def expire(self, target_id: TargetId, *, grace: timedelta, is_thorough: bool) -> int:
        """End what waits for a target and is past its time, a slice per commit; return how many.

        Its own actor does that for what it comes to. This is for the rest: behind a breaker that is open,
        for a target that is disabled or has no address.

        Args:
            grace: how long after its end a delivery is left to the actor.
            is_thorough: whether to look at all that waits; else only at the oldest, which is cheap.
        """
        total = 0
        while found := await self._database.read(
            lambda reader: find_expired(
                reader, target_id, self._now() - grace, is_thorough=is_thorough
            )
        ):
            for start in range(0, len(found), SLICE):
                total += await self._expire(target_id, found[start : start + SLICE])
        return total

    async def _expire(self, target_id: TargetId, delivery_ids: Sequence[DeliveryId]) -> int:
        return await self._database.write(
            lambda transaction: expire_slice(transaction, target_id, delivery_ids, self._now())
        )

    async def targets_with_waiting(self) -> list[TargetId]:
        """Return every target that some delivery waits for, whether it exists or not."""
        return await self._database.read(
            lambda reader: [target_id for target_id, _ in _waited_for(reader)]
        )

    async def targets_waited_for(self, target_ids: Collection[TargetId]) -> list[TargetId]:
        """Return those of these targets that some delivery waits for."""
        parameters = {"target_ids": list(target_ids)}
        rows = await self._database.read(
            lambda reader: reader.fetch_all(SELECT_WAITED_FOR, parameters)
        )
        return [TargetId(row.id) for row in rows]

    async def targets_gone(self) -> list[TargetId]:
        """Return the targets that deliveries wait for and that do not exist any more."""
        return await self._database.read(_targets_gone)

    async def cancel_for_target(self, target_id: TargetId, reason: str) -> int:
        """Cancel all that waits for a target, a slice per commit; return how many that were.

        What its actor still sends, if it runs, is not recorded any more. `reason` goes to the log.
        """
        total = 0
        while cancelled := await self._database.write(
            lambda transaction: cancel_slice(transaction, target_id, self._now())
        ):
            total += cancelled
        _log.info(events.OUTBOX_TARGET_CANCEL, target_id=target_id, reason=reason, count=total)
        return total


def _waiting(reader: Reader, ordering: Ordering, parameters: Mapping[str, Any]) -> list[Row]:
    rows = reader.fetch_all(SELECT_WAITING[ordering], parameters)
    batch_ids = {row.batch_id for row in rows if row.batch_id is not None}
    if not batch_ids or len(rows) < parameters["limit"]:
        return rows
    known = [*parameters["excluding"], *(row.delivery_id for row in rows)]
    rest = {"now": parameters["now"], "excluding": known, "batch_ids": list(batch_ids)}
    return rows + reader.fetch_all(SELECT_REST_OF_BATCHES, rest)


def _targets_gone(reader: Reader) -> list[TargetId]:
    return [target_id for target_id, is_there in _waited_for(reader) if not is_there]


def _waited_for(reader: Reader) -> Iterator[tuple[TargetId, bool]]:
    after = 0
    while row := reader.fetch_one(SELECT_NEXT_TARGET, {"after": after}):
        after = row.target_id
        yield TargetId(after), bool(row.is_there)


def _items(result: MessageResult) -> list[OutboxItem]:
    uplink = result.uplink
    bodies = {job.decoder_id: job.body for job in result.jobs}
    created_at = result.jobs[0].settled_at
    expires_at = created_at + DELIVERY_LIFETIME
    position = result.order if result.order is not None else result.position
    items = []
    for draft in result.deliveries:
        body = uplink.payload if draft.decoder_id is None else bodies.get(draft.decoder_id)
        if body is None:
            continue
        items.append(
            OutboxItem(
                delivery_id=draft.delivery_id,
                message_id=uplink.message_id,
                target_id=draft.target_id,
                device_id=uplink.device_id,
                organization_id=uplink.organization_id,
                decoder_id=draft.decoder_id,
                position=position or 0,
                generation=result.generation,
                attempts=0,
                next_at=None,
                created_at=created_at,
                expires_at=expires_at,
                body=body,
            )
        )
    return items


def _item(row: Row) -> OutboxItem:
    return OutboxItem(
        delivery_id=DeliveryId(row.delivery_id),
        message_id=MessageId(row.message_id),
        target_id=TargetId(row.target_id),
        device_id=DeviceId(row.device_id),
        organization_id=OrganizationId(row.organization_id),
        decoder_id=DecoderId(row.decoder_id) if row.decoder_id > 0 else None,
        position=row.position,
        generation=row.generation,
        attempts=row.attempts,
        next_at=instant_or_none(row.next_at),
        created_at=instant(row.created_at),
        expires_at=instant(row.expires_at),
        body=bytes(row.body),
        is_aside=bool(row.is_aside),
        batch_id=None if row.batch_id is None else DeliveryId(row.batch_id),
        event_type=row.event or DECODED,
    )
