"""What eighty bad data targets cost the hundred and twenty good ones: their p99 with and without.

Without them as many messages go to as many targets that take them: what is compared is the badness,
and not the traffic.
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
from benchmarks.scene import SEVEN_VALUES, Scene, posts_of, running_hub
from tests.support.hub_client import Device
from tests.support.hub_process import free_port

PAIRS: Final = 5
GOOD: Final = 120
DEAD, MUTE, BUSY = 50, 20, 10
# Each device once a second, so that every target has something to do all the time.
RATE_PER_TARGET_PER_S: Final = 1.0
DURATION_S: Final = 15.0
DRAIN_TIMEOUT_S: Final = 60.0


def measure() -> Iterator[Row]:
    yield from asyncio.run(_measure())


async def _measure() -> list[Row]:
    good_count, dead, mute, busy = (times(count, 2) for count in (GOOD, DEAD, MUTE, BUSY))
    with ReceiverProcess() as receiver:
        async with running_hub() as scene:
            decoder_id = await scene.city.decoder(SEVEN_VALUES)
            nobody = f"http://127.0.0.1:{free_port()}"
            good = await _targets(scene, decoder_id, [f"{receiver.url}/good"] * good_count)
            harmless = await _targets(
                scene, decoder_id, [f"{receiver.url}/harmless"] * (dead + mute + busy)
            )
            urls = [
                *[f"{nobody}/dead"] * dead,
                *[f"{receiver.url}/mute"] * mute,
                *[f"{receiver.url}/busy"] * busy,
            ]
            bad = await _targets(scene, decoder_id, urls)
            await _p99_ms(scene, receiver, good, harmless)
            await _p99_ms(scene, receiver, good, bad)
            without_ms: list[float] = []
            with_ms: list[float] = []
            for _ in range(times(PAIRS)):
                without_ms.append(await _p99_ms(scene, receiver, good, harmless))
                with_ms.append(await _p99_ms(scene, receiver, good, bad))
    return [
        Row(
            f"p99 of {good_count} good targets beside {len(urls)} bad ones",
            median(with_ms),
            "ms",
            median_ratio(with_ms, without_ms),
            f"{median(without_ms):.3g} ms without, {len(with_ms)} pairs of {seconds(DURATION_S):g} s; "
            f"{dead} dead, {mute} mute, {busy} answer 429",
            "at most 1.05",
        )
    ]


async def _targets(scene: Scene, decoder_id: int, urls: list[str]) -> list[Device]:
    """A data target for each address, with a device of its own."""
    devices = []
    for url in urls:
        device = await scene.city.device()
        target_id = await scene.city.target(url, timeout=15_000)
        await scene.client.connect([device], target_id, decoder_id)
        devices.append(device)
    return devices


async def _p99_ms(
    scene: Scene, receiver: ReceiverProcess, good: list[Device], others: list[Device]
) -> float:
    """Of the good targets' messages, from when they were due until they were pushed."""
    await receiver.forget()
    port, duration_s = scene.hub.port, seconds(DURATION_S)
    plans = [
        Plan(
            port=port,
            posts=posts_of(devices),
            rate_per_s=RATE_PER_TARGET_PER_S * len(devices),
            duration_s=duration_s,
            connections=16,
        )
        for devices in (good, others)
    ]
    load, _ = await asyncio.gather(*(generate(plan) for plan in plans))
    report = await receiver.wait_for("/good", load.acked, timeout_s=DRAIN_TIMEOUT_S)
    return report.p99_ms
