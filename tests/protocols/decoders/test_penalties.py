"""Probation, strikes and quarantine, on a clock that the test moves."""

import pytest

from protocols.decoders.job import Job
from protocols.decoders.penalties import Standing
from tests.protocols.decoders.asking import quick_settings, request

WINDOW_S = 600.0
QUARANTINE_S = 600.0
CAP_S = 4 * 3600.0


@pytest.fixture
def standing() -> Standing:
    return Standing(
        quick_settings(
            strikes=3,
            strike_window_s=WINDOW_S,
            quarantine_s=QUARANTINE_S,
            quarantine_cap_s=CAP_S,
        )
    )


def quarantine(standing: Standing, now: float) -> float:
    """Three strikes in a row; returns how long the quarantine is."""
    assert [standing.strike(now, 0.25) for _ in range(3)] == [False, False, True]
    until = standing.quarantined_until(now)
    assert until is not None
    return until - now


def test_version_begins_on_probation_and_is_trusted_after_a_good_call(standing: Standing) -> None:
    assert (standing.is_on_probation, standing.is_trusted) == (True, False)
    standing.behave()
    assert (standing.is_on_probation, standing.is_trusted) == (False, True)


def test_strike_ends_trust_until_the_window_has_passed(standing: Standing) -> None:
    standing.behave()
    assert not standing.strike(1000.0, 0.25)
    assert not standing.is_trusted
    assert standing.strikes(1000.0 + WINDOW_S) == 1
    assert (standing.strikes(1000.1 + WINDOW_S), standing.is_trusted) == (0, True)


def test_three_strikes_spread_over_more_than_the_window_are_no_quarantine(
    standing: Standing,
) -> None:
    assert not any(standing.strike(1000.0 + n * (WINDOW_S / 2 + 1), 0.25) for n in range(10))


def test_quarantine_ends_in_probation(standing: Standing) -> None:
    assert quarantine(standing, 1000.0) == QUARANTINE_S
    assert standing.quarantined_until(999.9 + QUARANTINE_S) is not None
    assert standing.quarantined_until(1000.0 + QUARANTINE_S) is None
    assert standing.is_on_probation
    assert standing.strikes(1000.0 + QUARANTINE_S) == 0


def test_strikes_of_calls_that_were_under_way_do_not_prolong_the_quarantine(
    standing: Standing,
) -> None:
    quarantine(standing, 1000.0)
    assert not standing.strike(1001.0, 0.25)
    assert standing.quarantined_until(1001.0) == 1000.0 + QUARANTINE_S


def test_quarantine_doubles_up_to_the_cap(standing: Standing) -> None:
    now, lengths = 1000.0, []
    for _ in range(7):
        lengths.append(quarantine(standing, now))
        now += lengths[-1] + 1
    assert lengths == [600.0, 1200.0, 2400.0, 4800.0, 9600.0, CAP_S, CAP_S]


def test_quarantine_is_short_again_after_a_good_time(standing: Standing) -> None:
    quarantine(standing, 1000.0)
    assert quarantine(standing, 1000.0 + QUARANTINE_S + 10) == 2 * QUARANTINE_S
    later = 1000.0 + 4 * QUARANTINE_S + WINDOW_S
    assert standing.quarantined_until(later) is None
    assert quarantine(standing, later) == QUARANTINE_S


def test_trusted_version_is_doubted_once_per_window(standing: Standing) -> None:
    job = Job(1, request(""), lambda outcome: None, None)
    assert not standing.doubt(job, 1000.0)
    standing.behave()
    assert standing.doubt(job, 1000.0)
    assert (standing.is_on_probation, standing.is_trusted) == (True, False)
    assert standing.on_trial is job
    standing.on_trial = None
    standing.behave()
    assert not standing.doubt(job, 999.0 + WINDOW_S)
    assert standing.doubt(job, 1000.0 + WINDOW_S)


def test_release_forgives_everything(standing: Standing) -> None:
    quarantine(standing, 1000.0)
    standing.release()
    assert standing.quarantined_until(1000.0) is None
    assert standing.is_on_probation
    assert standing.strikes(1000.0) == 0
    assert quarantine(standing, 1001.0) == QUARANTINE_S
