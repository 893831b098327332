from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from protocols.targets.schedule import DELAYS_S, EXPIRES_AFTER_S, next_delay_s

MIDDLE = 0.5
fractions = st.floats(min_value=0, max_value=1)
NOW = datetime(2026, 1, 1, tzinfo=UTC)
remaining = st.floats(min_value=0.001, max_value=EXPIRES_AFTER_S)


def delay_after(
    attempts: int, *, remaining_s: float, random: float, retry_after_s: float | None = None
) -> float | None:
    return next_delay_s(
        attempts,
        now=NOW,
        expires_at=NOW + timedelta(seconds=remaining_s),
        retry_after_s=retry_after_s,
        random=lambda: random,
    )


def test_delays_differ_from_call_to_call() -> None:
    expires_at = NOW + timedelta(seconds=EXPIRES_AFTER_S)
    assert len({next_delay_s(5, now=NOW, expires_at=expires_at) for _ in range(5)}) > 1


def test_schedule_is_eleven_attempts_within_71_h_35_min_35_s() -> None:
    delays = [
        delay_after(attempts, remaining_s=EXPIRES_AFTER_S, random=MIDDLE) for attempts in range(12)
    ]
    assert delays[:6] == [0, 5, 30, 300, 1800, 7200]
    assert sum(delay for delay in delays if delay is not None) == pytest.approx(
        71 * 3600 + 35 * 60 + 35
    )
    assert delays[11] is None


@given(st.integers(min_value=0, max_value=10), fractions)
def test_jitter_stays_within_a_fifth(attempts: int, random: float) -> None:
    delay_s = delay_after(attempts, remaining_s=EXPIRES_AFTER_S, random=random)
    assert delay_s is not None
    assert 0.8 * DELAYS_S[attempts] <= delay_s <= 1.2 * DELAYS_S[attempts] + 1e-6


@given(st.integers(min_value=0, max_value=10), remaining, fractions, st.floats(0, 10**9))
def test_retry_after_is_a_floor_of_at_most_a_day_and_never_passes_the_expiry(
    attempts: int, remaining_s: float, random: float, retry_after_s: float
) -> None:
    delay_s = delay_after(
        attempts, remaining_s=remaining_s, random=random, retry_after_s=retry_after_s
    )
    assert delay_s is not None
    assert delay_s <= remaining_s + 1e-6
    assert delay_s >= min(retry_after_s, 24 * 3600, remaining_s) - 1e-6


@given(st.integers(min_value=0, max_value=20), st.floats(min_value=-1e9, max_value=0), fractions)
def test_expired_delivery_is_not_tried_again(
    attempts: int, remaining_s: float, random: float
) -> None:
    assert delay_after(attempts, remaining_s=remaining_s, random=random) is None


@given(st.integers(min_value=11), remaining, fractions)
def test_retry_after_gives_no_attempt_beyond_the_last(
    attempts: int, remaining_s: float, random: float
) -> None:
    delay_s = delay_after(attempts, remaining_s=remaining_s, random=random, retry_after_s=1.0)
    assert delay_s is None


@given(st.lists(fractions, min_size=12, max_size=12), st.floats(min_value=0, max_value=300))
def test_every_delivery_ends_within_72_hours_plus_its_last_attempt(
    randoms: list[float], attempt_duration_s: float
) -> None:
    elapsed_s, attempts = 0.0, 0
    for random in randoms:
        delay_s = delay_after(attempts, remaining_s=EXPIRES_AFTER_S - elapsed_s, random=random)
        if delay_s is None:
            break
        elapsed_s += delay_s + attempt_duration_s
        attempts += 1
    assert attempts <= 11
    assert elapsed_s <= EXPIRES_AFTER_S + attempt_duration_s + 1e-6
