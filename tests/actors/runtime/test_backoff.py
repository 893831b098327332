import pytest
from hypothesis import given
from hypothesis import strategies as st

from actors.runtime import Backoff
from actors.runtime.intensity import RestartIntensity


def test_delays_double_up_to_the_cap() -> None:
    backoff = Backoff(initial_s=0.5, max_s=4.0, factor=2.0, jitter=0.0)
    assert [backoff.delay_s(attempt, lambda: 0.3) for attempt in range(6)] == [
        0.5,
        1.0,
        2.0,
        4.0,
        4.0,
        4.0,
    ]


@given(attempt=st.integers(-5, 10**9), random=st.floats(0, 1, exclude_max=True))
def test_a_delay_stays_within_its_jitter_and_below_the_cap(attempt: int, random: float) -> None:
    backoff = Backoff(initial_s=0.2, max_s=30.0, jitter=0.2)
    delay_s = backoff.delay_s(attempt, lambda: random)
    assert 0.2 * 0.8 <= delay_s <= 30.0


@pytest.mark.parametrize(
    "wrong", [{"initial_s": -1.0}, {"initial_s": 9.0, "max_s": 1.0}, {"factor": 0.5}, {"jitter": 2}]
)
def test_nonsense_is_refused_when_it_is_made(wrong: dict[str, float]) -> None:
    with pytest.raises(ValueError, match="back-off"):
        Backoff(**wrong)


def test_crashes_far_apart_never_add_up() -> None:
    intensity = RestartIntensity(2, window_s=10.0)
    assert not any(intensity.note_crash(now_s * 5.0) for now_s in range(100))


def test_one_crash_more_than_allowed_within_the_window_is_too_many() -> None:
    intensity = RestartIntensity(2, window_s=10.0)
    assert [intensity.note_crash(now_s) for now_s in (0.0, 4.0, 9.9)] == [False, False, True]


@given(st.lists(st.floats(0, 50), min_size=1, max_size=60), st.integers(0, 5))
def test_the_window_slides(gaps: list[float], allowed: int) -> None:
    intensity = RestartIntensity(allowed, window_s=20.0)
    times: list[float] = []
    for gap in gaps:
        times.append((times[-1] if times else 0.0) + gap)
        recent = [at for at in times if at > times[-1] - 20.0]
        assert intensity.note_crash(times[-1]) == (len(recent) > allowed)
