"""What a data target has not taken yet: reading it, with or without a lease, and acknowledging it."""

import asyncio
from collections.abc import Mapping
from typing import Any

from aiohttp.web import Response

from protocols.errors import InvalidInput
from storage.database import Reader
from storage.delivery.acknowledgement import Acknowledged, Acknowledgements
from storage.delivery.pull_cursor import PullCursor
from storage.delivery.unacknowledged import COUNTED_TO, Backlog, PullPage, PullQuery, Unacknowledged
from storage.repositories import data_targets
from storage.repositories.data_targets import DataTarget
from web.access import Needs
from web.call import Call
from web.delivery_views import age_s, page_response, unacknowledged_view
from web.errors import Refusal
from web.routing import RouteFamily
from web.schemas.delivery import (
    AcknowledgedSchema,
    AcknowledgementBody,
    UnacknowledgedPage,
    UnacknowledgedQuery,
)

_COUNT_HEADER = "tingbro-unacknowledged"
_AGE_HEADER = "tingbro-oldest-age-seconds"


async def _list(call: Call) -> Response:
    target = await _target(call)
    if call.query["lease"] is not None:
        call.demand(Needs.APPLICATION_ADMIN, target.organization_id)
    waiting = Unacknowledged(call.services.database)
    now = call.services.clock()
    page, backlog = await asyncio.gather(_page(call, waiting), waiting.backlog(call.id, now))
    return await page_response(
        page.items,
        unacknowledged_view,
        cursor=page.cursor.write() if page.items or call.query["cursor"] else None,
        has_more=page.has_more,
        headers=_headers(call, backlog),
    )


async def _page(call: Call, waiting: Unacknowledged) -> PullPage:
    asked = call.query
    given: dict[str, int] = {
        name: asked[name] for name in ("from_at", "to_at") if asked[name] is not None
    }
    query = PullQuery(cursor=_cursor(asked["cursor"]), limit=asked["limit"], **given)
    now = call.services.clock()
    if asked["lease"] is None:
        return await waiting.read(call.id, query, now)
    return await call.in_time(waiting.lease(call.id, query, now, asked["lease"]))


def _headers(call: Call, backlog: Backlog) -> Mapping[str, str]:
    count = str(backlog.count) if backlog.count <= COUNTED_TO else f"{COUNTED_TO}+"
    if backlog.oldest_created_at is None:
        return {_COUNT_HEADER: count}
    age = age_s(backlog.oldest_created_at, call.services.clock())
    return {_COUNT_HEADER: count, _AGE_HEADER: str(age)}


async def _acknowledge(call: Call) -> Mapping[str, Any]:
    target = await _target(call)
    call.demand(Needs.APPLICATION_ADMIN, target.organization_id)
    done = await call.in_time(_settle(call))
    if done.delivery_ids:
        await call.services.hub.deliveries_withdrawn(call.id, done.delivery_ids)
    return {
        "acknowledged": len(done.delivery_ids),
        "already_settled": done.already_settled,
        "not_known": done.unknown,
    }


async def _settle(call: Call) -> Acknowledged:
    acknowledgements = Acknowledgements(call.services.database)
    now = call.services.clock()
    if call.body["ids"] is not None:
        return await acknowledgements.of_deliveries(call.id, call.body["ids"], now)
    return await acknowledgements.up_to(call.id, _cursor(call.body["up_to"]), now)


async def _target(call: Call) -> DataTarget:
    def read(reader: Reader) -> DataTarget:
        return data_targets.get(reader, call.scope, call.id)

    return await call.read(read)


def _cursor(text: str | None) -> PullCursor:
    if text is None:
        return PullCursor.beginning()
    try:
        return PullCursor.parse(text)
    except InvalidInput as exc:
        raise Refusal(400, str(exc)) from exc


_family = RouteFamily("data-target")

ROUTES = [
    _family.route(
        "GET",
        "/{id}/unacknowledged",
        _list,
        needs=Needs.READ,
        summary="List what a data target has not taken, in order; a lease takes the right to change",
        query=UnacknowledgedQuery,
        reply=UnacknowledgedPage,
    ),
    _family.route(
        "POST",
        "/{id}/acknowledge",
        _acknowledge,
        needs=Needs.APPLICATION_ADMIN,
        summary="Take over what was fetched: it is not pushed any more",
        body=AcknowledgementBody,
        reply=AcknowledgedSchema,
    ),
]
