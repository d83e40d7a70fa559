"""When the requests of a load test start."""

from __future__ import annotations

import itertools
import statistics

import pytest

from softlaunch import errors
from softlaunch.core.load import schedule
from softlaunch.core.verify_specs import Arrivals


def test_constant_arrivals_are_evenly_spaced() -> None:
    assert [0.0, 0.25, 0.5, 0.75] == schedule.offsets(Arrivals.CONSTANT, rate=4.0, duration_seconds=1.0, seed=1)


def test_the_same_seed_gives_the_same_arrivals_and_another_one_others() -> None:
    first, again, other = (
        schedule.offsets(Arrivals.POISSON, rate=200.0, duration_seconds=15.0, seed=seed) for seed in (7, 7, 8)
    )

    assert first == again
    assert first != other
    assert 3_000 == len(first) == len(other)


def test_poisson_gaps_vary_as_much_as_they_last() -> None:
    # Exponential gaps have a standard deviation equal to their mean; of 20,000 the ratio's own is below 1 %.
    found = schedule.offsets(Arrivals.POISSON, rate=1_000.0, duration_seconds=20.0, seed=3)
    gaps = [late - early for early, late in itertools.pairwise(found)]

    assert min(gaps) >= 0.0
    assert 0.95 < statistics.stdev(gaps) / statistics.mean(gaps) < 1.05
    assert 0.0 <= found[0] < found[-1] < 20.0


@pytest.mark.parametrize(("rate", "seconds"), [(0.0, 1.0), (-1.0, 1.0), (1.0, 0.0), (0.1, 1.0), (1e6, 3_600.0)])
def test_what_plans_nothing_or_too_much_is_refused(rate, seconds) -> None:
    with pytest.raises(errors.InvariantError):
        schedule.offsets(Arrivals.POISSON, rate=rate, duration_seconds=seconds, seed=1)
