"""Processes die, hang and are killed; no request goes without its one answer."""

import asyncio
import os
import signal
import subprocess
import sys

import pytest

from protocols.decoders import DecodeOutcome, DecoderPool, DecoderSource
from protocols.errors import DecoderCrashed, ScriptLimitExceeded
from tests.protocols.decoders.asking import ask, body_of, quick_settings, request, source
from tests.protocols.decoders.processes import Ends, until, until_busy
from tests.protocols.decoders.test_pool import Outcomes

# Works for a while when it is told to, in native code that no interrupt reaches when told `hang`.
BUSY = """function decode(p) {
  if (p.hang) Array(4294967295).join("");
  if (p.work_ms) { const end = Date.now() + p.work_ms; while (Date.now() < end); }
  return p.n;
}"""


async def neighbours(pool: DecoderPool, count: int) -> list[DecoderSource]:
    """Trusted decoders that share one worker: even ids."""
    scripts = [source(BUSY, 2000 + 2 * n) for n in range(count)]
    for script in scripts:
        assert body_of(await ask(pool, script, {"n": 0})) == 0
        assert body_of(await ask(pool, script, {"n": 0})) == 0
    return scripts


async def kill(pool: DecoderPool, pid: int) -> None:
    """Kills a worker and waits until it has been replaced."""
    before = pool.health().restarts
    os.kill(pid, signal.SIGKILL)
    await until(lambda: pool.health().restarts > before and len(pool.worker_pids) == 3)


async def submit_around(
    pool: DecoderPool, scripts: list[DecoderSource], **trouble: object
) -> list[Outcomes]:
    """Ten requests for each; the fifth of the first decoder is trouble."""
    collected = [Outcomes(10) for _ in scripts]
    for n in range(10):
        for script, outcomes in zip(scripts, collected, strict=True):
            extra = trouble if n == 5 and script is scripts[0] else {}
            pool.submit(request(script, {"n": n, **extra}), outcomes)
    return collected


def assert_all_well(outcomes: list[DecodeOutcome], *, except_for: int | None = None) -> None:
    for n, outcome in enumerate(outcomes):
        if n != except_for:
            assert body_of(outcome) == n


async def test_script_that_crashes_its_worker_is_blamed_and_nobody_else(pool: DecoderPool) -> None:
    scripts = await neighbours(pool, 5)
    shared = pool.worker_pids
    collected = await submit_around(pool, scripts, hang=True)
    os.kill(await until_busy(shared), signal.SIGSEGV)
    guilty = await collected[0].all()
    assert isinstance(guilty[5].error, DecoderCrashed)
    assert "SIGSEGV" in str(guilty[5].error)
    assert_all_well(guilty, except_for=5)
    for outcomes in collected[1:]:
        assert_all_well(await outcomes.all())
    counted = pool.statistics(scripts[0].decoder_id)
    assert counted is not None
    assert counted.strikes == 1


async def test_worker_killed_from_outside_costs_no_message(pool: DecoderPool) -> None:
    scripts = await neighbours(pool, 5)
    shared = pool.worker_pids
    collected = await submit_around(pool, scripts, work_ms=150)
    os.kill(await until_busy(shared), signal.SIGKILL)
    for outcomes in collected:
        assert_all_well(await outcomes.all())
    counted = pool.statistics(scripts[0].decoder_id)
    assert counted is not None
    assert counted.strikes == 0


async def test_watchdog_kills_what_no_interrupt_reaches_and_the_rest_runs(
    pool: DecoderPool,
) -> None:
    scripts = await neighbours(pool, 5)
    collected = await submit_around(pool, scripts, hang=True)
    guilty = await collected[0].all()
    assert isinstance(guilty[5].error, ScriptLimitExceeded)
    assert "could not be interrupted" in str(guilty[5].error)
    assert_all_well(guilty, except_for=5)
    for outcomes in collected[1:]:
        assert_all_well(await outcomes.all())


