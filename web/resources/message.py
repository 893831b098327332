"""The way of a message: where it is, and how it came there."""

from collections.abc import Mapping
from typing import Any

from storage import message_way
from storage.database import Reader
from storage.message_lists import MessageFilter, MessagePage, list_page
from storage.repositories import EVERYWHERE, devices
from web.access import Needs
from web.call import Call
from web.message_views import View, message_view, summary_view
from web.routing import RouteFamily
from web.schemas.message import MessageListQuery, MessagePageSchema, MessageSchema


async def _get(call: Call) -> View:
    message_id = call.path["id"]
    return message_view(
        await call.read(lambda reader: message_way.find(reader, call.scope, message_id))
    )


async def _list(call: Call) -> Mapping[str, Any]:
    query = call.query
    wanted = MessageFilter(device_id=query["device_id"], since=query["since"], until=query["until"])

    def read(reader: Reader) -> MessagePage:
        # A device that is gone has left messages; one that is elsewhere does not exist here.
        if devices.get_many(reader, EVERYWHERE, [wanted.device_id]):
            devices.get(reader, call.scope, wanted.device_id)
        return list_page(reader, call.scope, wanted, limit=query["limit"], cursor=query["cursor"])

    page = await call.read(read)
    return {"data": [summary_view(row) for row in page.rows], "next_cursor": page.cursor}


_message = RouteFamily("message")

ROUTES = [
    _message.route(
        "GET",
        "",
        _list,
        needs=Needs.READ,
        summary="List the messages of a device, newest first",
        query=MessageListQuery,
        reply=MessagePageSchema,
    ),
    _message.route(
        "GET",
        "/{id:uuid}",
        _get,
        needs=Needs.READ,
        summary="The way of a message: accepted, decoded, delivered, each step with its time",
        reply=MessageSchema,
    ),
]
