"""What an answer over HTTP, or the want of one, means for a delivery.

Texts are written here and never taken from the receiver or from exceptions, which may hold
addresses with secrets in them.
"""

import re
import ssl
from collections.abc import Iterable
from datetime import UTC
from email.utils import parsedate_to_datetime

import aiohttp
from multidict import CIMultiDictProxy

from protocols.errors import DeliveryError, DeliveryRefused, DeliveryRetryable

EXCERPT_BYTES = 1024

_SECONDS = re.compile(r"[0-9]{1,10}")
_REDACTED = "[secret]"

_MEANINGS = {
    400: "it finds the request malformed",
    401: "it wants other credentials",
    403: "it does not allow this",
    404: "there is nothing at this address",
    405: "this address does not take POST",
    408: "it waited too long for the request",
    410: "this address is gone for good",
    415: "it does not take this content type",
    422: "it cannot use the content",
    429: "it wants fewer messages",
    500: "it failed inside",
    502: "a server behind it gave no usable answer",
    503: "it is not available now",
    504: "a server behind it did not answer in time",
}


def error_of_status(
    status_code: int,
    headers: CIMultiDictProxy[str],
    body: bytes,
    *,
    now_s: float,
    secrets: Iterable[str],
) -> DeliveryError:
    """Return the error that an answer with a status outside 200 to 299 amounts to."""
    retry_after = headers.get("Retry-After")
    return (DeliveryRefused if status_code == 413 else DeliveryRetryable)(
        _sentence(status_code),
        status_code=status_code,
        retry_after_s=None if retry_after is None else parse_retry_after_s(retry_after, now_s),
        response_excerpt=_excerpt(headers.get("Content-Encoding"), body, secrets),
    )


def _sentence(status_code: int) -> str:
    if status_code == 413:
        return "The receiver answered 413: the message is larger than it takes."
    if 300 <= status_code < 400:
        return (
            f"The receiver answered {status_code}, which points to another address; "
            "redirects are not followed, so give the data target the final address."
        )
    meaning = _MEANINGS.get(status_code)
    return f"The receiver answered {status_code}{f': {meaning}' if meaning else ''}."


def _excerpt(encoding: str | None, body: bytes, secrets: Iterable[str]) -> str | None:
    if not body:
        return None
    if encoding is not None and encoding.lower() != "identity":
        return "(compressed; not shown)"
    # Redacted before it is cut: half a secret at the edge would not be recognised.
    text = body.decode(errors="replace").replace("\0", "\ufffd")
    for secret in secrets:
        text = text.replace(secret, _REDACTED)
    return text[:EXCERPT_BYTES]


def parse_retry_after_s(value: str, now_s: float) -> float | None:
    """Return the seconds to wait that a `Retry-After` asks for, or None if it makes no sense.

    A date in the past asks for no wait at all.

    Source: RFC 9110, section 10.2.3.
    """
    value = value.strip()
    if _SECONDS.fullmatch(value):
        return float(value)
    try:
        at = parsedate_to_datetime(value)
        # "-0000" reads as naive; HTTP dates are in UTC whatever they say.
        return max(0.0, (at if at.tzinfo else at.replace(tzinfo=UTC)).timestamp() - now_s)
    except (ValueError, OverflowError, TypeError, IndexError):
        return None


def error_of_exception(exc: aiohttp.ClientError | OSError, timeout_s: float) -> DeliveryRetryable:
    """Return the error that a failed exchange amounts to."""
    return DeliveryRetryable(_sentence_of_exception(exc, timeout_s))


def _sentence_of_exception(exc: aiohttp.ClientError | OSError, timeout_s: float) -> str:
    match exc:
        case aiohttp.ConnectionTimeoutError():
            return "No connection to the receiver came about in time."
        case TimeoutError():
            return f"The receiver had not answered completely after {timeout_s:g} s."
        case aiohttp.ClientConnectorDNSError():
            return "The name of the receiver could not be resolved."
        case aiohttp.ClientConnectorCertificateError(certificate_error=certificate_error):
            return f"The receiver's certificate is not accepted{_reason_of(certificate_error)}."
        case aiohttp.ClientConnectorSSLError():
            return "The receiver and the hub could not agree on TLS."
        case aiohttp.ClientConnectorError(os_error=os_error):
            return f"The receiver cannot be reached{_reason_of(os_error)}."
        case aiohttp.ClientPayloadError():
            return "The receiver's answer broke off or contradicts its own headers."
        case aiohttp.ServerDisconnectedError():
            return "The receiver closed the connection instead of answering."
        case aiohttp.ClientResponseError():
            return "What the receiver answered is not acceptable HTTP."
        case aiohttp.InvalidURL():
            return "The address of the receiver cannot be used."
        case OSError():
            return f"The connection to the receiver failed{_reason_of(exc)}."
        case _:
            return "The exchange with the receiver failed."


def _reason_of(exc: BaseException) -> str:
    """Return what the operating system or the TLS library calls it, where that is a fixed text."""
    if isinstance(exc, ssl.SSLCertVerificationError):
        return f": {exc.verify_message}"
    reason = exc.strerror if isinstance(exc, OSError) else None
    return f": {reason}" if reason else ""
