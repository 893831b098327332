"""What an answer over HTTP, or the want of one, means for a delivery.

Texts are written here and never taken from the receiver or from exceptions, which may hold
addresses with secrets in them. What is shown of an answer has gone through here too.
"""

import re
import ssl
from collections.abc import Iterable, Mapping
from datetime import UTC
from email.utils import parsedate_to_datetime
from typing import Final

import aiohttp
from multidict import CIMultiDictProxy, istr
from yarl import URL

from protocols.errors import DeliveryError, DeliveryFault, DeliveryRefused, DeliveryRetryable

EXCERPT_CHARACTERS: Final = 1024
_HEADER_CHARACTERS: Final = 200
# Of a request; a message holds no secret of its target, and one that asks for a token is far shorter.
_REQUEST_BYTES: Final = 16 * 1024

# The receiver's own word on what is to become of the message or of the target.
# Source: Svix, whose receivers know it; Standard Webhooks 1.0.0 has nothing in its place.
CONTROL: Final = istr("webhook-delivery")
DISABLE: Final = "disable"
ABORT_MESSAGE: Final = "abort-message"

_SECONDS = re.compile(r"[0-9]{1,10}")
_SCHEME = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]{1,40}")
_REDACTED = "[secret]"

_SHOWN_HEADERS = (
    "content-type",
    "content-length",
    "content-encoding",
    "retry-after",
    "server",
    "date",
    "webhook-delivery",
)

_MEANINGS = {
    400: "it finds the request malformed",
    401: "it wants other credentials",
    403: "it does not allow this",
    404: "there is nothing at this address",
    405: "this address does not take POST",
    408: "it waited too long for the request",
    410: "this address is gone for good",
    413: "the message is larger than it takes",
    415: "it does not take this content type",
    422: "it cannot use the content",
    429: "it wants fewer messages",
    500: "it failed inside",
    502: "a server behind it gave no usable answer",
    503: "it is not available now",
    504: "a server behind it did not answer in time",
}

# 405 and 415 are not in the specification's list, and are as much a matter of address and form as
# 404 and 422: nobody but the owner of the target can end them.
_FAULTS = {
    400: DeliveryFault.CONFIGURATION,
    401: DeliveryFault.CONFIGURATION,
    403: DeliveryFault.CONFIGURATION,
    404: DeliveryFault.CONFIGURATION,
    405: DeliveryFault.CONFIGURATION,
    410: DeliveryFault.GONE,
    413: DeliveryFault.MESSAGE,
    415: DeliveryFault.CONFIGURATION,
    422: DeliveryFault.CONFIGURATION,
    429: DeliveryFault.THROTTLED,
    502: DeliveryFault.THROTTLED,
    504: DeliveryFault.THROTTLED,
}


def error_of_answer(
    status_code: int,
    headers: CIMultiDictProxy[str],
    body: bytes,
    *,
    now_s: float,
    secrets: Iterable[str],
) -> DeliveryError:
    """Return the error that an answer amounts to: one with a status outside 200 to 299, or any in
    which the receiver asks to be left alone."""
    kind, fault, sentence = _verdict(status_code, headers)
    retry_after = headers.get("Retry-After")
    return kind(
        sentence,
        fault=fault,
        status_code=status_code,
        retry_after_s=None if retry_after is None else parse_retry_after_s(retry_after, now_s),
        response_excerpt=excerpt_of(headers, body, secrets),
    )


def _verdict(
    status_code: int, headers: CIMultiDictProxy[str]
) -> tuple[type[DeliveryError], DeliveryFault, str]:
    answered = f"The receiver answered {status_code}"
    control = headers.get(CONTROL)
    if control == DISABLE:
        sentence = f"{answered} and asked for no further deliveries."
        return DeliveryRetryable, DeliveryFault.GONE, sentence
    if control == ABORT_MESSAGE:
        sentence = f"{answered} and asked not to be sent this message again."
        return DeliveryRefused, DeliveryFault.MESSAGE, sentence
    if 300 <= status_code < 400:
        return (
            DeliveryRetryable,
            DeliveryFault.CONFIGURATION,
            f"{answered}, which points to another address; redirects are not followed, "
            "so give the data target the final address.",
        )
    meaning = _MEANINGS.get(status_code)
    return (
        DeliveryRefused if status_code == 413 else DeliveryRetryable,
        _FAULTS.get(status_code, DeliveryFault.RECEIVER),
        f"{answered}{f': {meaning}' if meaning else ''}.",
    )


