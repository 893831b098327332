"""Order, fairness, and that every request is answered exactly once."""

import asyncio
import os
import subprocess
import sys
from datetime import UTC, datetime

import pytest

from protocols.decoders import DecodeOutcome, DecoderPool, DecoderSource, PoolEvent, events
from protocols.errors import (
    DecoderQuarantined,
    DecoderUnavailable,
    ScriptError,
    ScriptLimitExceeded,
)
from tests.protocols.decoders.asking import ask, body_of, quick_settings, request, source
from tests.protocols.decoders.processes import size_bytes

ECHO = "function decode(p) { return p.n; }"
SPIN = "function decode(p) { for (;;); }"
# Behaves until it is told otherwise.
MOODY = "function decode(p) { if (p.spin) for (;;); return p.n; }"


class Outcomes:
    """Collects outcomes and says when the expected number has come."""

    def __init__(self, expected: int) -> None:
        self.seen: list[DecodeOutcome] = []
        self._expected = expected
        self._complete = asyncio.Event()

    def __call__(self, outcome: DecodeOutcome) -> None:
        self.seen.append(outcome)
        if len(self.seen) == self._expected:
            self._complete.set()

    async def all(self) -> list[DecodeOutcome]:
        await asyncio.wait_for(self._complete.wait(), 30)
        return self.seen


async def trusted(pool: DecoderPool, code: str) -> DecoderSource:
    """A decoder that has passed its first call."""
    script = source(code)
    assert (await ask(pool, script, {"n": 0})).error is None
    return script


def test_importing_the_package_does_not_import_the_engine() -> None:
    program = (
        "import sys, protocols.decoders;sys.exit(any('quickjs' in name for name in sys.modules))"
    )
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0


async def test_outcomes_of_one_decoder_come_in_the_order_of_submission(pool: DecoderPool) -> None:
    scripts = [source(ECHO) for _ in range(20)]
    outcomes = [Outcomes(200) for _ in scripts]
    for n in range(200):
        for script, seen in zip(scripts, outcomes, strict=True):
            pool.submit(request(script, {"n": n}), seen)
    for seen in outcomes:
        assert [body_of(outcome) for outcome in await seen.all()] == list(range(200))


async def test_order_holds_when_a_decoder_changes_lanes(pool: DecoderPool) -> None:
    script = await trusted(pool, MOODY)
    seen = Outcomes(60)
    for n in range(60):
        pool.submit(request(script, {"n": n, "spin": n in (7, 20)}), seen)
    bodies = [None if outcome.error else body_of(outcome) for outcome in await seen.all()]
    assert bodies == [None if n in (7, 20) else n for n in range(60)]


async def test_submit_never_calls_back_before_it_returns(pool: DecoderPool) -> None:
    stopped = DecoderPool(quick_settings())
    seen = Outcomes(1)
    stopped.submit(request(ECHO), seen)
    assert seen.seen == []
    assert isinstance((await seen.all())[0].error, DecoderUnavailable)


async def test_callback_that_raises_costs_nobody_else(pool: DecoderPool) -> None:
    reported: list[str] = []
    loop = asyncio.get_running_loop()
    loop.set_exception_handler(lambda _, context: reported.append(str(context["exception"])))
    script = await trusted(pool, ECHO)

    def fail(outcome: DecodeOutcome) -> None:
        raise ValueError("the caller's mistake")

    pool.submit(request(script, {"n": 1}), fail)
    assert body_of(await ask(pool, script, {"n": 2})) == 2
    assert reported == ["the caller's mistake"]


async def test_first_call_that_spins_does_not_hold_up_a_neighbour(pool: DecoderPool) -> None:
    neighbour = await trusted(pool, ECHO)
    finished: list[str] = []
    seen = Outcomes(51)

    def note(name: str, outcome: DecodeOutcome) -> None:
        finished.append(name)
        seen(outcome)

    pool.submit(request(SPIN), lambda outcome: note("spin", outcome))
    for n in range(50):
        pool.submit(request(neighbour, {"n": n}), lambda outcome: note("neighbour", outcome))
    await seen.all()
    assert finished == ["neighbour"] * 50 + ["spin"]


