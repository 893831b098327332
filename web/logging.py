"""How log lines look: for people on a terminal, as JSON otherwise; secrets never.

Our own code logs through structlog. What libraries send to the standard library's `logging` comes
out of the same end in the same form. Everything goes to standard error, so that what a command
prints for its user (standard output) can be piped.

A value is replaced by `[redacted]` when the name of its key says that it is a secret, however deep
it sits. A secret inside a sentence is not found: put data in keys.
"""

import logging
import sys
from collections.abc import Mapping
from typing import Any, Final, TextIO

import orjson
import structlog
from structlog.typing import EventDict, ExcInfo, Processor, WrappedLogger

from web.settings import LogFormat, LogSettings

REDACTED: Final = "[redacted]"

# Matched against the lower-cased key without its underscores and hyphens.
_SECRET_PARTS: Final = (
    "password",
    "passwd",
    "secret",
    "token",
    "authorization",
    "apikey",
    "privatekey",
    "cookie",
    "credential",
)

# Libraries that tell on info what we tell in metrics, or on warning what we tell ourselves.
_QUIET_LIBRARIES: Final = ("aiohttp.access", "asyncio", "alembic", "aiohttp.server")


def configure_logging(settings: LogSettings, *, stream: TextIO | None = None) -> None:
    """Set up logging for this process; a second call replaces the first.

    Call it once, before the first line is logged: structlog's loggers keep what they first saw.
    """
    target = stream or sys.stderr
    level = logging.getLevelNamesMapping()[settings.level.upper()]
    renderers = _renderers(settings.format, target)
    structlog.configure(
        processors=[*_shared(), *renderers],
        wrapper_class=structlog.make_filtering_bound_logger(level),
        logger_factory=structlog.WriteLoggerFactory(target),
        cache_logger_on_first_use=True,
    )
    handler = logging.StreamHandler(target)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=[structlog.stdlib.add_logger_name, *_shared()],
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, *renderers],
        )
    )
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level)
    for name in _QUIET_LIBRARIES:
        logging.getLogger(name).setLevel(max(level, logging.WARNING))


def redact(_logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
    """Replace the values of keys that name a secret."""
    for key, value in event.items():
        if _names_a_secret(key):
            event[key] = REDACTED
        elif isinstance(value, Mapping | list | tuple):
            event[key] = _redacted(value)
    return event


def _shared() -> list[Processor]:
    return [
        structlog.contextvars.merge_contextvars,
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True, key="at"),
        redact,
    ]


def _renderers(log_format: LogFormat, target: TextIO) -> list[Processor]:
    is_console = log_format is LogFormat.CONSOLE or (
        log_format is LogFormat.AUTO and target.isatty()
    )
    if is_console:
        return [
            structlog.dev.ConsoleRenderer(
                colors=target.isatty(),
                exception_formatter=_plain_traceback,
                timestamp_key="at",
            )
        ]
    # A traceback as one string: structlog's dictionaries would carry the frames' local variables,
    # and with them payloads and secrets.
    return [
        structlog.processors.format_exc_info,
        _put_heading_first,
        structlog.processors.JSONRenderer(serializer=_json_text),
    ]


def _put_heading_first(_logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
    """When, how grave and what, before the data: people read these lines too."""
    heading = {key: event.pop(key) for key in ("at", "level", "event") if key in event}
    return {**heading, **event}


def _plain_traceback(target: TextIO, exc_info: ExcInfo) -> None:
    structlog.dev.plain_traceback(target, exc_info)


def _json_text(event: EventDict, **_ignored: Any) -> str:
    return orjson.dumps(event, default=repr, option=orjson.OPT_NON_STR_KEYS).decode()


def _names_a_secret(key: object) -> bool:
    name = str(key).lower().replace("_", "").replace("-", "")
    return any(part in name for part in _SECRET_PARTS)


def _redacted(value: object) -> object:
    if isinstance(value, Mapping):
        return {
            key: REDACTED if _names_a_secret(key) else _redacted(inner)
            for key, inner in value.items()
        }
    if isinstance(value, list | tuple):
        return [_redacted(inner) for inner in value]
    return value