def excerpt_of(headers: CIMultiDictProxy[str], body: bytes, secrets: Iterable[str]) -> str | None:
    """Return the start of an answer's body as text, or None if it has none."""
    if not body:
        return None
    if headers.get("Content-Encoding", "identity").lower() != "identity":
        return "(compressed; not shown)"
    # Redacted before it is cut: half a secret at the edge would not be recognised.
    text = body.decode(errors="replace").replace("\0", "\ufffd")
    return redacted(text, secrets)[:EXCERPT_CHARACTERS]


def shown_headers(headers: CIMultiDictProxy[str], secrets: Iterable[str]) -> dict[str, str]:
    """Return those headers of an answer that help to understand it."""
    shown = {name: headers[name] for name in _SHOWN_HEADERS if name in headers}
    if (location := headers.get("Location")) is not None:
        shown["location"] = _without_query(location)
    # A challenge may hold what is meant for one side only; its first word says what is wanted.
    if scheme := _SCHEME.match(headers.get("WWW-Authenticate", "")):
        shown["www-authenticate"] = scheme[0]
    return {name: redacted(value, secrets)[:_HEADER_CHARACTERS] for name, value in shown.items()}


def shown_request(
    headers: Mapping[istr, str], body: bytes, secrets: Iterable[str]
) -> tuple[dict[str, str], str]:
    """Return a request's headers and the start of its body, with what is secret replaced."""
    secrets = tuple(secrets)
    shown = {
        str(name): _REDACTED if name.lower() == "authorization" else redacted(value, secrets)
        for name, value in headers.items()
    }
    start = body[:_REQUEST_BYTES].decode(errors="replace")
    return shown, redacted(start, secrets)


def _without_query(location: str) -> str:
    try:
        return str(URL(location).with_query(None).with_user(None))
    except ValueError:
        return "(not an address)"


def redacted(text: str, secrets: Iterable[str]) -> str:
    """Return `text` without `secrets`, of which the longest come first."""
    for secret in secrets:
        text = text.replace(secret, _REDACTED)
    return text


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


def error_of_exception(
    exc: aiohttp.ClientError | OSError, *, timeout_s: float, was_connected: bool
) -> DeliveryError:
    """Return the error that a failed exchange amounts to."""
    if isinstance(exc, aiohttp.InvalidURL | aiohttp.NonHttpUrlClientError):
        return DeliveryRefused(
            "The address of the receiver cannot be used.", fault=DeliveryFault.MESSAGE
        )
    if isinstance(exc, TimeoutError) and not was_connected:
        return DeliveryRetryable(
            "No connection to the receiver came about in time.", fault=DeliveryFault.CONNECTION
        )
    fault, sentence = _meaning_of_exception(exc, timeout_s)
    return DeliveryRetryable(sentence, fault=fault)


def _meaning_of_exception(
    exc: aiohttp.ClientError | OSError, timeout_s: float
) -> tuple[DeliveryFault, str]:
    fault = DeliveryFault
    match exc:
        case TimeoutError():
            return (
                fault.THROTTLED,
                f"The receiver had not answered completely after {timeout_s:g} s.",
            )
        case aiohttp.ClientConnectorCertificateError(certificate_error=certificate_error):
            return (
                fault.CONFIGURATION,
                f"The receiver's certificate is not accepted{_reason_of(certificate_error)}.",
            )
        case aiohttp.ClientConnectorSSLError():
            return fault.CONFIGURATION, "The receiver and the hub could not agree on TLS."
        case aiohttp.ClientConnectorError(os_error=os_error):
            return fault.CONNECTION, f"The receiver cannot be reached{_reason_of(os_error)}."
        case aiohttp.ClientPayloadError():
            return (
                fault.RECEIVER,
                "The receiver's answer broke off or contradicts its own headers.",
            )
        case aiohttp.ServerDisconnectedError():
            return fault.RECEIVER, "The receiver closed the connection instead of answering."
        case aiohttp.ClientResponseError():
            return fault.RECEIVER, "What the receiver answered is not acceptable HTTP."
        case OSError():
            return fault.RECEIVER, f"The connection to the receiver failed{_reason_of(exc)}."
        case _:
            return fault.RECEIVER, "The exchange with the receiver failed."


def _reason_of(exc: BaseException) -> str:
    """Return what the operating system or the TLS library calls it, where that is a fixed text."""
    if isinstance(exc, ssl.SSLCertVerificationError):
        return f": {exc.verify_message}"
    reason = exc.strerror if isinstance(exc, OSError) else None
    return f": {reason}" if reason else ""