async def test_backlog_of_a_bad_decoder_does_not_starve_another_ones_first_call() -> None:
    pool = DecoderPool(quick_settings(strikes=1000))
    await pool.start()
    bad = source(SPIN)
    assert (await ask(pool, bad)).error is not None
    spun = Outcomes(100)
    for _ in range(100):
        pool.submit(request(bad), spun)
    assert body_of(await ask(pool, ECHO, {"n": 1})) == 1
    assert len(spun.seen) <= 2
    await pool.stop(timeout_s=0)
    assert len(await spun.all()) == 100


async def test_trusted_decoder_that_begins_to_spin_holds_up_its_neighbours_once(
    pool: DecoderPool,
) -> None:
    # Even ids: the same shared worker.
    moody, neighbour = source(MOODY, 9_000), source(ECHO, 9_002)
    for script in (moody, neighbour):
        for n in range(2):
            assert body_of(await ask(pool, script, {"n": n})) == n
    finished: list[str] = []
    seen = Outcomes(40)

    def note(name: str, outcome: DecodeOutcome) -> None:
        finished.append(name)
        seen(outcome)

    for n in range(20):
        pool.submit(request(moody, {"n": n, "spin": True}), lambda outcome: note("moody", outcome))
        pool.submit(request(neighbour, {"n": n}), lambda outcome: note("neighbour", outcome))
    await seen.all()
    assert finished == ["neighbour"] * 20 + ["moody"] * 20


async def test_single_overrun_of_a_trusted_decoder_is_repeated_and_forgiven(
    pool: DecoderPool,
) -> None:
    # Counts anew in each worker: the third call in the shared one is the only one to spin.
    script = source(
        "let calls = 0; function decode(p) { if (++calls === 3) for (;;); return p.n; }"
    )
    seen = Outcomes(5)
    assert body_of(await ask(pool, script, {"n": 0})) == 0
    for n in range(5):
        pool.submit(request(script, {"n": n}), seen)
    assert [body_of(outcome) for outcome in (await seen.all())[:3]] == [0, 1, 2]
    counted = pool.statistics(script.decoder_id)
    assert counted is not None
    assert counted.strikes == 0


async def test_version_is_quarantined_after_three_strikes(pool: DecoderPool) -> None:
    bad = source(SPIN)
    for _ in range(3):
        assert isinstance((await ask(pool, bad)).error, ScriptLimitExceeded)
    outcome = await ask(pool, bad)
    assert isinstance(outcome.error, DecoderQuarantined)
    assert outcome.error.retryable
    assert outcome.cpu_s == 0
    counted = pool.statistics(bad.decoder_id)
    assert counted is not None
    assert counted.strikes == 3
    assert counted.quarantined_until is not None
    assert 590 < (counted.quarantined_until - datetime.now(UTC)).total_seconds() <= 600


async def test_what_waits_for_a_decoder_that_is_quarantined_is_not_run(pool: DecoderPool) -> None:
    seen = Outcomes(20)
    bad = source(SPIN)
    for _ in range(20):
        pool.submit(request(bad), seen)
    kinds = [type(outcome.error) for outcome in await seen.all()]
    assert kinds == [ScriptLimitExceeded] * 3 + [DecoderQuarantined] * 17


async def test_changed_code_ends_the_quarantine(pool: DecoderPool) -> None:
    bad = source(SPIN)
    for _ in range(3):
        await ask(pool, bad)
    mended = source(ECHO, bad.decoder_id)
    assert body_of(await ask(pool, mended, {"n": 1})) == 1
    assert isinstance((await ask(pool, bad)).error, DecoderQuarantined)


async def test_release_ends_the_quarantine(pool: DecoderPool) -> None:
    bad = source(SPIN)
    for _ in range(3):
        await ask(pool, bad)
    pool.release(bad.decoder_id)
    assert isinstance((await ask(pool, bad)).error, ScriptLimitExceeded)
    counted = pool.statistics(bad.decoder_id)
    assert counted is not None
    assert (counted.strikes, counted.quarantined_until) == (1, None)


