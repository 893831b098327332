"""What a decode costs in the sandbox, compared with the bare engine in a process of its own."""

import asyncio
import json
import multiprocessing
import os
import time
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from datetime import UTC, datetime
from pathlib import Path
from statistics import median
from typing import Any, Final, NamedTuple

import uvloop

from benchmarks.duration import seconds, times
from benchmarks.row import Row
from protocols.decoders import (
    DecodeOutcome,
    DecodeRequest,
    DecoderPool,
    DecoderSettings,
    DecoderSource,
)

WORKERS: Final = 2
DECODERS: Final = 50
TURNS: Final = 5
PLAIN_S: Final = 1.0
POOL_S: Final = 2.0
# As many as the hub's router admits at once.
WINDOW: Final = 2048
ROUND_TRIPS: Final = 1000

# A frame of typed fields, as the codecs of many vendors read it; each decoder's differs by a number.
SCRIPT: Final = """
function signed(value) { return value > 0x7fff ? value - 0x10000 : value; }
function decodeUplink(input) {
  var bytes = input.bytes, data = {decoder: %d};
  for (var i = 0; i < bytes.length;) {
    switch (bytes[i++]) {
      case 1: data.temperature = signed(bytes[i] << 8 | bytes[i + 1]) / 10; i += 2; break;
      case 2: data.humidity = bytes[i++]; break;
      case 4: data.light = bytes[i] << 8 | bytes[i + 1]; i += 2; break;
      case 5: data.motion = bytes[i++]; break;
      case 7: data.vdd = (bytes[i] << 8 | bytes[i + 1]) / 1000; i += 2; break;
      default: return {errors: ["unknown field " + bytes[i - 1]]};
    }
  }
  return {data: data};
}
"""
PAYLOAD: Final = json.dumps(
    {
        "data": "AQDiAikEACcFBwcOMQ==",
        "fPort": 5,
        "fCnt": 4711,
        "deviceInfo": {"devEui": "a81758fffe03b1f7", "deviceName": "room 4"},
        "rxInfo": [{"gatewayId": "7076ff0056020304", "rssi": -71, "snr": 8.5}],
    }
)
# The least that turns the same JSON into the same JSON in the same engine.
PLAIN_HARNESS: Final = """
(function (text) {
  const payload = JSON.parse(text);
  const bytes = Array.from(Uint8Array.fromBase64(payload.data));
  const input = {bytes, fPort: payload.fPort, recvTime: new Date(), variables: {}};
  return JSON.stringify(decodeUplink(input).data);
})
"""


class Rate(NamedTuple):
    """How many were decoded, in how much time."""

    decodes: int
    wall_s: float
    cpu_s: float

    @property
    def per_wall_s(self) -> float:
        return self.decodes / self.wall_s

    @property
    def per_cpu_s(self) -> float:
        return self.decodes / self.cpu_s


def measure() -> Iterator[Row]:
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as apart:
        return iter(uvloop.run(_measure(apart)))


async def _measure(apart: ProcessPoolExecutor) -> list[Row]:
    loop = asyncio.get_running_loop()
    pool = DecoderPool(DecoderSettings(workers=WORKERS))
    await pool.start()
    sources = [DecoderSource(decoder_id=n, code=SCRIPT % n) for n in range(DECODERS)]
    empty_bytes = _resident_bytes(pool)
    # Twice: the first call is on probation in another worker.
    for _ in range(2):
        await _flood(pool, sources, 0.0)
    resident_bytes = _resident_bytes(pool) - empty_bytes
    plain: list[Rate] = []
    pooled: list[Rate] = []
    for _ in range(times(TURNS)):
        plain.append(await loop.run_in_executor(apart, _plain, seconds(PLAIN_S)))
        pooled.append(await _flood(pool, sources, seconds(POOL_S)))
    waits_ms = [await _round_trip_ms(pool, sources) for _ in range(times(ROUND_TRIPS, 50))]
    await pool.stop(timeout_s=5)
    return [*_rate_rows(plain, pooled), *_size_rows(waits_ms, resident_bytes)]


