"""Deliveries and attempts in the API's names, ready for JSON.

Not by way of the schemas, which describe the same: a page has a thousand rows, and payloads that must
come out byte for byte as they are kept.
"""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from functools import lru_cache
from typing import Any, TypeVar

import orjson
from aiohttp.web import Response

from storage.database import Row
from storage.delivery.dead_letters import DeadLetter
from storage.instants import instant
from storage.repositories.attempts import Attempt
from web.answers import json_bytes_response

T = TypeVar("T")
Shown = dict[str, Any]

_CONTENT_TYPE = "application/json"
_EXPIRED = "Its 72 hours were over before it could be delivered."


async def page_response(
    rows: Sequence[T],
    show: Callable[[T], Shown],
    *,
    cursor: str | None,
    has_more: bool,
    headers: Mapping[str, str] | None = None,
) -> Response:
    """`{data, cursor, hasMore}`, made on another thread: a thousand rows take milliseconds."""

    def dump() -> bytes:
        data = [show(row) for row in rows]
        return orjson.dumps({"data": data, "cursor": cursor, "hasMore": has_more})

    return json_bytes_response(await asyncio.to_thread(dump), headers=headers)


def unacknowledged_view(row: Row) -> Shown:
    shown = _delivery_view(row)
    shown["nextAttemptAt"] = _iso(row.next_at)
    shown["leasedUntil"] = _iso(row.leased_until)
    shown["lastError"] = row.last_error
    shown["contentType"] = _CONTENT_TYPE
    shown["payload"] = orjson.Fragment(bytes(row.body))
    return shown


def dead_letter_view(letter: DeadLetter) -> Shown:
    row, last = letter.row, letter.last_attempt
    reason = last.error if last is not None and last.error is not None else None
    if row.state == "expired":
        reason = _EXPIRED if reason is None else f"{_EXPIRED} {reason}"
    return {
        **_delivery_view(row),
        "diedAt": _iso(row.settled_at),
        "reason": reason or "What was answered is not kept any more.",
        "lastAttempt": None if last is None else attempt_view(last),
    }


def dead_letter_detail_view(letter: DeadLetter) -> Shown:
    body = letter.row.body
    return {
        **dead_letter_view(letter),
        "contentType": _CONTENT_TYPE,
        "payload": None if body is None else orjson.Fragment(bytes(body)),
    }


def attempt_view(attempt: Attempt) -> Shown:
    return {
        "id": attempt.id,
        "deliveryId": attempt.delivery_id,
        "messageId": attempt.message_id,
        "attempt": attempt.number,
        "state": attempt.state,
        "at": _iso(attempt.attempted_at),
        "nextAttemptAt": _iso(attempt.next_at),
        "statusCode": attempt.status_code,
        "errorCode": attempt.error_code,
        "error": attempt.error,
        "durationMs": attempt.duration_us / 1000,
        "responseExcerpt": attempt.response_excerpt,
        "exchange": None if attempt.details is None else orjson.Fragment(attempt.details),
        "iotDevice": _named(attempt.device),
        "payloadDecoder": _named(attempt.decoder),
    }


def event_view(row: Row) -> Shown:
    return {
        "id": row.event_id,
        "type": row.type,
        "at": _iso(row.at),
        "body": orjson.Fragment(bytes(row.body)),
    }


def age_s(oldest: int, now: datetime) -> int:
    """Whole seconds from an instant in microseconds UTC until now."""
    return max(0, int((now - instant(oldest)).total_seconds()))


def _delivery_view(row: Row) -> Shown:
    # A device that was deleted has no name any more; an event about the target has no device.
    device = {"id": row.device_id, "name": row.device_name} if row.device_id else None
    return {
        "id": row.delivery_id,
        "messageId": row.message_id,
        "device": device,
        "state": row.state,
        "generation": row.generation,
        "attempts": row.attempts,
        "receivedAt": _iso(row.received_at),
        "createdAt": _iso(row.created_at),
        "expiresAt": _iso(row.expires_at),
    }


def _named(pair: tuple[int, str] | None) -> Shown | None:
    return None if pair is None else {"id": pair[0], "name": pair[1]}


def _iso(us: int | None) -> str | None:
    """As `iso_milliseconds` writes it, in a quarter of the time: a page has four thousand of them."""
    if us is None:
        return None
    second, rest = divmod(us, 1_000_000)
    return f"{_iso_second(second)}{rest // 1000:03d}Z"


@lru_cache(maxsize=4096)
def _iso_second(second: int) -> str:
    """Up to the point: what stands in one page was mostly made within a few seconds."""
    return instant(second * 1_000_000).strftime("%Y-%m-%dT%H:%M:%S.")