async def test_release_is_told_only_when_there_was_a_quarantine() -> None:
    seen: list[PoolEvent] = []
    pool = DecoderPool(quick_settings(), on_event=seen.append)
    await pool.start()
    try:
        good, bad = source(ECHO), source(SPIN)
        await ask(pool, good, {"n": 1})
        for _ in range(3):
            await ask(pool, bad)
        seen.clear()
        for each in (good, bad, bad):
            pool.release(each.decoder_id)
    finally:
        await pool.stop(timeout_s=2.0)
    lifted = [event.data for event in seen if event.name == events.QUARANTINE_LIFTED]
    assert lifted == [{"decoder_id": bad.decoder_id}]


async def test_script_errors_are_no_strikes(pool: DecoderPool) -> None:
    script = source("function decode(p) { throw new Error('no'); }")
    for _ in range(5):
        assert isinstance((await ask(pool, script)).error, ScriptError)
    counted = pool.statistics(script.decoder_id)
    assert counted is not None
    assert (counted.calls, counted.failures, counted.strikes) == (5, 5, 0)
    assert counted.last_error is not None
    assert "no" in counted.last_error
    assert counted.last_error_code == "script_error"
    assert counted.last_error_at is not None


async def test_trying_a_script_out_has_no_consequences(pool: DecoderPool) -> None:
    bad = source(SPIN)
    for _ in range(4):
        assert isinstance((await pool.test(request(bad))).error, ScriptLimitExceeded)
    assert pool.statistics(bad.decoder_id) is None
    outcome = await pool.test(request("function decode(p) { console.log('x'); return p; }", 5))
    assert (outcome.body, outcome.logs, outcome.convention) == (b"5", ("x",), "decode")


async def test_statistics_count_what_ran(pool: DecoderPool) -> None:
    script = source(ECHO)
    for n in range(10):
        await ask(pool, script, {"n": n})
    counted = pool.statistics(script.decoder_id)
    assert counted is not None
    assert (counted.calls, counted.failures, counted.version) == (10, 0, script.version)
    assert 0 < counted.p50_wall_s <= counted.p99_wall_s
    assert counted.cpu_s > 0
    assert counted in pool.all_statistics()
    pool.forget(script.decoder_id)
    assert pool.statistics(script.decoder_id) is None


async def test_evicted_script_is_sent_again() -> None:
    pool = DecoderPool(quick_settings(context_cache=2))
    await pool.start()
    scripts = [source(ECHO) for _ in range(12)]
    seen = [Outcomes(30) for _ in scripts]
    for n in range(30):
        for script, outcomes in zip(scripts, seen, strict=True):
            pool.submit(request(script, {"n": n}), outcomes)
    for outcomes in seen:
        assert [body_of(outcome) for outcome in await outcomes.all()] == list(range(30))
    await pool.stop(timeout_s=5)


async def test_context_is_thrown_away_after_so_many_calls() -> None:
    pool = DecoderPool(quick_settings(recycle_after_calls=5))
    await pool.start()
    script = source("let calls = 0; function decode(p) { return ++calls; }")
    await ask(pool, script)
    counts = [body_of(await ask(pool, script)) for _ in range(11)]
    assert counts == [1, 2, 3, 4, 5, 1, 2, 3, 4, 5, 1]
    await pool.stop(timeout_s=5)


async def test_context_is_thrown_away_after_an_interrupt(pool: DecoderPool) -> None:
    script = source(
        "let calls = 0; function decode(p) { ++calls; if (p.spin) for (;;); return calls; }"
    )
    # From the strike on, all calls are in the penalty lane's worker.
    assert body_of(await ask(pool, script)) == 1
    assert (await ask(pool, script, {"spin": True})).error is not None
    assert [body_of(await ask(pool, script)) for _ in range(2)] == [1, 2]
    assert (await ask(pool, script, {"spin": True})).error is not None
    assert body_of(await ask(pool, script)) == 1


async def test_memory_that_scripts_hold_is_bounded() -> None:
    limit = 100 * 1024 * 1024
    pool = DecoderPool(quick_settings(workers=1, worker_memory_bytes=limit))
    await pool.start()
    hoard = (
        "let held = []; function decode(p) { held.push(new Uint8Array(9e6).fill(1)); return 1; }"
    )
    for _ in range(40):
        script = source(hoard)
        for _ in range(3):
            assert body_of(await ask(pool, script)) == 1
        # Eight calls may pass between two looks at the memory.
        assert all(size_bytes(pid) < limit + 8 * 9_500_000 for pid in pool.worker_pids)
    assert pool.health().restarts == 0
    await pool.stop(timeout_s=5)


