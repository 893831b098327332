"""From a request to its handler and back: the only way to a handler there is.

In this order: find the route; find out who calls and whether that caller has any business there;
read and validate query and body; call; shape the answer. So nobody learns what a body should look
like, or has one read, who is not let in.
"""

import asyncio
import time
from collections.abc import Mapping
from typing import Any

import orjson
from aiohttp import hdrs
from aiohttp.web import BaseRequest, Response, StreamResponse
from marshmallow import Schema, ValidationError

from web.access import ANONYMOUS, Caller, Needs, admit
from web.answers import CORS_HEADERS, bytes_answer, error_answer
from web.authentication import Authenticator
from web.body import read_body
from web.call import Call
from web.client_address import client_address
from web.errors import FieldsInvalid, Refusal
from web.ingest import INGEST_PATH, Ingest
from web.metrics import ApiMetrics
from web.routing import Match, Route, RouteTable
from web.services import Services

_UNKNOWN_ROUTE = "unknown"


class Dispatcher:
    def __init__(
        self,
        *,
        services: Services,
        table: RouteTable,
        authenticator: Authenticator,
        ingest: Ingest,
        metrics: ApiMetrics,
    ) -> None:
        self._services = services
        self._table = table
        self._authenticator = authenticator
        self._ingest = ingest
        self._metrics = metrics
        # A schema is made once: making one costs more than using it.
        self._schemas: dict[type[Schema], Schema] = {}

    async def __call__(self, request: BaseRequest) -> StreamResponse:
        # First, and on the raw text: the hot path pays for nothing else here.
        if request.raw_path.startswith(INGEST_PATH) and request.path == INGEST_PATH:
            return await self._ingest(request)
        return await self._answer(request)

    async def _answer(self, request: BaseRequest) -> StreamResponse:
        started_s = time.perf_counter()
        route_name = _UNKNOWN_ROUTE
        try:
            if request.path.rstrip("/").lower() == INGEST_PATH:
                return await self._ingest(request)
            if request.method == "OPTIONS":
                return self._preflight(request)
            match = self._table.match(request.method, request.path)
            route_name = match.route.path
            response = await self._serve(request, match)
        # The entry of the process: nothing above this could answer the caller.
        except Exception as error:
            response = error_answer(request, error, self._services.clock())
        self._metrics.observe(
            request.method, route_name, response.status, time.perf_counter() - started_s
        )
        return response

    async def _serve(self, request: BaseRequest, match: Match) -> StreamResponse:
        route = match.route
        caller = await self._admit(request, route)
        call = Call(
            services=self._services,
            caller=caller,
            needs=route.needs,
            address=client_address(request, self._services.settings.trusted_proxies),
            path=match.parameters,
            query=self._query(request, route),
            body=await self._body(request, route),
            headers=request.headers,
        )
        result = await route.handler(call)
        if isinstance(result, StreamResponse):
            result.headers.update(CORS_HEADERS)
            return result
        return bytes_answer(request, await self._dump(route, result), status=route.status)

    async def _dump(self, route: Route, result: Any) -> bytes:
        schema = None if route.reply is None else self._schema(route.reply)

        def dump() -> bytes:
            shaped = schema.dump(result, many=route.is_reply_list) if schema else result
            return orjson.dumps(shaped)

        # A row takes some 50 microseconds, and a list may have thousands: not on the loop.
        is_list = route.is_reply_list or (isinstance(result, Mapping) and "data" in result)
        return await asyncio.to_thread(dump) if is_list else dump()

    async def _admit(self, request: BaseRequest, route: Route) -> Caller:
        if route.needs is Needs.NOTHING:
            return ANONYMOUS
        caller = await self._authenticator.authenticate(request.headers)
        admit(caller, route.needs, route.kinds)
        return caller

    def _query(self, request: BaseRequest, route: Route) -> Mapping[str, Any]:
        if route.query is None:
            return {}
        return self._load(route.query, dict(request.query))

    async def _body(self, request: BaseRequest, route: Route) -> Mapping[str, Any]:
        if route.body is None:
            return {}
        settings = self._services.settings
        raw = await read_body(
            request, max_bytes=settings.max_body_bytes, timeout_s=settings.body_timeout_s
        )
        if not raw and not route.is_body_required:
            return self._load(route.body, {})
        return self._load(route.body, _parse(raw, request.headers.get(hdrs.CONTENT_TYPE)))

    def _load(self, schema: type[Schema], data: Any) -> Mapping[str, Any]:
        try:
            loaded: Mapping[str, Any] = self._schema(schema).load(data)
        except ValidationError as exc:
            # Its text repeats nothing that was sent, but its cause holds all of it.
            raise FieldsInvalid(exc) from None
        return loaded

    def _schema(self, schema: type[Schema]) -> Schema:
        found = self._schemas.get(schema)
        if found is None:
            found = self._schemas[schema] = schema()
        return found

    def _preflight(self, request: BaseRequest) -> Response:
        methods = self._table.methods_of(request.path)
        if not methods:
            raise Refusal(404, f"Cannot OPTIONS {request.path}")
        return Response(
            status=204,
            headers={
                **CORS_HEADERS,
                "Allow": ", ".join([*methods, "OPTIONS"]),
                "Access-Control-Allow-Methods": ", ".join(methods),
                "Access-Control-Allow-Headers": "Authorization, Content-Type, X-API-KEY",
                "Access-Control-Max-Age": "600",
            },
        )


def _parse(raw: bytes, content_type: str | None) -> Any:
    media_type = (content_type or "application/json").partition(";")[0].strip().lower()
    if media_type != "application/json":
        raise Refusal(415, "Send JSON, with Content-Type: application/json.")
    try:
        return orjson.loads(raw)
    except orjson.JSONDecodeError as exc:
        raise Refusal(400, f"The body is not JSON from character {exc.pos + 1} on.") from None
