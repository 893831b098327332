"""What the pool keeps about one decoder: order, standing, counters."""

from collections import OrderedDict, deque
from datetime import UTC, datetime, timedelta

from protocols.decoders.job import Job
from protocols.decoders.penalties import Standing
from protocols.decoders.settings import DecoderSettings
from protocols.decoders.statistics import CallRecorder, DecoderStatistics

# Versions alternate while a changed script is rolled out or old messages are replayed.
_KEPT_VERSIONS = 4


class DecoderRecord:
    """`order` holds the jobs whose outcomes have not been handed out, in the order they came."""

    def __init__(self, decoder_id: int, settings: DecoderSettings) -> None:
        self.decoder_id = decoder_id
        self.version = ""
        self.order: deque[Job] = deque()
        self.recorder = CallRecorder(slow_call_s=settings.slow_call_s)
        self._settings = settings
        self._standings: OrderedDict[str, Standing] = OrderedDict()

    def standing(self, version: str) -> Standing:
        standing = self._standings.get(version)
        if standing is None:
            standing = self._standings[version] = Standing(self._settings)
            self._forget_versions()
        return standing

    def release(self, now: float) -> bool:
        """Forgives every version; True when one of them was in quarantine."""
        standings = self._standings.values()
        was_quarantined = any(each.shut_out_until(now) is not None for each in standings)
        for standing in standings:
            standing.release()
        return was_quarantined

    def statistics(self, now: float) -> DecoderStatistics:
        recorder = self.recorder
        standing = self.standing(self.version)
        until = standing.shut_out_until(now)
        return DecoderStatistics(
            decoder_id=self.decoder_id,
            version=self.version,
            calls=recorder.calls,
            failures=recorder.failures,
            strikes=standing.strikes(now),
            p50_wall_s=recorder.quantile_s(0.5),
            p99_wall_s=recorder.quantile_s(0.99),
            cpu_s=recorder.cpu_s,
            last_error=None if recorder.last_error is None else str(recorder.last_error),
            last_error_code=None if recorder.last_error is None else recorder.last_error.code,
            last_error_at=recorder.last_error_at,
            quarantined_until=(
                None if until is None else datetime.now(UTC) + timedelta(seconds=until - now)
            ),
        )

    def _forget_versions(self) -> None:
        for version in list(self._standings)[:-_KEPT_VERSIONS]:
            del self._standings[version]