async def test_stop_waits_for_what_was_submitted() -> None:
    pool = DecoderPool(quick_settings())
    await pool.start()
    script = await trusted(pool, ECHO)
    seen = Outcomes(500)
    for n in range(500):
        pool.submit(request(script, {"n": n}), seen)
    await pool.stop(timeout_s=20)
    assert [body_of(outcome) for outcome in seen.seen] == list(range(500))


async def test_what_does_not_finish_before_the_stop_is_answered_too() -> None:
    pool = DecoderPool(quick_settings())
    await pool.start()
    seen = Outcomes(30)
    for _ in range(10):
        for code in (SPIN, MOODY, ECHO):
            pool.submit(request(source(code, 7), {"spin": True}), seen)
    await pool.stop(timeout_s=0)
    assert len(seen.seen) == 30
    assert all(isinstance(outcome.error, DecoderUnavailable) for outcome in seen.seen)
    assert pool.health().unanswered == 0
    await asyncio.sleep(0)
    assert len(seen.seen) == 30


async def test_pool_that_was_stopped_can_be_started_again() -> None:
    pool = DecoderPool(quick_settings())
    await pool.start()
    script = await trusted(pool, ECHO)
    hanging = source("function decode(p) { Array(4294967295).join(''); }")
    pool.submit(request(hanging), Outcomes(1))
    await pool.stop(timeout_s=0)
    await pool.start()
    assert body_of(await ask(pool, script, {"n": 3})) == 3
    assert isinstance((await ask(pool, hanging)).error, ScriptLimitExceeded)
    await pool.stop(timeout_s=5)


async def test_caller_who_goes_away_disturbs_nobody(pool: DecoderPool) -> None:
    script = await trusted(pool, ECHO)
    task = asyncio.create_task(pool.decode(request(script, {"n": 1})))
    await asyncio.sleep(0)
    task.cancel()
    assert body_of(await ask(pool, script, {"n": 2})) == 2


async def test_quarantine_is_reported() -> None:
    told: list[PoolEvent] = []
    pool = DecoderPool(quick_settings(), on_event=told.append)
    await pool.start()
    bad = source(SPIN)
    for _ in range(3):
        await ask(pool, bad)
    assert [event.name for event in told] == [events.STRIKE_GIVEN] * 3 + [events.QUARANTINE_STARTED]
    assert told[-1].data["decoder_id"] == bad.decoder_id
    await pool.stop(timeout_s=5)


@pytest.mark.parametrize("size_bytes", [100_000, 1_000_000])
async def test_large_payloads_pass(pool: DecoderPool, size_bytes: int) -> None:
    script = await trusted(pool, "function decode(p) { return p.n === 0 ? 0 : p.text.length; }")
    seen = Outcomes(40)
    for _ in range(40):
        pool.submit(request(script, {"text": "x" * size_bytes}), seen)
    assert {body_of(outcome) for outcome in await seen.all()} == {size_bytes}


async def test_decoder_that_is_always_slow_leaves_the_shared_worker(pool: DecoderPool) -> None:
    hog = source(
        "function decode(p) { for (let end = Date.now() + 60; Date.now() < end;); return 1; }"
    )
    for _ in range(6):
        await ask(pool, hog)
    neighbour = await trusted(pool, ECHO)
    finished: list[str] = []
    seen = Outcomes(21)

    def note(name: str, outcome: DecodeOutcome) -> None:
        finished.append(name)
        seen(outcome)

    pool.submit(request(hog), lambda outcome: note("hog", outcome))
    for n in range(20):
        pool.submit(request(neighbour, {"n": n}), lambda outcome: note("neighbour", outcome))
    await seen.all()
    assert finished == ["neighbour"] * 20 + ["hog"]


async def test_worker_of_suspects_gives_way_to_everything_else(pool: DecoderPool) -> None:
    outcome = await pool.decode(request("function decode(p, m) { return {ok: true}; }"))

    policies = {os.sched_getscheduler(pid) for pid in pool.worker_pids}

    assert outcome.error is None
    assert policies == {os.SCHED_OTHER, os.SCHED_IDLE}
