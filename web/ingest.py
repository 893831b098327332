"""`POST /api/v1/receive-data?apiKey=...`: where generic HTTP devices hand over their messages.

The hot path. It is reached before any routing, reads headers and query only where it must, and
builds nothing that an accepted message does not need. Whether key and body are acceptable is the
hub's to say. 204 means that the message is durable.
"""

from collections import Counter
from collections.abc import Callable
from datetime import datetime
from functools import partial

from aiohttp import hdrs
from aiohttp.web import BaseRequest, Response, StreamResponse

from protocols.errors import NotFound
from web.answers import CORS_HEADERS, error_answer
from web.body import read_body
from web.error_codes import ErrorCode
from web.errors import Refusal
from web.hub_port import HubPort

INGEST_PATH = "/api/v1/receive-data"
_USUAL_START = f"{INGEST_PATH}?apiKey="
_USUAL_LENGTH = len(_USUAL_START) + 36
IDEMPOTENCY_KEY = "Idempotency-Key"
_ALLOWED_METHODS = "POST, OPTIONS"


class Ingest:
    """`counts` is how many requests were answered with which status, for the metrics."""

    def __init__(
        self,
        hub: HubPort,
        *,
        max_body_bytes: int,
        body_timeout_s: float,
        clock: Callable[[], datetime],
    ) -> None:
        self._accept = hub.accept_http
        self._read = partial(read_body, max_bytes=max_body_bytes, timeout_s=body_timeout_s)
        self._clock = clock
        self.counts: Counter[int] = Counter()

    async def __call__(self, request: BaseRequest) -> StreamResponse:
        try:
            response = await self._take_in(request)
        # The entry of the process: nothing above this could answer the device.
        except Exception as error:
            response = error_answer(request, error, self._clock())
        self.counts[response.status] += 1
        return response

    async def _take_in(self, request: BaseRequest) -> Response:
        if request.method != "POST":
            return _answer_other_method(request)
        headers = request.headers
        body = await self._read(request)
        try:
            await self._accept(
                _api_key(request),
                body,
                headers.get(hdrs.CONTENT_TYPE),
                headers.get(IDEMPOTENCY_KEY),
            )
        except NotFound as exc:
            raise Refusal(
                403,
                ErrorCode.DEVICE_DOES_NOT_EXIST,
                "No device has this apiKey; check it on the device.",
            ) from exc
        if hdrs.ORIGIN in headers:
            return Response(status=204, headers=CORS_HEADERS)
        return Response(status=204)


def _answer_other_method(request: BaseRequest) -> Response:
    if request.method == "OPTIONS":
        allowed = {
            **CORS_HEADERS,
            "Access-Control-Allow-Methods": _ALLOWED_METHODS,
            "Access-Control-Allow-Headers": "Content-Type, Idempotency-Key",
        }
        return Response(status=204, headers=allowed)
    raise Refusal(405, f"{INGEST_PATH} takes POST only.", headers={"Allow": _ALLOWED_METHODS})


def _api_key(request: BaseRequest) -> str:
    """What stands for the key, if only an empty text; the hub says whether it is one."""
    target = request.raw_path
    if len(target) == _USUAL_LENGTH and target.startswith(_USUAL_START) and "%" not in target:
        return target[-36:]
    return request.query.get("apiKey", "")