def _rate_rows(plain: list[Rate], pooled: list[Rate]) -> list[Row]:
    plain_wall, plain_cpu = (
        median(rate.per_wall_s for rate in plain),
        median(rate.per_cpu_s for rate in plain),
    )
    return [
        Row(
            f"decoding, {WORKERS} workers, {DECODERS} decoders",
            median(rate.per_wall_s for rate in pooled),
            "/s",
            median(a.per_wall_s / b.per_wall_s for a, b in zip(pooled, plain, strict=True)),
            f"{plain_wall:,.0f} /s in one bare loop of the engine, no limits",
            "20,000/s on two idle cores",
        ),
        Row(
            "decoding, hub's side and workers",
            median(rate.per_cpu_s for rate in pooled),
            "/CPU-s",
            median(a.per_cpu_s / b.per_cpu_s for a, b in zip(pooled, plain, strict=True)),
            f"{plain_cpu:,.0f} /CPU-s in the bare loop",
            "",
        ),
    ]


def _size_rows(waits_ms: list[float], resident_bytes: int) -> list[Row]:
    waits_ms = sorted(waits_ms)
    p99_ms = waits_ms[int(len(waits_ms) * 0.99)]
    return [
        Row(
            "one decode at a time, median",
            median(waits_ms),
            "ms",
            None,
            f"p99 {p99_ms:.2f} ms",
            "",
        ),
        # Every decoder is loaded in its shared worker and, since its first call, in the other.
        Row("a loaded decoder", resident_bytes / (2 * DECODERS) / 1024, "KB", None, "", ""),
    ]


async def _flood(pool: DecoderPool, sources: list[DecoderSource], duration_s: float) -> Rate:
    """Keeps a window of requests in the pool; at least one for each decoder."""
    loop = asyncio.get_running_loop()
    finished = loop.create_future()
    started_s, cpu_s = time.perf_counter(), _cpu_s(pool)
    submitted = answered = 0

    def submit() -> None:
        nonlocal submitted
        pool.submit(_request(sources[submitted % len(sources)]), on_done)
        submitted += 1

    def on_done(outcome: DecodeOutcome) -> None:
        nonlocal answered
        answered += 1
        if outcome.error is not None and not finished.done():
            finished.set_exception(outcome.error)
        if time.perf_counter() - started_s < duration_s:
            submit()
        elif answered == submitted and not finished.done():
            finished.set_result(None)

    for _ in range(WINDOW if duration_s else len(sources)):
        submit()
    await finished
    return Rate(answered, time.perf_counter() - started_s, _cpu_s(pool) - cpu_s)


async def _round_trip_ms(pool: DecoderPool, sources: list[DecoderSource]) -> float:
    started_s = time.perf_counter()
    await pool.decode(_request(sources[0]))
    return (time.perf_counter() - started_s) * 1000


def _request(source: DecoderSource) -> DecodeRequest:
    return DecodeRequest(
        source=source,
        payload=PAYLOAD.encode(),
        metadata=b"{}",
        received_at=datetime.now(UTC),
    )


def _cpu_s(pool: DecoderPool) -> float:
    """What this process and the workers have used, the load generator's small part included."""
    ticks = 0
    for pid in pool.worker_pids:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        ticks += int(fields[11]) + int(fields[12])
    return time.process_time() + ticks / os.sysconf("SC_CLK_TCK")


def _resident_bytes(pool: DecoderPool) -> int:
    pages = sum(int(Path(f"/proc/{pid}/statm").read_text().split()[1]) for pid in pool.worker_pids)
    return pages * os.sysconf("SC_PAGESIZE")


def _plain(duration_s: float) -> Rate:
    """Runs in a process of its own, which the engine may be loaded into."""
    import quickjs

    functions: list[Any] = []
    for n in range(DECODERS):
        context = quickjs.Context()
        context.eval(SCRIPT % n + ";undefined")
        functions.append(context.eval(PLAIN_HARNESS))
    count = 0
    started_s, cpu_s = time.perf_counter(), time.process_time()
    while (wall_s := time.perf_counter() - started_s) < duration_s:
        for function in functions:
            function(PAYLOAD)
        count += DECODERS
    return Rate(count, wall_s, time.process_time() - cpu_s)
