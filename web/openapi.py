"""The OpenAPI document, generated from what validates, and a page to read it with."""

import importlib.resources
from collections.abc import Sequence
from typing import Any

from aiohttp.web import Response
from apispec import APISpec
from apispec.ext.marshmallow import MarshmallowPlugin
from marshmallow import Schema

from protocols.adapters.generic_http import MAX_IDEMPOTENCY_KEY_LENGTH
from web.access import MACHINES, PEOPLE, Needs
from web.answers import json_response
from web.call import Call
from web.ingest import IDEMPOTENCY_KEY, INGEST_PATH
from web.routing import API_ROOT, Route
from web.schemas.fields import Instant

OPENAPI_VERSION = "3.0.3"
_TAG = "documentation"
_DESCRIPTION = (
    "Log in at `auth/login` and send the token as `Authorization: Bearer`, or make an API key and "
    "send it as `X-API-KEY`. Paths are matched without regard to case."
)
_ERRORS = {
    400: "The request does not fit; `message` is a code, a sentence or a list of fields.",
    401: "Nobody is logged in.",
    403: "Not allowed.",
    404: "There is no such thing, or none that the caller may know of.",
    503: "Not now; see Retry-After.",
}


def routes(described: Sequence[Route], *, version: str) -> list[Route]:
    """The routes of the documentation over the routes that it describes."""
    documents: list[dict[str, Any]] = []

    async def show_document(_call: Call) -> Response:
        # Made when it is first asked for: no start needs it.
        if not documents:
            documents.append(build_document(described, version=version))
        return json_response(documents[0], status=200)

    return [
        _route(f"{API_ROOT}/docs-json", show_document, "This document"),
        _route(f"{API_ROOT}/openapi.json", show_document, "This document"),
        _route(f"{API_ROOT}/docs", _show_page, "A page to read it with"),
    ]


def build_document(described: Sequence[Route], *, version: str) -> dict[str, Any]:
    """The OpenAPI document over those routes."""
    plugin = MarshmallowPlugin(schema_name_resolver=_name_of)
    spec = APISpec(
        title="Tingbro",
        version=version,
        openapi_version=OPENAPI_VERSION,
        info={"description": _DESCRIPTION},
        plugins=[plugin],
    )
    plugin.map_to_openapi_type(Instant, "string", "date-time")  # type: ignore[no-untyped-call]  # apispec declares no types there
    spec.components.security_scheme("bearer", {"type": "http", "scheme": "bearer"})
    spec.components.security_scheme(
        "apiKey", {"type": "apiKey", "in": "header", "name": "X-API-KEY"}
    )
    spec.components.schema("Error", _error_schema())
    spec.path(path=INGEST_PATH, operations={"post": _ingest_operation()})
    for route in described:
        path = _path_of(route)
        spec.path(path=path, operations={route.method.lower(): _operation(route)})
    document: dict[str, Any] = spec.to_dict()
    return document


def _operation(route: Route) -> dict[str, Any]:
    operation: dict[str, Any] = {
        "summary": route.summary,
        "tags": [route.tag],
        "security": _security(route),
        "responses": {str(route.status): _reply(route), **_errors(route)},
    }
    parameters = _path_parameters(route)
    if route.query is not None:
        parameters.append({"in": "query", "schema": route.query})
    if parameters:
        operation["parameters"] = parameters
    if route.body is not None:
        operation["requestBody"] = {
            "required": route.is_body_required,
            "content": {"application/json": {"schema": route.body}},
        }
    if route.needs not in (Needs.NOTHING, Needs.SIGNED_IN):
        operation["description"] = f"Needs the permission {route.needs}."
    return operation


def _reply(route: Route) -> dict[str, Any]:
    reply: dict[str, Any] = {"description": "Done."}
    if route.reply is not None:
        schema: Any = route.reply
        if route.is_reply_list:
            schema = {"type": "array", "items": route.reply}
        reply["content"] = {"application/json": {"schema": schema}}
    return reply


def _errors(route: Route) -> dict[str, Any]:
    codes = [400, 503] if route.needs is Needs.NOTHING else sorted(_ERRORS)
    return {
        str(code): {
            "description": _ERRORS[code],
            "content": {"application/json": {"schema": "Error"}},
        }
        for code in codes
    }


def _path_of(route: Route) -> str:
    path = route.path.replace("*}", "}").replace(":uuid}", "}")
    return f"{path}/restart" if route.method == "POST" and path != route.path else path


def _path_parameters(route: Route) -> list[dict[str, Any]]:
    declared = [part.strip("{}*") for part in route.path.split("/") if part.startswith("{")]
    return [
        {"in": "path", "name": name, "required": True, "schema": _path_schema(name, kind)}
        for name, _, kind in (one.partition(":") for one in declared)
    ]


def _path_schema(name: str, kind: str) -> dict[str, Any]:
    if kind:
        return {"type": "string", "format": kind}
    return {"type": "string"} if name == "path" else {"type": "integer", "minimum": 1}


def _security(route: Route) -> list[dict[str, list[str]]]:
    if route.needs is Needs.NOTHING:
        return []
    schemes: list[dict[str, list[str]]] = []
    if route.kinds & PEOPLE:
        schemes.append({"bearer": []})
    if route.kinds & MACHINES:
        schemes.append({"apiKey": []})
    return schemes


def _ingest_operation() -> dict[str, Any]:
    return {
        "summary": "Hand over a message as a generic HTTP device; 204 means that it is safe",
        "tags": ["receive-data"],
        "security": [],
        "parameters": [
            {
                "in": "query",
                "name": "apiKey",
                "required": True,
                "description": "the device's own key, as the device shows it",
                "schema": {"type": "string", "format": "uuid"},
            },
            {
                "in": "header",
                "name": IDEMPOTENCY_KEY,
                "description": "names the message: sent again within a day, it is kept once",
                "schema": {"type": "string", "maxLength": MAX_IDEMPOTENCY_KEY_LENGTH},
            },
        ],
        "requestBody": {
            "required": True,
            "content": {"application/json": {"schema": {}}},
        },
        "responses": {
            "204": {"description": "Taken in, and on the disk."},
            "400": {"description": "Not acceptable JSON."},
            "403": {"description": "No device has this key."},
            "408": {"description": "The body did not arrive in time."},
            "413": {"description": "Too large."},
            "415": {"description": "Not JSON."},
            "503": {"description": "The hub is full; see Retry-After."},
        },
    }


def _error_schema() -> dict[str, Any]:
    return {
        "type": "object",
        "properties": {
            "statusCode": {"type": "integer"},
            "message": {},
            "error": {"type": "string"},
            "detail": {"type": "string"},
            "errorId": {"type": "string"},
        },
    }


def _name_of(schema: type[Schema] | Schema | str) -> str:
    found = schema if isinstance(schema, str) else getattr(schema, "__name__", "")
    name = found or type(schema).__name__
    return name.removesuffix("Schema")


async def _show_page(_call: Call) -> Response:
    page = importlib.resources.files("web").joinpath("static/docs.html").read_bytes()
    return Response(
        body=page,
        content_type="text/html",
        charset="utf-8",
        headers={
            "Content-Security-Policy": (
                "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; "
                "connect-src 'self'"
            )
        },
    )


def _route(path: str, handler: Any, summary: str) -> Route:
    return Route(
        method="GET",
        path=path,
        needs=Needs.NOTHING,
        handler=handler,
        summary=summary,
        tag=_TAG,
    )
