"""What one device with a bad decoder costs the others: their p99 with it and without, in turns.

Without it the same device sends as much, through a decoder that returns at once: what is compared is
the decoder and not the traffic, nor the second load generator.
"""

import asyncio
from collections.abc import Iterator
from statistics import median
from typing import Final

from benchmarks.duration import seconds, times
from benchmarks.load import Plan, generate
from benchmarks.percentiles import median_ratio
from benchmarks.receiver import ReceiverProcess
from benchmarks.row import Row
from benchmarks.scene import Scene, posts_of, running_hub

PAIRS: Final = 5
GOOD_DEVICES: Final = 50
GOOD_RATE_PER_S: Final = 200.0
BAD_RATE_PER_S: Final = 5.0
DURATION_S: Final = 8.0
# One that spins is cut early at first and tried once more after a rest: both are to be seen.
SPINNING_DURATION_S: Final = 30.0
# By then a slow decoder has had its rest and runs every time.
KNOWN_TIMEOUT_S: Final = 60.0
DRAIN_TIMEOUT_S: Final = 60.0

HARMLESS: Final = "function decode(payload, metadata) { return {}; }"
SPINS: Final = "function decode(payload, metadata) { for (;;); }"
# Stays below the limit each time, so that no strike is counted against it.
SPINS_WITHIN_LIMIT: Final = """
function decode(payload, metadata) {
  const until = Date.now() + 150;
  while (Date.now() < until);
  return {};
}
"""


def measure() -> Iterator[Row]:
    yield from asyncio.run(_measure())


async def _measure() -> list[Row]:
    with ReceiverProcess() as receiver:
        async with running_hub() as scene:
            good = posts_of(await scene.devices(GOOD_DEVICES, f"{receiver.url}/good"))
            await _p99_ms(scene, receiver, good, good[:1], DURATION_S)
            return [
                await _compare(
                    scene, receiver, good, "spins its whole limit", SPINS, "at most 1.2"
                ),
                await _compare(
                    scene, receiver, good, "takes 150 ms each time", SPINS_WITHIN_LIMIT, ""
                ),
            ]


async def _compare(
    scene: Scene,
    receiver: ReceiverProcess,
    good: list[tuple[str, str]],
    name: str,
    source: str,
    budget: str,
) -> Row:
    duration_s = SPINNING_DURATION_S if source is SPINS else DURATION_S
    without_ms: list[float] = []
    with_ms: list[float] = []
    for _ in range(times(PAIRS)):
        # A decoder of its own for each turn: the last one is in quarantine by now.
        for decoder, measured_ms in ((HARMLESS, without_ms), (source, with_ms)):
            one = posts_of(await scene.devices(1, f"{receiver.url}/one", decoder))
            if decoder is not SPINS:
                await _make_known(receiver, one, scene.hub.port)
            measured_ms.append(await _p99_ms(scene, receiver, good, one, duration_s))
    return Row(
        f"others' p99 when one {name}",
        median(with_ms),
        "ms",
        median_ratio(with_ms, without_ms),
        f"{median(without_ms):.3g} ms without it, {len(with_ms)} pairs of {seconds(duration_s):g} s",
        budget,
    )


async def _make_known(receiver: ReceiverProcess, one: list[tuple[str, str]], port: int) -> None:
    """Have the decoder's first message pushed, whatever it takes."""
    await receiver.forget()
    await generate(Plan(port=port, posts=one, count=1, connections=1))
    await receiver.wait_for("/one", 1, timeout_s=KNOWN_TIMEOUT_S)


async def _p99_ms(
    scene: Scene,
    receiver: ReceiverProcess,
    good: list[tuple[str, str]],
    one: list[tuple[str, str]],
    duration_s: float,
) -> float:
    """Of the good devices' messages, from when they were due until they were pushed."""
    await receiver.forget()
    port, duration_s = scene.hub.port, seconds(duration_s)
    plan = Plan(port=port, posts=good, rate_per_s=GOOD_RATE_PER_S, duration_s=duration_s)
    other = Plan(
        port=port, posts=one, rate_per_s=BAD_RATE_PER_S, duration_s=duration_s, connections=4
    )
    loads = [generate(plan), generate(other)]
    load, *_ = await asyncio.gather(*loads)
    report = await receiver.wait_for("/good", load.acked, timeout_s=DRAIN_TIMEOUT_S)
    return report.p99_ms
