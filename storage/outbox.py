"""The outbox: every delivery that was made, until it has come to its end.

The rows are the truth; what a TargetActor holds in memory is a cache of them. A delivery in flight
stays pending or retrying on disk, so that after a crash it is simply sent again, under the same
id. The deliveries of one device to one target keep their order: while the head is in back-off its
*lane* is blocked, and `waiting` leaves out what stands behind it. A replay (generation above 0) has no lane.
"""

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

import structlog

from protocols.messages import DecoderId, DeliveryId, DeviceId, MessageId, OrganizationId, TargetId
from storage import events
from storage.database import Database, Reader, Row
from storage.deliveries import DeliveryOutcome, DeliveryState, OutboxItem
from storage.instants import instant, instant_or_none, microseconds
from storage.leases import Lease
from storage.message_result import MessageResult
from storage.outbox_queries import (
    SELECT_BLOCKED,
    SELECT_COUNTS,
    SELECT_NEXT_DUE,
    SELECT_NEXT_TARGET,
    SELECT_WAITED_FOR,
    SELECT_WAITING,
)
from storage.outbox_recording import OutcomeTooLate, Recording, cancel_slice
from storage.result_rows import DELIVERY_LIFETIME

__all__ = [
    "DeliveryOutcome",
    "DeliveryState",
    "Outbox",
    "OutboxCounts",
    "OutboxItem",
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
    ) -> list[OutboxItem]:
        """Return up to `limit` deliveries that may be attempted at `now`, in order, with bodies.

        Left out: what is in back-off, what stands behind a device's head that is, and
        `excluding`, which the caller holds already.
        """
        parameters = {
            "target_id": target_id,
            "now": microseconds(now),
            "limit": limit,
            "excluding": list(excluding),
        }
        rows = await self._database.read(
            lambda reader: reader.fetch_all(SELECT_WAITING, parameters)
        )
        return [_item(row) for row in rows if row.body is not None]

    async def next_due_at(self, target_id: TargetId) -> datetime | None:
        """Return when the first delivery in back-off is due, or None if none is in back-off."""
        row = await self._database.read(
            lambda reader: reader.fetch_one(SELECT_NEXT_DUE, {"target_id": target_id})
        )
        return None if row is None else instant_or_none(row.next_at)

    async def blocked_lanes(self, target_id: TargetId) -> list[tuple[DeviceId, datetime]]:
        """Return the devices whose head is in back-off, and until when."""
        rows = await self._database.read(
            lambda reader: reader.fetch_all(SELECT_BLOCKED, {"target_id": target_id})
        )
        return [(DeviceId(row.device_id), instant(row.due_at)) for row in rows]

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

    async def record(self, outcomes: Sequence[DeliveryOutcome], lease: Lease | None = None) -> None:
        """Write what became of attempts, in one unit, in the order given.

        A first attempt that succeeds leaves no attempt row; every other does. An outcome of a
        delivery that has come to its end meanwhile (cancelled, pulled) changes nothing. With
        `lease` it is written in the name of that tenure, which must not have ended.

        Raises:
            LeaseLost: another process has taken over; nothing was or will be recorded.
            StorageUnavailable: nothing was recorded; the same call may be made again.
        """
        if not outcomes:
            return
        recording = Recording(outcomes, lease)
        try:
            await self._database.write(recording.write_plainly)
        except OutcomeTooLate:
            ignored = await self._database.write(recording.write_checked)
            _log.info(events.OUTBOX_OUTCOME_IGNORE, count=ignored)

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


def _targets_gone(reader: Reader) -> list[TargetId]:
    gone: list[TargetId] = []
    after = 0
    while row := reader.fetch_one(SELECT_NEXT_TARGET, {"after": after}):
        after = row.target_id
        if not row.is_there:
            gone.append(TargetId(after))
    return gone


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
        decoder_id=DecoderId(row.decoder_id) if row.decoder_id else None,
        position=row.position,
        generation=row.generation,
        attempts=row.attempts,
        next_at=instant_or_none(row.next_at),
        created_at=instant(row.created_at),
        expires_at=instant(row.expires_at),
        body=bytes(row.body),
    )
