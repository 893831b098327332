"""Lists of messages: what a device has sent, newest first, and what became of it in short."""

import re
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from sqlalchemy import ColumnElement, and_, bindparam, func, or_, select

from protocols.errors import InvalidInput
from storage.database import Reader
from storage.repositories.scope import Scope
from storage.tables.pipeline import delivery, message, message_job

_CURSOR: Final = re.compile(r"(\d{1,18})\.([0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12})")

_SELECT = select(
    message.c.message_id,
    message.c.received_at,
    func.length(message.c.payload).label("size_bytes"),
).order_by(message.c.received_at.desc(), message.c.message_id.desc())
_JOBS = (
    select(message_job.c.message_id, message_job.c.decoder_id, message_job.c.state)
    .where(message_job.c.message_id.in_(bindparam("ids", expanding=True)))
    .order_by(message_job.c.decoder_id)
)
_DELIVERIES = (
    select(delivery.c.message_id, delivery.c.state, func.count().label("deliveries"))
    .where(delivery.c.message_id.in_(bindparam("ids", expanding=True)))
    .group_by(delivery.c.message_id, delivery.c.state)
)


@dataclass(frozen=True, slots=True, kw_only=True)
class MessageFilter:
    """Messages of one device from `since` on and before `until`, in microseconds UTC."""

    device_id: int
    since: int | None = None
    until: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class MessageSummary:
    """`jobs` are decoders, None for none, and their states; `deliveries` are counted by state."""

    message_id: str
    received_at: int
    size_bytes: int
    jobs: Sequence[tuple[int | None, str]]
    deliveries: Mapping[str, int]


@dataclass(frozen=True, slots=True)
class MessagePage:
    """`cursor` leads to the next page; None when this is the last."""

    rows: Sequence[MessageSummary]
    cursor: str | None


def list_page(
    reader: Reader, scope: Scope, wanted: MessageFilter, *, limit: int, cursor: str | None
) -> MessagePage:
    """Messages that are kept, newest first; those that wait in the journal are not among them.

    Raises: InvalidInput when `cursor` is none that was given out.
    """
    conditions = [*_conditions(wanted), scope.condition(message.c.organization_id)]
    if cursor is not None:
        conditions.append(_behind(cursor))
    # One more than is shown tells whether there are more.
    found = reader.fetch_all(_SELECT.where(*conditions).limit(limit + 1))
    rows = found[:limit]
    ids = [row.message_id for row in rows]
    jobs: defaultdict[str, list[tuple[int | None, str]]] = defaultdict(list)
    deliveries: defaultdict[str, dict[str, int]] = defaultdict(dict)
    if ids:
        for row in reader.fetch_all(_JOBS, {"ids": ids}):
            jobs[row.message_id].append((row.decoder_id or None, row.state))
        for row in reader.fetch_all(_DELIVERIES, {"ids": ids}):
            deliveries[row.message_id][row.state] = row.deliveries
    return MessagePage(
        [
            MessageSummary(
                message_id=row.message_id,
                received_at=row.received_at,
                size_bytes=row.size_bytes,
                jobs=jobs[row.message_id],
                deliveries=deliveries[row.message_id],
            )
            for row in rows
        ],
        f"{rows[-1].received_at}.{rows[-1].message_id}" if len(found) > limit else None,
    )


def _conditions(wanted: MessageFilter) -> list[ColumnElement[bool]]:
    conditions = [message.c.device_id == wanted.device_id]
    if wanted.since is not None:
        conditions.append(message.c.received_at >= wanted.since)
    if wanted.until is not None:
        conditions.append(message.c.received_at < wanted.until)
    return conditions


def _behind(cursor: str) -> ColumnElement[bool]:
    found = _CURSOR.fullmatch(cursor)
    if found is None:
        raise InvalidInput("This cursor was not given out here: begin without one.")
    received_at: Any = int(found[1])
    return and_(
        # Says nothing more than the rest, but in a way that an index can follow.
        message.c.received_at <= received_at,
        or_(message.c.received_at < received_at, message.c.message_id < found[2]),
    )
