"""Messages whose jobs are not done: deferred ones that wait, failed ones that may be replayed."""

import itertools
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import ColumnElement, Select, and_, bindparam, func, select

from protocols.messages import DecoderId, DeviceId, MessageId, OrganizationId, Uplink
from storage.database import Database
from storage.instants import microseconds
from storage.tables.pipeline import is_deferred, is_failed, message, message_job
from storage.uplinks import uplink_of

_SAME_MESSAGE = message.c.message_id == message_job.c.message_id

# The oldest deferred messages of the device; a message may have several deferred jobs.
_OF_DEVICE = (
    select(message_job.c.decoder_id, *message.c)
    .join(message, _SAME_MESSAGE)
    .where(is_deferred, message_job.c.device_id == bindparam("device_id"))
    .order_by(message_job.c.position, message_job.c.decoder_id)
    .limit(bindparam("row_limit"))
)
_DEVICES = (
    select(message_job.c.device_id)
    .where(is_deferred, message_job.c.device_id > bindparam("after"))
    .distinct()
    .order_by(message_job.c.device_id)
    .limit(bindparam("row_limit"))
)
_COUNTS = (
    select(
        message_job.c.decoder_id,
        message_job.c.organization_id,
        func.count().label("jobs"),
    )
    .where(is_deferred)
    .group_by(message_job.c.decoder_id, message_job.c.organization_id)
)
_OLDEST = (
    select(*message.c)
    .join(message_job, _SAME_MESSAGE)
    .where(
        is_deferred,
        message_job.c.decoder_id == bindparam("decoder_id"),
        message_job.c.organization_id == bindparam("organization_id"),
    )
    .order_by(message_job.c.position)
    .limit(bindparam("row_limit"))
)


@dataclass(frozen=True, slots=True, kw_only=True)
class DeferredMessage:
    """A message and those of its decoders that have not run; None stands for passing it on raw."""

    uplink: Uplink
    position: int
    decoder_ids: tuple[DecoderId | None, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class FailedJob:
    """A job that failed; `generation` is 0 for the live one and counts the replays since."""

    uplink: Uplink
    position: int
    decoder_id: DecoderId
    generation: int


@dataclass(frozen=True, slots=True)
class DeferredCount:
    """How many jobs wait for one decoder in one organization."""

    decoder_id: DecoderId | None
    organization_id: OrganizationId
    jobs: int


class DeferredStore:
    """Reads what waits; it leaves this state with the result that `ResultStore` commits."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def deferred_devices(self, *, after: int = 0, limit: int) -> list[DeviceId]:
        """Return devices with deferred messages, by id, beginning behind `after`."""
        rows = await self._database.read(
            lambda reader: reader.fetch_all(_DEVICES, {"after": after, "row_limit": limit})
        )
        return [DeviceId(row.device_id) for row in rows]

    async def deferred_messages(self, device_id: DeviceId, *, limit: int) -> list[DeferredMessage]:
        """Return the oldest deferred messages of a device, in the order of their acceptance.

        At most `limit` jobs are read, and at least one message with all its jobs.
        """
        rows = await self._database.read(
            lambda reader: reader.fetch_all(
                _OF_DEVICE, {"device_id": device_id, "row_limit": limit}
            )
        )
        messages = [
            DeferredMessage(
                uplink=uplink_of(of_message[0]),
                position=position,
                decoder_ids=tuple(_decoder(row.decoder_id) for row in of_message),
            )
            for position, group in itertools.groupby(rows, key=lambda row: row.position)
            for of_message in [list(group)]
        ]
        # The last one may have been cut in the middle of its jobs.
        return messages[:-1] if len(rows) == limit and len(messages) > 1 else messages

    async def counts(self) -> list[DeferredCount]:
        """Return how much waits for each decoder; nothing for those that nothing waits for."""
        rows = await self._database.read(lambda reader: reader.fetch_all(_COUNTS))
        return [
            DeferredCount(_decoder(row.decoder_id), OrganizationId(row.organization_id), row.jobs)
            for row in rows
        ]

    async def oldest(
        self, decoder_id: DecoderId, organization_id: OrganizationId, *, limit: int
    ) -> list[DeferredMessage]:
        """Return the messages that have waited longest for a decoder in an organization."""
        rows = await self._database.read(
            lambda reader: reader.fetch_all(
                _OLDEST,
                {
                    "decoder_id": decoder_id,
                    "organization_id": organization_id,
                    "row_limit": limit,
                },
            )
        )
        return [
            DeferredMessage(uplink=uplink_of(row), position=row.position, decoder_ids=(decoder_id,))
            for row in rows
        ]

    async def count_failed(
        self, decoder_id: int, *, since: datetime | None, until: datetime | None
    ) -> int:
        """Return how many messages this decoder failed on that were accepted in this time."""
        statement = (
            select(func.count().label("jobs"))
            .select_from(message_job.join(message, _SAME_MESSAGE))
            .where(_failed(decoder_id, since, until))
        )
        row = await self._database.read(lambda reader: reader.fetch_one(statement))
        return int(row.jobs) if row is not None else 0

    async def failed_jobs(
        self,
        decoder_id: int,
        *,
        since: datetime | None,
        until: datetime | None,
        after_message_id: MessageId | None,
        limit: int,
    ) -> list[FailedJob]:
        """Return failed jobs of a decoder, oldest message first, beginning behind `after_message_id`."""
        statement: Select[Any] = (
            select(message_job.c.generation, *message.c)
            .join(message, _SAME_MESSAGE)
            .where(_failed(decoder_id, since, until))
            .order_by(message_job.c.message_id)
            .limit(limit)
        )
        if after_message_id is not None:
            statement = statement.where(message_job.c.message_id > after_message_id)
        rows = await self._database.read(lambda reader: reader.fetch_all(statement))
        return [
            FailedJob(
                uplink=uplink_of(row),
                position=row.position,
                decoder_id=DecoderId(decoder_id),
                generation=row.generation,
            )
            for row in rows
        ]


def _failed(decoder_id: int, since: datetime | None, until: datetime | None) -> ColumnElement[bool]:
    conditions = [is_failed, message_job.c.decoder_id == decoder_id]
    if since is not None:
        conditions.append(message.c.received_at >= microseconds(since))
    if until is not None:
        conditions.append(message.c.received_at < microseconds(until))
    return and_(*conditions)


def _decoder(stored: int) -> DecoderId | None:
    return DecoderId(stored) if stored else None
