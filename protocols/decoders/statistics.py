"""What is counted for each decoder."""

from dataclasses import dataclass
from datetime import datetime

from protocols.errors import DecodeError

# A hundred calls: the second longest of them is the p99.
_SAMPLES = 100
_MEAN_WEIGHT = 0.2


@dataclass(frozen=True, slots=True, kw_only=True)
class DecoderStatistics:
    """Since the pool started. Times are the script's own, over its last hundred calls.

    `strikes` are those that still count; `version` is the one that was called last;
    `quarantined_until` is when it runs again, if it rests or is in quarantine.
    """

    decoder_id: int
    version: str
    calls: int
    failures: int
    strikes: int
    p50_wall_s: float
    p99_wall_s: float
    cpu_s: float
    last_error: str | None
    last_error_code: str | None
    last_error_at: datetime | None
    quarantined_until: datetime | None


class CallRecorder:
    """Counts one decoder's calls and knows whether they are slow.

    Slow is what uses the processor for long: on a busy machine, any call may take long by the clock.
    """

    __slots__ = (
        "_cpus",
        "_next",
        "_slow_call_s",
        "_slow_samples",
        "_walls",
        "calls",
        "cpu_s",
        "failures",
        "last_error",
        "last_error_at",
        "mean_cpu_s",
    )

    def __init__(self, *, slow_call_s: float) -> None:
        self.calls = 0
        self.failures = 0
        self.cpu_s = 0.0
        self.mean_cpu_s = 0.0
        self.last_error: DecodeError | None = None
        self.last_error_at: datetime | None = None
        self._slow_call_s = slow_call_s
        self._walls: list[float] = []
        self._cpus: list[float] = []
        self._next = 0
        self._slow_samples = 0

    @property
    def is_slow(self) -> bool:
        """Whether the p99 is above the limit for travelling with others.

        One slow call is none: the first one also loads the script.
        """
        return self._slow_samples > 1

    def record(self, *, wall_s: float, cpu_s: float) -> None:
        """Counts a call that ran."""
        self.calls += 1
        self.cpu_s += cpu_s
        self.mean_cpu_s += (cpu_s - self.mean_cpu_s) * _MEAN_WEIGHT
        if cpu_s > self._slow_call_s:
            self._slow_samples += 1
        if len(self._walls) < _SAMPLES:
            self._walls.append(wall_s)
            self._cpus.append(cpu_s)
            return
        if self._cpus[self._next] > self._slow_call_s:
            self._slow_samples -= 1
        self._walls[self._next] = wall_s
        self._cpus[self._next] = cpu_s
        self._next = (self._next + 1) % _SAMPLES

    def fail(self, error: DecodeError, at: datetime) -> None:
        """Counts an outcome that is an error, whether the script ran or not."""
        self.failures += 1
        self.last_error = error
        self.last_error_at = at

    def quantile_s(self, share: float) -> float:
        walls = sorted(self._walls)
        return walls[min(int(len(walls) * share), len(walls) - 1)] if walls else 0.0
