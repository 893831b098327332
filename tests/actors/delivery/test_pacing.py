import pytest

from actors.delivery.pacing import Pace


def test_without_a_rate_nothing_waits() -> None:
    pace = Pace(None, lambda: 0.0)
    pace.take(1_000_000)
    assert pace.wait_s == 0


@pytest.mark.parametrize("rate_per_s", [0.1, 1, 25])
def test_over_a_long_time_no_more_than_the_rate_goes_through(rate_per_s: float) -> None:
    now_s = 0.0
    pace = Pace(rate_per_s, lambda: now_s)
    sent = 0
    while now_s < 1_000:
        if pace.wait_s == 0:
            pace.take()
            sent += 1
        else:
            now_s += pace.wait_s
    assert sent == pytest.approx(rate_per_s * 1_000, rel=0.02, abs=1)


def test_after_a_pause_at_most_the_helping_of_a_second_goes_at_once() -> None:
    now_s = 0.0
    pace = Pace(10, lambda: now_s)
    now_s = 3_600.0
    sent = 0
    while pace.wait_s == 0:
        pace.take()
        sent += 1
    assert sent == 10


def test_batch_that_overdraws_makes_the_next_one_wait_for_longer() -> None:
    now_s = 0.0
    pace = Pace(10, lambda: now_s)
    pace.take(50)
    assert pace.wait_s == pytest.approx(5.0)
