"""Open data: the public feeds that portals harvest, and whether an organization is registered.

The feeds want no login and may be asked by the whole world: see `web/feed_cache.py`.
"""

import asyncio
from collections.abc import Sequence
from functools import partial
from typing import Final

import orjson
from aiohttp import hdrs
from aiohttp.web import Response

from storage.database import Transaction
from storage.open_data import LatestValue, ValueState, latest_values
from storage.repositories import Author, open_data, organizations
from web.access import Needs
from web.call import Action, Call, Change, Changed
from web.dcat import dcat_ap, project_open_data
from web.errors import Refusal
from web.feed_answers import feed_answer, preferred
from web.feed_cache import FeedCache
from web.hub_port import Entity
from web.routing import Route, RouteFamily
from web.schemas.open_data import CatalogFormat, CatalogQuery

_JSON: Final = "application/json"
_JSON_LD: Final = "application/ld+json"
_CONTENT_TYPES: Final = {
    CatalogFormat.JSON: f"{_JSON}; charset=utf-8",
    CatalogFormat.JSON_LD: _JSON_LD,
}
_NO_DATA: Final = b'{"error":"NoData"}'
_LEFT_OUT: Final = "Left out: this share has more data than is given at once"


def routes(cache: FeedCache) -> list[Route]:
    """The feeds' routes over one cache, and those of the registration."""
    return [
        _feed.route(
            "GET",
            "/{organizationId}",
            partial(_catalog, cache=cache),
            needs=Needs.NOTHING,
            summary="What an organization publishes: DCAT in JSON, or DCAT-AP in JSON-LD",
            query=CatalogQuery,
        ),
        _feed.route(
            "GET",
            "/{organizationId}/data/{shareId}",
            partial(_data, cache=cache),
            needs=Needs.NOTHING,
            summary="The latest value of each device of a data set",
        ),
        *_REGISTRATION,
    ]


async def _catalog(call: Call, *, cache: FeedCache) -> Response:
    organization_id = call.path["organizationId"]
    chosen = _format(call)
    describe = dcat_ap if chosen is CatalogFormat.JSON_LD else project_open_data

    async def build() -> bytes:
        found = await call.read(lambda reader: open_data.catalog(reader, organization_id))
        described = partial(describe, found, call.services.settings.base_url)
        return await asyncio.to_thread(lambda: orjson.dumps(described()))

    feed = await cache.get(("catalog", organization_id, chosen), build, call.services.clock())
    return feed_answer(feed, call.headers, content_type=_CONTENT_TYPES[chosen])


async def _data(call: Call, *, cache: FeedCache) -> Response:
    organization_id, share_id = call.path["organizationId"], call.path["shareId"]

    async def build() -> bytes:
        values = await call.read(
            lambda reader: latest_values(reader, open_data.share(reader, organization_id, share_id))
        )
        return await asyncio.to_thread(_as_json, values)

    feed = await cache.get(("data", organization_id, share_id), build, call.services.clock())
    return feed_answer(feed, call.headers, content_type=_CONTENT_TYPES[CatalogFormat.JSON])


def _format(call: Call) -> CatalogFormat:
    wanted = call.query["format"]
    if wanted is not None:
        return CatalogFormat(wanted)
    found = preferred(call.headers.get(hdrs.ACCEPT, ""), (_JSON, _JSON_LD))
    return CatalogFormat.JSON_LD if found == _JSON_LD else CatalogFormat.JSON


def _as_json(values: Sequence[LatestValue]) -> bytes:
    return b"[" + b",".join(map(_element, values)) + b"]" if values else _NO_DATA


def _element(value: LatestValue) -> bytes:
    """What the decoder gave, to the letter; why it gave nothing is not for everyone to read."""
    if value.body is not None:
        return value.body
    if value.state is ValueState.LEFT_OUT:
        return orjson.dumps({"error": _LEFT_OUT})
    return orjson.dumps({"error": f"Could not decode data for device({value.device_id})"})


async def _is_registered(call: Call) -> bool:
    organization_id = call.path["organizationId"]
    found = await call.read(lambda reader: organizations.get(reader, call.scope, organization_id))
    return found.open_data_dk_registered


async def _register(call: Call) -> bool:
    def unit(transaction: Transaction, author: Author) -> Changed[bool]:
        found = organizations.get(transaction, call.scope, call.path["organizationId"])
        organizations.mark_registered(transaction, found.id, author)
        change = Change(
            action=Action.UPDATE,
            entity=Entity.ORGANIZATION,
            entity_id=found.id,
            name=found.name,
            organization_ids=(found.id,),
        )
        return Changed(True, change)

    return await call.change(unit)


async def _send_mail(_call: Call) -> None:
    raise Refusal(
        501,
        "This hub cannot send mail yet: write to info@opendata.dk yourself, with the address of "
        "your catalogue, open-data-dk-sharing/{organizationId}.",
    )


_feed = RouteFamily("open-data-dk-sharing")
_target = RouteFamily("data-target")

_REGISTRATION = [
    _target.route(
        "GET",
        "/getOpenDataDkRegistered/{organizationId}",
        _is_registered,
        needs=Needs.READ,
        summary="Whether Open Data DK has been told of an organization: true or false",
    ),
    _target.route(
        "PUT",
        "/updateOpenDataDkRegistered/{organizationId}",
        _register,
        needs=Needs.APPLICATION_ADMIN,
        summary="Note that Open Data DK has been told of an organization",
    ),
    _target.route(
        "POST",
        "/sendOpenDataDkMail",
        _send_mail,
        needs=Needs.APPLICATION_ADMIN,
        summary="Not available yet: tell Open Data DK of an organization by mail",
    ),
]
