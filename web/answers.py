"""Answers on the wire: JSON, errors in their shapes, and failures that give nothing away."""

import uuid
from collections.abc import Mapping
from datetime import datetime

import orjson
import structlog
from aiohttp import hdrs
from aiohttp.web import BaseRequest, ContentCoding, Response

from protocols.errors import TingbroError
from web.errors import ErrorAnswer, answer_of
from web.events import REQUEST_FAIL

_log = structlog.get_logger()

# Below this, compressing costs more than sending.
_COMPRESS_FROM_BYTES = 8 * 1024
# From here on it would hold up the loop for milliseconds.
_COMPRESS_ELSEWHERE_FROM_BYTES = 32 * 1024
_AUTH_PATH = "/api/v1/auth/"
CORS_HEADERS = {"Access-Control-Allow-Origin": "*"}


def json_answer(
    request: BaseRequest,
    body: object,
    *,
    status: int = 200,
    headers: Mapping[str, str] | None = None,
) -> Response:
    """`body` as JSON, compressed when it is large and the client can take that."""
    return bytes_answer(request, orjson.dumps(body), status=status, headers=headers)


def json_response(body: object, *, status: int) -> Response:
    """A small answer of a handler's own."""
    return Response(body=orjson.dumps(body), status=status, content_type="application/json")


def json_bytes_response(body: bytes, *, headers: Mapping[str, str] | None = None) -> Response:
    """An answer of a handler's own that is JSON already."""
    return Response(body=body, content_type="application/json", headers=headers)


def bytes_answer(
    request: BaseRequest,
    body: bytes,
    *,
    status: int = 200,
    content_type: str = "application/json; charset=utf-8",
    headers: Mapping[str, str] | None = None,
) -> Response:
    response = Response(
        body=body,
        status=status,
        headers={**CORS_HEADERS, **(headers or {}), hdrs.CONTENT_TYPE: content_type},
        zlib_executor_size=_COMPRESS_ELSEWHERE_FROM_BYTES,
    )
    if len(body) >= _COMPRESS_FROM_BYTES:
        response.headers[hdrs.VARY] = hdrs.ACCEPT_ENCODING
        if "gzip" in request.headers.get(hdrs.ACCEPT_ENCODING, "").lower():
            response.enable_compression(ContentCoding.gzip)
    return response


def error_answer(request: BaseRequest, error: Exception, now: datetime) -> Response:
    """The answer to whatever went wrong. What nobody foresaw is logged and answered with an id."""
    answer = answer_of(error) if isinstance(error, TingbroError) else None
    if answer is None:
        return _failure(request, error, now)
    return _shaped(request, answer, now)


def _failure(request: BaseRequest, error: Exception, now: datetime) -> Response:
    error_id = str(uuid.uuid4())
    _log.error(
        REQUEST_FAIL,
        error_id=error_id,
        method=request.method,
        path=request.path,
        exc_info=error,
    )
    answer = ErrorAnswer(status=500, message="Internal server error")
    return _shaped(request, answer, now, {"errorId": error_id})


def _shaped(
    request: BaseRequest,
    answer: ErrorAnswer,
    now: datetime,
    more: Mapping[str, object] | None = None,
) -> Response:
    body: dict[str, object] = answer.body()
    if request.path.lower().startswith(_AUTH_PATH):
        body = {
            "statusCode": answer.status,
            "timestamp": iso_milliseconds(now),
            "path": request.path,
        }
    response = json_answer(
        request, {**body, **(more or {})}, status=answer.status, headers=answer.headers
    )
    if answer.headers.get(hdrs.CONNECTION, "").lower() == "close":
        response.force_close()
    return response


def iso_milliseconds(at: datetime) -> str:
    """`2026-01-02T03:04:05.678Z`: clients need the fraction, also when it is zero."""
    return at.strftime("%Y-%m-%dT%H:%M:%S.") + f"{at.microsecond // 1000:03d}Z"
