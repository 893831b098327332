"""What aiokafka logs, told in the hub's own way.

The library reports every attempt of its retries as a warning or an error. What matters of them
becomes an error or a log line of the hub where it is caught, once; here they are for who debugs.
"""

import logging
from typing import Final

import structlog

KAFKA_LIBRARY_REPORT: Final = "kafka.library.report"
LIBRARY: Final = "aiokafka"

_log = structlog.get_logger(__name__)


class _ToStructlog(logging.Handler):
    def emit(self, record: logging.LogRecord) -> None:
        _log.debug(
            KAFKA_LIBRARY_REPORT,
            logger=record.name,
            severity=record.levelname.lower(),
            text=record.getMessage(),
        )


def quieten_library() -> None:
    """Hand on what aiokafka logs from warnings upwards, as debug. Safe to call again."""
    library = logging.getLogger(LIBRARY)
    if not any(isinstance(handler, _ToStructlog) for handler in library.handlers):
        library.addHandler(_ToStructlog())
        library.setLevel(logging.WARNING)
        library.propagate = False
