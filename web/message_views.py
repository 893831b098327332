"""The way of a message as the API shows it, and as steps in order of time."""

from collections.abc import Iterator, Mapping
from typing import Any, Final

import orjson

from storage.delivery.deliveries import DeliveryState
from storage.message_lists import MessageSummary
from storage.message_result import JobState
from storage.message_way import Attempt, DeliveryWay, Job, MessageWay, Place

View = Mapping[str, Any]

# What ends a delivery by its first attempt without leaving a row in the log.
_TAKEN: Final = frozenset((DeliveryState.DELIVERED, DeliveryState.UNCONFIRMED))
_UNKNOWN: Final[View] = {
    "status_code": None,
    "duration_ms": None,
    "error_code": None,
    "error": None,
    "response_excerpt": None,
    "next_attempt_at": None,
    "details": None,
    "is_inferred": True,
}
# Steps at the same instant stand in the order in which they can only have happened.
_ACCEPTED, _SETTLED, _CREATED, _ATTEMPTED, _ENDED = range(5)


def message_view(way: MessageWay) -> View:
    """Everything that is known of one message."""
    deliveries = [(one, _attempts(one)) for one in way.deliveries]
    return {
        "id": way.message_id,
        "state": _state(way),
        "received_at": way.received_at,
        "iot_device": {"id": way.device_id, "name": way.device_name},
        "organization_id": way.organization_id,
        "application_id": way.application_id,
        # Verbatim, as the results are: parsing would round what a device has sent.
        "raw_data": orjson.Fragment(way.payload),
        "set_aside": way.set_aside,
        "jobs": [_job(job) for job in way.jobs],
        "deliveries": [_delivery(way, one, attempts) for one, attempts in deliveries],
        "steps": _steps(way, deliveries),
    }


def summary_view(row: MessageSummary) -> View:
    """A message as lists show it."""
    return {
        "id": row.message_id,
        "received_at": row.received_at,
        "size_bytes": row.size_bytes,
        "jobs": [
            {"payload_decoder_id": decoder_id, "state": state} for decoder_id, state in row.jobs
        ],
        "deliveries": row.deliveries,
    }


def _state(way: MessageWay) -> str:
    if way.place is Place.JOURNAL:
        return "pending"
    if way.place is Place.SET_ASIDE:
        return "set_aside"
    if any(job.state == JobState.DEFERRED for job in way.jobs):
        return "deferred"
    if any(one.settled_at is None for one in way.deliveries):
        return "on_its_way"
    return "settled"


def _job(job: Job) -> View:
    return {
        "payload_decoder": _decoder(job.decoder_id, job.decoder_name),
        "decoder_version": job.decoder_version,
        "state": job.state,
        "generation": job.generation,
        "settled_at": job.settled_at,
        "result": None if job.body is None else orjson.Fragment(job.body),
        "warnings": orjson.Fragment(job.warnings or "[]"),
        "error_code": job.error_code,
        "error": job.error,
    }


def _attempts(one: DeliveryWay) -> list[View]:
    """What is in the log; of a first attempt that succeeded, what the delivery itself tells."""
    if not one.log and one.attempts == 1 and one.state in _TAKEN:
        return [{**_UNKNOWN, "attempt": 1, "at": one.settled_at, "state": one.state}]
    return [_attempt(attempt) for attempt in one.log]


def _attempt(attempt: Attempt) -> View:
    return {
        "attempt": attempt.attempt,
        "at": attempt.attempted_at,
        "state": attempt.state,
        "status_code": attempt.status_code,
        "duration_ms": attempt.duration_us / 1_000,
        "error_code": attempt.error_code,
        "error": attempt.error,
        "response_excerpt": attempt.response_excerpt,
        "next_attempt_at": attempt.next_at,
        "details": None if attempt.details is None else orjson.Fragment(attempt.details),
        "is_inferred": False,
    }


def _delivery(way: MessageWay, one: DeliveryWay, attempts: list[View]) -> View:
    return {
        "id": one.delivery_id,
        "data_target": _target(one),
        "payload_decoder": _decoder_of(way, one),
        "state": one.state,
        "generation": one.generation,
        "is_replay": one.generation > 0,
        "created_at": one.created_at,
        "next_attempt_at": one.next_at,
        "expires_at": one.expires_at,
        "settled_at": one.settled_at,
        "attempts": one.attempts,
        "attempt_log": attempts,
        "is_aside": one.is_aside,
        "batch_id": one.batch_id,
        "leased_until": one.leased_until,
    }


def _steps(way: MessageWay, deliveries: list[tuple[DeliveryWay, list[View]]]) -> list[View]:
    steps: list[tuple[int, int, View]] = [(way.received_at, _ACCEPTED, {"step": "accepted"})]
    if way.set_aside is not None:
        refused = {"step": "set_aside", "error": way.set_aside.error}
        steps.append((way.set_aside.at, _SETTLED, refused))
    for job in way.jobs:
        decoder = _decoder(job.decoder_id, job.decoder_name)
        done = {"step": job.state, "payload_decoder": decoder, "error": job.error}
        steps.append((job.settled_at, _SETTLED, done))
    for one, attempts in deliveries:
        header = {
            "delivery_id": one.delivery_id,
            "data_target": _target(one),
            "payload_decoder": _decoder_of(way, one),
        }
        steps += [(at, order, {**header, **step}) for at, order, step in _way_of(one, attempts)]
    # In a stable way: what is at one instant and of one kind stays as it was found.
    steps.sort(key=lambda found: found[:2])
    return [{"at": at, **step} for at, _, step in steps]


def _way_of(one: DeliveryWay, attempts: list[View]) -> Iterator[tuple[int, int, View]]:
    yield one.created_at, _CREATED, {"step": "delivery_created"}
    for attempt in attempts:
        step = {
            "step": "attempt",
            "attempt": attempt["attempt"],
            "state": attempt["state"],
            "status_code": attempt["status_code"],
            "error": attempt["error"],
        }
        yield attempt["at"], _ATTEMPTED, step
    if one.settled_at is not None:
        yield one.settled_at, _ENDED, {"step": one.state}


def _target(one: DeliveryWay) -> View:
    return {"id": one.target_id, "name": one.target_name, "type": one.target_type}


def _decoder(decoder_id: int | None, name: str | None) -> View | None:
    return None if decoder_id is None else {"id": decoder_id, "name": name}


def _decoder_of(way: MessageWay, one: DeliveryWay) -> View | None:
    names = {job.decoder_id: job.decoder_name for job in way.jobs}
    return _decoder(one.decoder_id, names.get(one.decoder_id))