async def test_job_that_loses_three_workers_is_given_up(pool: DecoderPool) -> None:
    scripts = await neighbours(pool, 1)
    outcomes = Outcomes(1)
    pool.submit(request(scripts[0], {"n": 1, "hang": True}), outcomes)
    for _ in range(3):
        await kill(pool, await until_busy(pool.worker_pids))
    assert isinstance((await outcomes.all())[0].error, DecoderCrashed)


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGSEGV])
async def test_random_kills_under_load_lose_no_answer(
    pool: DecoderPool, number: signal.Signals
) -> None:
    scripts = await neighbours(pool, 8)
    collected = [Outcomes(150) for _ in scripts]
    for n in range(150):
        for script, outcomes in zip(scripts, collected, strict=True):
            pool.submit(request(script, {"n": n, "work_ms": 1}), outcomes)
    for _ in range(8):
        await asyncio.sleep(0.02)
        for pid in pool.worker_pids:
            os.kill(pid, number)
        await until(lambda: len(pool.worker_pids) == 3)
    for outcomes in collected:
        for n, outcome in enumerate(await outcomes.all()):
            assert outcome.error is not None or body_of(outcome) == n
    assert pool.health().unanswered == 0


async def test_idle_worker_that_dies_is_replaced(pool: DecoderPool) -> None:
    before = set(pool.worker_pids)
    for pid in before:
        os.kill(pid, signal.SIGKILL)
    await until(lambda: len(set(pool.worker_pids) - before) == 3)
    assert body_of(await ask(pool, BUSY, {"n": 4})) == 4


async def test_death_of_the_zygote_is_healed(pool: DecoderPool) -> None:
    scripts = await neighbours(pool, 3)
    assert pool.zygote_pid is not None
    workers = Ends(pool.worker_pids)
    collected = await submit_around(pool, scripts, work_ms=100)
    before = pool.zygote_pid
    os.kill(before, signal.SIGKILL)
    for outcomes in collected:
        assert_all_well(await outcomes.all())
    assert workers.wait(5)
    assert pool.zygote_pid not in (None, before)


async def test_worker_that_is_stopped_is_replaced() -> None:
    pool = DecoderPool(quick_settings(wall_limit_s=0.3))
    await pool.start()
    scripts = await neighbours(pool, 2)
    for pid in pool.worker_pids:
        os.kill(pid, signal.SIGSTOP)
    collected = await submit_around(pool, scripts)
    for outcomes in collected:
        assert_all_well(await outcomes.all())
    await pool.stop(timeout_s=5)


async def test_stop_leaves_no_process(pool: DecoderPool) -> None:
    assert pool.zygote_pid is not None
    ends = Ends([*pool.worker_pids, pool.zygote_pid])
    pool.submit(request(BUSY, {"hang": True}), Outcomes(1))
    await pool.stop(timeout_s=0)
    assert ends.wait(5)


HUB = """
import asyncio
from protocols.decoders import DecoderPool, DecoderSettings
from tests.protocols.decoders.asking import request
from tests.protocols.decoders.processes import until_busy

async def main():
    pool = DecoderPool(DecoderSettings(workers=2, wall_limit_s=60))
    await pool.start()
    pool.submit(request("function decode(p) { Array(4294967295).join(''); }"), lambda o: None)
    await until_busy(pool.worker_pids)
    print("processes", *pool.worker_pids, pool.zygote_pid, flush=True)
    await asyncio.Event().wait()

asyncio.run(main())
"""


def test_no_process_outlives_a_hub_that_is_killed() -> None:
    with subprocess.Popen([sys.executable, "-c", HUB], stdout=subprocess.PIPE, text=True) as hub:
        assert hub.stdout is not None
        # The log goes to the same place.
        line = next(line for line in hub.stdout if line.startswith("processes"))
        pids = [int(pid) for pid in line.split()[1:]]
        assert len(pids) == 4
        ends = Ends(pids)
        hub.kill()
        assert ends.wait(5)


# A hub that is killed leaves what it has not read: closing such a socket resets its other end.
KILLED_HUBS_ZYGOTE = """
import socket
from protocols.decoders.frames import WorkerLimits
from protocols.decoders.zygote import Zygote

hubs, zygotes = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
zygotes.send(b"never read")
hubs.close()
Zygote(zygotes, WorkerLimits(*[0] * len(WorkerLimits.__struct_fields__))).run()
"""


def test_zygote_of_a_hub_that_is_killed_ends_without_complaint() -> None:
    ended = subprocess.run(
        [sys.executable, "-c", KILLED_HUBS_ZYGOTE],
        capture_output=True,
        text=True,
        timeout=10,
        check=False,
    )
    assert (ended.returncode, ended.stderr) == (0, "")
