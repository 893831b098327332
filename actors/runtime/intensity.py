"""How many crashes a supervisor puts up with."""

from __future__ import annotations

from collections import deque

__all__ = ["RestartIntensity"]


class RestartIntensity:
    """At most `max_restarts` within any `window_s` seconds (a sliding window)."""

    def __init__(self, max_restarts: int, window_s: float) -> None:
        if max_restarts < 0 or window_s <= 0:
            raise ValueError("a restart intensity needs max_restarts >= 0 and window_s > 0")
        self.max_restarts = max_restarts
        self.window_s = window_s
        self._crashed_s: deque[float] = deque()

    def note_crash(self, now_s: float) -> bool:
        """Count a crash; True if that is one too many."""
        self._crashed_s.append(now_s)
        while self._crashed_s[0] <= now_s - self.window_s:
            self._crashed_s.popleft()
        return len(self._crashed_s) > self.max_restarts
