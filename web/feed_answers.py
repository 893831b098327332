"""How a public feed is answered: conditionally, compressed, and with leave to keep it for a while.

Source: RFC 9110, sections 8.8 (validators), 12.5.1 (Accept) and 13.1 (conditional requests).
"""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from email.utils import format_datetime, parsedate_to_datetime
from typing import Final

from aiohttp import hdrs
from aiohttp.web import Response

from web.feed_cache import LIFETIME, Feed

_CACHE_CONTROL: Final = f"public, max-age={int(LIFETIME.total_seconds())}"


def feed_answer(feed: Feed, headers: Mapping[str, str], *, content_type: str) -> Response:
    """The answer to a request with these headers: the feed, or 304 to who has it already."""
    changed_at = feed.changed_at.replace(microsecond=0)
    # Weak: the same tag stands for what is compressed and what is not.
    tag = f'W/"{feed.tag}"'
    answer_headers = {
        hdrs.CACHE_CONTROL: _CACHE_CONTROL,
        hdrs.ETAG: tag,
        hdrs.LAST_MODIFIED: format_datetime(changed_at, usegmt=True),
        hdrs.VARY: f"{hdrs.ACCEPT}, {hdrs.ACCEPT_ENCODING}",
    }
    if _is_known(tag, changed_at, headers):
        return Response(status=304, headers=answer_headers)
    answer_headers[hdrs.CONTENT_TYPE] = content_type
    if feed.compressed is not None and "gzip" in headers.get(hdrs.ACCEPT_ENCODING, "").lower():
        answer_headers[hdrs.CONTENT_ENCODING] = "gzip"
        return Response(body=feed.compressed, headers=answer_headers)
    return Response(body=feed.body, headers=answer_headers)


def preferred(accept: str, offered: Sequence[str]) -> str:
    """The media type of `offered` that an Accept header asks for; the first when it does not care."""
    ranges = dict(_weighted(part) for part in accept.lower().split(",") if part.strip())

    def weight(media_type: str) -> float:
        kind = media_type.partition("/")[0]
        for name in (media_type, f"{kind}/*", "*/*"):
            if name in ranges:
                return ranges[name]
        return 0.0

    # The first of several equal ones.
    return max(offered, key=weight)


def _weighted(part: str) -> tuple[str, float]:
    name, *parameters = (piece.strip() for piece in part.split(";"))
    for parameter in parameters:
        if parameter.startswith("q="):
            try:
                return name, float(parameter[2:])
            except ValueError:
                return name, 0.0
    return name, 1.0


def _is_known(tag: str, changed_at: datetime, headers: Mapping[str, str]) -> bool:
    tags = headers.get(hdrs.IF_NONE_MATCH)
    if tags is not None:
        return any(one.strip() in (tag, tag[2:], "*") for one in tags.split(","))
    since = _date(headers.get(hdrs.IF_MODIFIED_SINCE))
    return since is not None and changed_at <= since


def _date(text: str | None) -> datetime | None:
    try:
        found = parsedate_to_datetime(text or "")
    except ValueError:
        return None
    return found.replace(tzinfo=UTC) if found.tzinfo is None else found
