"""A script that takes too long gets little of the processor, on a clock that the test moves."""

import asyncio
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from protocols.decoders import DecoderPool, DecoderSettings, DecoderSource, PoolEvent, events
from protocols.decoders.penalties import Standing
from protocols.errors import DecoderResting, ScriptLimitExceeded
from tests.protocols.decoders.asking import ask, body_of, request, source

SPINS = "function decode(p) { for (;;); }"
SPINS_WHEN_LOADED = "for (;;); function decode(p) { return 1; }"
# Longer than a trial may take, shorter than a call may.
TAKES_ITS_TIME = """
function decode(p) {
  const until = Date.now() + 100;
  while (Date.now() < until);
  return p.n;
}
"""
MOODY = "function decode(p) { if (p.spin) for (;;); return p.n; }"

SETTINGS = DecoderSettings(
    workers=1,
    cpu_limit_s=0.25,
    trial_limit_s=0.03,
    rest_factor=100.0,
    strikes=3,
    strike_window_s=600.0,
    quarantine_s=600.0,
)


class Clock:
    """Stands still unless it is moved."""

    def __init__(self) -> None:
        self.now_s = 1_000.0

    def __call__(self) -> float:
        return self.now_s


class Watched:
    """A pool with the clock in the test's hand, and what it reported."""

    def __init__(self) -> None:
        self.clock = Clock()
        self.reported: list[PoolEvent] = []
        self.pool = DecoderPool(SETTINGS, on_event=self.reported.append, clock=self.clock)

    async def ask(self, script: DecoderSource, payload: object = None) -> type[Exception] | None:
        error = (await ask(self.pool, script, payload)).error
        return None if error is None else type(error)

    def spent_s(self, script: DecoderSource) -> float:
        counted = self.pool.statistics(script.decoder_id)
        assert counted is not None
        return counted.cpu_s

    def rests(self) -> list[object]:
        return [event.data["rest_s"] for event in self.reported if "rest_s" in event.data]


@pytest_asyncio.fixture
async def watched() -> AsyncIterator[Watched]:
    scene = Watched()
    await scene.pool.start()
    yield scene
    await scene.pool.stop(timeout_s=5)


@pytest.mark.parametrize("code", [SPINS, SPINS_WHEN_LOADED])
async def test_first_call_is_cut_early_and_is_no_failure(watched: Watched, code: str) -> None:
    script = source(code)
    assert await watched.ask(script) is DecoderResting
    assert 0.02 < watched.spent_s(script) < SETTINGS.cpu_limit_s / 2
    counted = watched.pool.statistics(script.decoder_id)
    assert counted is not None
    assert counted.strikes == 0
    assert counted.quarantined_until is not None
    assert [event.name for event in watched.reported] == [events.TRIAL_CUT]


async def test_script_does_not_run_while_it_rests(watched: Watched) -> None:
    script = source(SPINS)
    await watched.ask(script)
    before_s = watched.spent_s(script)
    answers = [await watched.ask(script) for _ in range(50)]
    assert answers == [DecoderResting] * 50
    assert watched.spent_s(script) == before_s


async def test_slow_script_that_is_cut_on_trial_is_run_to_its_end_after_a_rest(
    watched: Watched,
) -> None:
    script = source(TAKES_ITS_TIME)
    assert await watched.ask(script, {"n": 1}) is DecoderResting
    watched.clock.now_s += 20
    assert body_of(await ask(watched.pool, script, {"n": 1})) == 1
    assert body_of(await ask(watched.pool, script, {"n": 2})) == 2


async def test_script_that_spins_every_time_gets_a_small_share_of_the_processor(
    watched: Watched,
) -> None:
    script = source(SPINS)
    began_s, failures = watched.clock.now_s, 0
    while events.QUARANTINE_STARTED not in {event.name for event in watched.reported}:
        failures += await watched.ask(script) is ScriptLimitExceeded
        watched.clock.now_s += 1
    assert failures == SETTINGS.strikes
    assert watched.spent_s(script) < 0.02 * (watched.clock.now_s - began_s)


async def test_what_waits_for_a_script_that_begins_to_rest_is_not_run(watched: Watched) -> None:
    script = source(SPINS)
    await watched.ask(script)
    watched.clock.now_s += 20
    outcomes = await asyncio.gather(*(watched.pool.decode(request(script)) for _ in range(20)))
    kinds = [type(outcome.error) for outcome in outcomes]
    assert kinds == [ScriptLimitExceeded] + [DecoderResting] * 19


async def test_script_that_has_behaved_is_forgiven_one_strike_without_a_rest(
    watched: Watched,
) -> None:
    script = source(MOODY)
    assert await watched.ask(script, {"n": 1}) is None
    assert await watched.ask(script, {"spin": True}) is ScriptLimitExceeded
    assert await watched.ask(script, {"n": 2}) is None
    assert await watched.ask(script, {"spin": True}) is ScriptLimitExceeded
    assert await watched.ask(script, {"n": 3}) is DecoderResting
    first, second = watched.rests()
    assert first == 0.0
    assert isinstance(second, float)
    assert second > 20
    watched.clock.now_s += second
    assert await watched.ask(script, {"n": 3}) is None


async def test_release_and_a_changed_script_end_a_rest(watched: Watched) -> None:
    script = source(SPINS)
    await watched.ask(script)
    assert body_of(await ask(watched.pool, source(MOODY, script.decoder_id), {"n": 1})) == 1
    watched.pool.release(script.decoder_id)
    before_s = watched.spent_s(script)
    await watched.ask(script)
    assert watched.spent_s(script) > before_s


def test_rest_lasts_in_proportion_to_the_call_and_never_longer_than_a_quarantine() -> None:
    standing = Standing(SETTINGS)
    standing.cut_short(1_000.0, 0.03)
    assert standing.shut_out_until(1_000.0) == pytest.approx(1_003.0)
    assert standing.shut_out_until(1_003.0) is None
    standing.strike(1_003.0, 0.25)
    assert standing.shut_out_until(1_003.0) == pytest.approx(1_028.0)
    standing.strike(1_028.0, 60.0)
    assert standing.shut_out_until(1_028.0) == pytest.approx(1_628.0)


def test_version_is_on_trial_at_first_and_after_a_quarantine() -> None:
    standing = Standing(SETTINGS)
    trials = [standing.wants_trial]
    standing.cut_short(1_000.0, 0.03)
    trials.append(standing.wants_trial)
    for n in range(3):
        standing.strike(1_100.0 + n, 0.25)
    assert standing.shut_out_until(1_102.0) == 1_702.0
    assert standing.shut_out_until(1_702.0) is None
    trials.append(standing.wants_trial)
    assert trials == [True, False, True]
