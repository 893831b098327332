"""What became of a data target's deliveries: dead letters, the log of attempts, and events."""

from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import orjson
from aiohttp.web import Response

from storage.database import Reader
from storage.delivery import dead_letters
from storage.delivery.dead_letters import DeadLetter, DeadLetterQuery
from storage.repositories import attempts, data_targets, target_events
from web.access import Needs
from web.answers import json_bytes_response
from web.call import Call
from web.delivery_views import (
    Shown,
    attempt_view,
    dead_letter_detail_view,
    dead_letter_view,
    event_view,
    page_response,
)
from web.routing import RouteFamily
from web.schemas.delivery import (
    AttemptPage,
    AttemptQuery,
    DeadLetterDetailSchema,
    DeadLetterPage,
    DeadLetterQuerySchema,
    TargetEventPage,
    TargetEventQuery,
)

T = TypeVar("T")


async def _dead_letters(call: Call) -> Response:
    asked = call.query
    given: dict[str, int] = {
        name: asked[name] for name in ("from_at", "to_at", "device_id") if asked[name] is not None
    }
    query = DeadLetterQuery(
        # One more than is shown tells whether there are more.
        limit=asked["limit"] + 1,
        before_id=asked["cursor"],
        states=asked["state"],
        **given,
    )
    return await _page(
        call,
        lambda reader: dead_letters.list_page(reader, call.id, query),
        dead_letter_view,
        lambda letter: str(letter.row.delivery_id),
    )


async def _dead_letter(call: Call) -> Response:
    def read(reader: Reader) -> DeadLetter:
        data_targets.get(reader, call.scope, call.id)
        return dead_letters.get(reader, call.id, str(call.path["delivery"]))

    letter = await call.read(read)
    return json_bytes_response(orjson.dumps(dead_letter_detail_view(letter)))


async def _attempts(call: Call) -> Response:
    return await _page(
        call,
        lambda reader: attempts.list_of_target(
            reader,
            call.id,
            before_id=call.query["cursor"],
            limit=call.query["limit"] + 1,
            delivery_id=call.query["delivery_id"],
        ),
        attempt_view,
        lambda attempt: str(attempt.id),
    )


async def _events(call: Call) -> Response:
    return await _page(
        call,
        lambda reader: target_events.list_of_target(
            reader, call.id, before_id=call.query["cursor"], limit=call.query["limit"] + 1
        ),
        event_view,
        lambda row: str(row.event_id),
    )


async def _page(
    call: Call,
    fetch: Callable[[Reader], Sequence[T]],
    show: Callable[[T], Shown],
    place: Callable[[T], str],
) -> Response:
    """Answer what `fetch` finds, of which the last row only tells whether there is more."""

    def read(reader: Reader) -> Sequence[T]:
        data_targets.get(reader, call.scope, call.id)
        return fetch(reader)

    rows = await call.read(read)
    shown = rows[: call.query["limit"]]
    asked = call.query["cursor"]
    cursor = place(shown[-1]) if shown else asked and str(asked)
    return await page_response(shown, show, cursor=cursor, has_more=len(rows) > len(shown))


_family = RouteFamily("data-target")


def _list_route(path: str, handler: Callable[[Call], Any], summary: str, **more: Any) -> Any:
    return _family.route("GET", path, handler, needs=Needs.READ, summary=summary, **more)


ROUTES = [
    _list_route(
        "/{id}/dead-letters",
        _dead_letters,
        "List deliveries that were given up, newest first",
        query=DeadLetterQuerySchema,
        reply=DeadLetterPage,
    ),
    _list_route(
        "/{id}/dead-letters/{delivery:uuid}",
        _dead_letter,
        "Get a delivery that was given up, with its payload",
        reply=DeadLetterDetailSchema,
    ),
    _list_route(
        "/{id}/attempts",
        _attempts,
        "List attempts, newest first; a first attempt that succeeds leaves none",
        query=AttemptQuery,
        reply=AttemptPage,
    ),
    _list_route(
        "/{id}/events",
        _events,
        "List what befell a data target, newest first",
        query=TargetEventQuery,
        reply=TargetEventPage,
    ),
]
