from __future__ import annotations

import math

import pytest

from softlaunch import errors
from softlaunch.core.stats import absolute


def test_459_clean_attempts_are_enough_when_all_weight_is_on_flawless() -> None:
    process = absolute.AbsoluteProcess(a=0.01, bets=(0.0,), weights=(1.0,))

    assert process.log_e(bad=0, count=458) < math.log(100) <= process.log_e(bad=0, count=459)


def test_a_single_failure_refutes_flawless() -> None:
    process = absolute.AbsoluteProcess(a=0.01, bets=(0.0,), weights=(1.0,))

    assert process.log_e(bad=1, count=10_000) == -math.inf


def test_no_attempts_are_no_evidence() -> None:
    assert absolute.below(0.01).log_e(bad=0, count=0) == pytest.approx(0.0, abs=1e-12)
    assert absolute.above(0.01).log_e(bad=0, count=0) == pytest.approx(0.0, abs=1e-12)


def test_the_alarm_bets_above_its_rate_even_when_that_is_high() -> None:
    for a in (0.001, 0.01, 0.5, 0.95):
        assert all(a < bet < 1.0 for bet in absolute.above(a).bets)


def test_the_alarm_rings_after_a_few_failures_in_a_row() -> None:
    assert absolute.above(0.01).log_e(bad=3, count=3) >= math.log(100)


@pytest.mark.parametrize(
    ("a", "bets", "weights"),
    [(0.0, (0.0,), (1.0,)), (0.1, (0.0, 0.1), (1.0,)), (0.1, (0.0,), (0.9,)), (0.1, (1.0,), (1.0,))],
)
def test_impossible_bets_are_refused(a: float, bets: tuple, weights: tuple) -> None:
    with pytest.raises(errors.InvariantError):
        absolute.AbsoluteProcess(a=a, bets=bets, weights=weights)


def test_wilson_upper_agrees_with_the_published_example() -> None:
    # Newcombe (1998), Statistics in Medicine 17, table I: 81 of 263, and 0 of 20.
    assert absolute.wilson_upper(bad=81, count=263) == pytest.approx(0.3662, abs=5e-5)
    assert absolute.wilson_upper(bad=0, count=20) == pytest.approx(0.1611, abs=5e-5)
    assert absolute.wilson_upper(bad=0, count=0) == 1.0
