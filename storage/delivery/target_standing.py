"""How data targets stand, for whoever watches over them: what waits, since when, and who is left alone."""

from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import or_, select

from protocols.messages import TargetId
from storage.database import Database
from storage.delivery.outbox import Outbox
from storage.delivery.unacknowledged import Unacknowledged
from storage.instants import instant_or_none
from storage.tables.targets import target_health

_CLOSED = "closed"
_TROUBLED = select(
    target_health.c.target_id, target_health.c.breaker, target_health.c.disabled_at
).where(or_(target_health.c.breaker != _CLOSED, target_health.c.disabled_at.is_not(None)))


@dataclass(frozen=True, slots=True, kw_only=True)
class TargetStanding:
    target_id: TargetId
    waiting: int
    """Deliveries that wait, counted up to `storage.delivery.unacknowledged.COUNTED_TO + 1`."""
    oldest_created_at: datetime | None
    is_breaker_open: bool
    is_disabled: bool


class TargetStandings:
    def __init__(self, database: Database) -> None:
        self._database = database

    async def read(self, now: datetime) -> list[TargetStanding]:
        """Return how every target stands that something waits for or that is in trouble.

        Raises: StorageUnavailable.
        """
        rows = await self._database.read(lambda reader: reader.fetch_all(_TROUBLED))
        troubled = {TargetId(row.target_id): row for row in rows}
        waiting = Unacknowledged(self._database)
        standings = []
        target_ids = {*troubled, *await Outbox(self._database).targets_with_waiting()}
        for target_id in sorted(target_ids):
            backlog = await waiting.backlog(target_id, now)
            health = troubled.get(target_id)
            standings.append(
                TargetStanding(
                    target_id=target_id,
                    waiting=backlog.count,
                    oldest_created_at=instant_or_none(backlog.oldest_created_at),
                    is_breaker_open=health is not None and health.breaker != _CLOSED,
                    is_disabled=health is not None and health.disabled_at is not None,
                )
            )
        return standings
