"""Where a message is and how it came there: everything that is known of one message, and lists of them.

A message is in one of three places: in the journal until it is settled, then kept with its jobs and
deliveries, or set aside when the database refuses its results. A hub with Kafka has its journal
there, and knows nothing of a message before a worker has settled it.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Final

from sqlalchemy import BindParameter, bindparam, select

from protocols.errors import NotFound
from storage.database import Reader, Row
from storage.journal_lookup import find_waiting
from storage.repositories.scope import Scope
from storage.tables.entities import data_target, payload_decoder
from storage.tables.fleet import journal_topic
from storage.tables.pipeline import (
    delivery,
    delivery_attempt,
    message,
    message_job,
    set_aside,
)
from storage.uplinks import select_shown

# More than any message has that was not sent again hundreds of times; then the first are shown.
MOST_DELIVERIES: Final = 1_000
_MOST_ATTEMPTS: Final = 10_000

_id: BindParameter[str] = bindparam("message_id")
_KEPT = select_shown(message).where(message.c.message_id == _id)
_SET_ASIDE = (
    select_shown(set_aside)
    .add_columns(set_aside.c.reason, set_aside.c.error, set_aside.c.set_aside_at)
    .where(set_aside.c.message_id == _id)
)
_HAS_TOPIC = select(journal_topic.c.name).limit(1)
_JOBS = (
    select(
        message_job.c.decoder_id,
        payload_decoder.c.name.label("decoder_name"),
        message_job.c.decoder_version,
        message_job.c.generation,
        message_job.c.state,
        message_job.c.body,
        message_job.c.warnings,
        message_job.c.error_code,
        message_job.c.error,
        message_job.c.settled_at,
    )
    .join(payload_decoder, payload_decoder.c.id == message_job.c.decoder_id, isouter=True)
    .where(message_job.c.message_id == _id)
    .order_by(message_job.c.decoder_id)
)
_DELIVERIES = (
    select(
        delivery.c.delivery_id,
        delivery.c.target_id,
        data_target.c.name.label("target_name"),
        data_target.c.type.label("target_type"),
        delivery.c.decoder_id,
        delivery.c.generation,
        delivery.c.state,
        delivery.c.attempts,
        delivery.c.next_at,
        delivery.c.created_at,
        delivery.c.expires_at,
        delivery.c.settled_at,
        delivery.c.is_aside,
        delivery.c.batch_id,
        delivery.c.leased_until,
    )
    .join(data_target, data_target.c.id == delivery.c.target_id, isouter=True)
    .where(delivery.c.message_id == _id)
    .order_by(delivery.c.target_id, delivery.c.decoder_id, delivery.c.generation)
    .limit(MOST_DELIVERIES)
)
_ATTEMPTS = (
    select(
        delivery_attempt.c.delivery_id,
        delivery_attempt.c.attempt,
        delivery_attempt.c.state,
        delivery_attempt.c.attempted_at,
        delivery_attempt.c.next_at,
        delivery_attempt.c.status_code,
        delivery_attempt.c.error_code,
        delivery_attempt.c.error,
        delivery_attempt.c.duration_us,
        delivery_attempt.c.response_excerpt,
        delivery_attempt.c.details,
    )
    .where(delivery_attempt.c.delivery_id.in_(bindparam("ids", expanding=True)))
    .order_by(delivery_attempt.c.attempt_id)
    .limit(_MOST_ATTEMPTS)
)


class Place(StrEnum):
    JOURNAL = "journal"
    """Accepted and durable, and not settled yet."""
    KEPT = "kept"
    SET_ASIDE = "set_aside"


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """One decoder and what it made of the message. `decoder_id` None: it is passed on as it is."""

    decoder_id: int | None
    decoder_name: str | None
    """None also where the decoder is gone."""
    decoder_version: str | None
    generation: int
    state: str
    body: bytes | None
    warnings: str | None
    """A JSON array of texts."""
    error_code: str | None
    error: str | None
    settled_at: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Attempt:
    """One attempt as it was logged; `details` is the JSON of an `Exchange`."""

    attempt: int
    state: str
    attempted_at: int
    next_at: int | None
    status_code: int | None
    error_code: str | None
    error: str | None
    duration_us: int
    response_excerpt: str | None
    details: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class DeliveryWay:
    """One delivery with the attempts that are in the log: a first one that succeeds is not."""

    delivery_id: str
    target_id: int
    target_name: str | None
    target_type: str | None
    """Name and type are None where the data target is gone."""
    decoder_id: int | None
    generation: int
    state: str
    attempts: int
    next_at: int | None
    created_at: int
    expires_at: int
    settled_at: int | None
    is_aside: bool
    batch_id: str | None
    leased_until: int | None
    log: Sequence[Attempt]


@dataclass(frozen=True, slots=True, kw_only=True)
class SetAside:
    reason: str
    error: str
    at: int


@dataclass(frozen=True, slots=True, kw_only=True)
class MessageWay:
    """All times are microseconds UTC."""

    message_id: str
    device_id: int
    device_name: str | None
    """None where the device is gone."""
    organization_id: int
    application_id: int
    received_at: int
    payload: bytes
    place: Place
    jobs: Sequence[Job] = ()
    deliveries: Sequence[DeliveryWay] = ()
    set_aside: SetAside | None = None


def find(reader: Reader, scope: Scope, message_id: str) -> MessageWay:
    """The way of a message so far.

    Raises: NotFound, with a sentence that says why it may be unknown all the same.
    """
    place, row = _look_up(reader, message_id)
    if row is None or not scope.allows(row.organization_id):
        raise NotFound(_unknown(reader))
    is_kept = place is Place.KEPT
    return MessageWay(
        message_id=row.message_id,
        device_id=row.device_id,
        device_name=row.device_name,
        organization_id=row.organization_id,
        application_id=row.application_id,
        received_at=row.received_at,
        payload=bytes(row.payload),
        place=place,
        jobs=_jobs(reader, message_id) if is_kept else (),
        deliveries=_deliveries(reader, message_id) if is_kept else (),
        set_aside=(
            SetAside(reason=row.reason, error=row.error, at=row.set_aside_at)
            if place is Place.SET_ASIDE
            else None
        ),
    )


def _look_up(reader: Reader, message_id: str) -> tuple[Place, Row | None]:
    for place, statement in ((Place.KEPT, _KEPT), (Place.SET_ASIDE, _SET_ASIDE)):
        row = reader.fetch_one(statement, {"message_id": message_id})
        if row is not None:
            return place, row
    return Place.JOURNAL, find_waiting(reader, message_id)


def _unknown(reader: Reader) -> str:
    sentence = "There is no such message, or it is kept no longer."
    if reader.fetch_one(_HAS_TOPIC) is None:
        return sentence
    return f"{sentence} One that waits in Kafka is not known before a worker has taken it up."


def _jobs(reader: Reader, message_id: str) -> list[Job]:
    return [
        Job(
            **{
                **row._asdict(),
                "decoder_id": row.decoder_id or None,
                "body": None if row.body is None else bytes(row.body),
            }
        )
        for row in reader.fetch_all(_JOBS, {"message_id": message_id})
    ]


def _deliveries(reader: Reader, message_id: str) -> list[DeliveryWay]:
    rows = reader.fetch_all(_DELIVERIES, {"message_id": message_id})
    log: dict[str, list[Attempt]] = {row.delivery_id: [] for row in rows}
    # What was taken at once has left no attempts to look for.
    tried = [row.delivery_id for row in rows if row.attempts]
    for row in reader.fetch_all(_ATTEMPTS, {"ids": tried}) if tried else ():
        columns: dict[str, Any] = row._asdict()
        log[columns.pop("delivery_id")].append(Attempt(**columns))
    return [
        DeliveryWay(
            **{
                **row._asdict(),
                "decoder_id": row.decoder_id or None,
                "is_aside": bool(row.is_aside),
                "log": log[row.delivery_id],
            }
        )
        for row in rows
    ]
