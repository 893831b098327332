"""`POST /api/v1/receive-data?apiKey=...`: where generic HTTP devices hand over their messages.

The hot path. It is reached before any routing, reads headers and query only where it must, and
builds nothing that an accepted message does not need. 204 means that the message is durable.
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
# RFC 9110 sets no limit; a key is there to be compared and kept, so it has one.
_LONGEST_IDEMPOTENCY_KEY = 255
_ALLOWED_METHODS = "POST, OPTIONS"
_JSON = "application/json"


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
        content_type = headers.get(hdrs.CONTENT_TYPE)
        if content_type != _JSON and content_type is not None:
            _demand_json(content_type)
        api_key = _api_key(request)
        if api_key is None:
            raise _unknown_device()
        idempotency_key = headers.get("Idempotency-Key")
        if idempotency_key is not None:
            _check_idempotency_key(idempotency_key)
        body = await self._read(request)
        try:
            await self._accept(api_key, body, content_type, idempotency_key)
        except NotFound as exc:
            raise _unknown_device() from exc
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
    raise Refusal(
        405, f"{INGEST_PATH} takes POST only.", headers={"Allow": _ALLOWED_METHODS}
    )


def _api_key(request: BaseRequest) -> str | None:
    """The key, lower-case, or None when what stands there cannot be one."""
    target = request.raw_path
    if len(target) == _USUAL_LENGTH and target.startswith(_USUAL_START):
        api_key = target[-36:]
    else:
        api_key = request.query.get("apiKey", "")
    is_possible = len(api_key) == 36 and api_key.isascii() and "%" not in api_key
    return api_key.lower() if is_possible else None


def _demand_json(content_type: str) -> None:
    media_type = content_type.partition(";")[0].strip().lower()
    if media_type != _JSON and not (
        media_type.startswith("application/") and media_type.endswith("+json")
    ):
        raise Refusal(
            415, f"Messages are taken as JSON only: send them with Content-Type: {_JSON}."
        )


def _check_idempotency_key(key: str) -> None:
    if not 0 < len(key) <= _LONGEST_IDEMPOTENCY_KEY:
        raise Refusal(
            400, f"Idempotency-Key must be 1 to {_LONGEST_IDEMPOTENCY_KEY} characters long."
        )


def _unknown_device() -> Refusal:
    return Refusal(
        403, ErrorCode.DEVICE_DOES_NOT_EXIST, "No device has this apiKey; check it on the device."
    )
