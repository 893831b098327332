import io
import json
import logging
from collections.abc import Iterator
from datetime import UTC, datetime

import pytest
import structlog

from web.logging import REDACTED, configure_logging
from web.settings import LogFormat, LogSettings


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.fixture(autouse=True)
def _logging_as_it_was() -> Iterator[None]:
    root = logging.getLogger()
    handlers, level = list(root.handlers), root.level
    yield
    root.handlers[:] = handlers
    root.setLevel(level)
    structlog.reset_defaults()


def configured(
    log_format: LogFormat, *, level: str = "info", stream: io.StringIO | None = None
) -> io.StringIO:
    stream = stream or io.StringIO()
    configure_logging(LogSettings(level=level, format=log_format), stream=stream)
    return stream


def test_json_line_holds_event_level_time_and_keys() -> None:
    stream = configured(LogFormat.JSON)
    structlog.get_logger().info("web.server.start", port=3000)
    line = json.loads(stream.getvalue())
    assert line["event"] == "web.server.start"
    assert line["level"] == "info"
    assert line["port"] == 3000
    assert line["at"].endswith("Z")


def test_line_begins_with_when_how_grave_and_what() -> None:
    stream = configured(LogFormat.JSON)
    structlog.get_logger().info("web.server.start", actor="/hub", port=3000)
    assert list(json.loads(stream.getvalue())) == ["at", "level", "event", "actor", "port"]


def test_line_on_a_terminal_begins_with_the_time() -> None:
    stream = configured(LogFormat.CONSOLE)
    structlog.get_logger().info("web.server.start", actor="/hub")
    at, level, *_ = stream.getvalue().split()
    assert datetime.fromisoformat(at).tzinfo is UTC
    assert level.startswith("[info")


def test_auto_is_json_when_no_terminal_reads() -> None:
    stream = configured(LogFormat.AUTO)
    structlog.get_logger().info("web.server.start")
    assert json.loads(stream.getvalue())["event"] == "web.server.start"


def test_auto_is_readable_on_a_terminal() -> None:
    stream = configured(LogFormat.AUTO, stream=Terminal())
    structlog.get_logger().info("web.server.start", port=3000)
    text = stream.getvalue()
    assert "web.server.start" in text
    assert "{" not in text


def test_lines_below_the_level_are_dropped() -> None:
    stream = configured(LogFormat.JSON, level="warning")
    structlog.get_logger().info("web.server.start")
    logging.getLogger("library").info("hello")
    assert stream.getvalue() == ""


@pytest.mark.parametrize(
    "key",
    [
        "password",
        "api_key",
        "apiKey",
        "Authorization",
        "access_token",
        "client_secret",
        "Set-Cookie",
    ],
)
@pytest.mark.parametrize("log_format", [LogFormat.JSON, LogFormat.CONSOLE])
def test_value_of_a_key_that_names_a_secret_is_redacted(key: str, log_format: LogFormat) -> None:
    stream = configured(log_format)
    structlog.get_logger().info("web.login.refuse", **{key: "hunter2"}, headers=[{key: "hunter2"}])
    assert "hunter2" not in stream.getvalue()
    assert stream.getvalue().count(REDACTED) == 2


def test_library_lines_come_out_in_the_same_form() -> None:
    stream = configured(LogFormat.JSON)
    logging.getLogger("some.library").warning("it rained %s", "cats")
    line = json.loads(stream.getvalue())
    assert line["event"] == "it rained cats"
    assert line["logger"] == "some.library"
    assert line["level"] == "warning"


@pytest.mark.parametrize("log_format", [LogFormat.JSON, LogFormat.CONSOLE])
def test_traceback_shows_no_local_variables(log_format: LogFormat) -> None:
    stream = configured(log_format)
    hidden = "local" + "-value"
    try:
        raise ValueError("went wrong")
    except ValueError:
        structlog.get_logger().exception("web.request.fail")
    assert "went wrong" in stream.getvalue()
    assert hidden not in stream.getvalue()


def test_value_that_json_does_not_know_is_still_logged() -> None:
    stream = configured(LogFormat.JSON)
    structlog.get_logger().info("web.server.start", thing=object, numbers={1: b"x"})
    assert "object" in json.loads(stream.getvalue())["thing"]
