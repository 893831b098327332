"""Messages that no actor handled: counted by reason, the latest kept for a look."""

from __future__ import annotations

from collections import Counter, deque
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any, Final

import structlog

from actors.runtime import events
from actors.runtime.events import DropReason
from actors.runtime.log_limiter import LogLimiter

if TYPE_CHECKING:
    from actors.runtime.clock import Clock

__all__ = ["DeadLetter", "DeadLetters"]

log = structlog.get_logger(__name__)

_RECENT: Final = 100


@dataclass(frozen=True, slots=True, kw_only=True)
class DeadLetter:
    """One message, to whom it was sent, and why it ended here."""

    path: str
    message: Any
    reason: DropReason
    error: Exception | None
    at: datetime

    def to_json(self) -> dict[str, Any]:
        """For operators: the message's type only, since it may hold a payload."""
        return {
            "path": self.path,
            "message_type": type(self.message).__name__,
            "reason": self.reason.value,
            "error": None if self.error is None else repr(self.error),
            "at": self.at.isoformat(),
        }


class DeadLetters:
    """The dead-letter office of one actor system."""

    def __init__(self, clock: Clock, *, keep: int = _RECENT) -> None:
        self._clock = clock
        self._recent: deque[DeadLetter] = deque(maxlen=keep)
        self._limiter = LogLimiter()
        self.counts: Counter[DropReason] = Counter()

    @property
    def total(self) -> int:
        return self.counts.total()

    def recent(self, limit: int = _RECENT) -> list[DeadLetter]:
        """The latest, newest first."""
        return list(self._recent)[: -limit - 1 : -1]

    def add(
        self, path: str, message: Any, reason: DropReason, error: Exception | None = None
    ) -> None:
        """Take a message nobody will handle."""
        self.counts[reason] += 1
        self._recent.append(
            DeadLetter(path=path, message=message, reason=reason, error=error, at=self._clock.now())
        )
        if self._limiter.allows(self._clock.monotonic()):
            log.warning(
                events.LETTER_DROP,
                actor=path,
                message_type=type(message).__name__,
                reason=reason.value,
                suppressed=self._limiter.take_suppressed(),
            )
