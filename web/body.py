"""Reading a request's body: no longer than allowed, not for longer than allowed."""

import asyncio

from aiohttp import ClientError, hdrs
from aiohttp.http_exceptions import HttpProcessingError
from aiohttp.web import BaseRequest, RequestPayloadError

from web.errors import Refusal

_CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"
# Clients that wait for it send what they have after about a second anyway.
_EXPECTATION = "100-continue"


async def read_body(request: BaseRequest, *, max_bytes: int, timeout_s: float) -> bytes:
    """Return the body.

    Raises:
        Refusal: 413 too large, by its own account or once that much has come; 408 too slow; 400
            broken off or malformed; 415 compressed.
    """
    length = request.content_length
    if length is not None and length > max_bytes:
        raise _too_large(max_bytes)
    if request.headers.get(hdrs.CONTENT_ENCODING, "identity").lower() != "identity":
        raise Refusal(415, "Compressed bodies are not accepted here; send it as it is.")
    content = request.content
    try:
        if content.is_eof():
            # All of it came together with the head, as small bodies do: no timer, no waiting.
            body = content.read_nowait()
            if len(body) > max_bytes:
                raise _too_large(max_bytes)
            return body
        async with asyncio.timeout(timeout_s):
            return await _read_slowly(request, max_bytes)
    except TimeoutError as exc:
        raise Refusal(
            408, "The body did not arrive in time.", headers={"Connection": "close"}
        ) from exc
    except (RequestPayloadError, ClientError, HttpProcessingError, ConnectionError) as exc:
        raise Refusal(400, "The body broke off.", headers={"Connection": "close"}) from exc


async def _read_slowly(request: BaseRequest, max_bytes: int) -> bytes:
    if request.headers.get(hdrs.EXPECT, "").lower() == _EXPECTATION:
        await request.writer.write(_CONTINUE)
        # What we have written is not the answer: its head is still to come.
        request.writer.output_size = 0
    body = bytearray()
    while chunk := await request.content.readany():
        body += chunk
        if len(body) > max_bytes:
            raise _too_large(max_bytes)
    return bytes(body)


def _too_large(max_bytes: int) -> Refusal:
    return Refusal(
        413,
        f"The body is larger than {max_bytes} bytes.",
        # Nothing of the rest will be read.
        headers={"Connection": "close"},
    )
