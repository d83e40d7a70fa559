"""Two counts over two exposures, against scipy's binomial and against simulated complaints."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.stats

from softlaunch import errors
from softlaunch.core.stats import counts


@pytest.mark.parametrize("share", [0.001, 0.05, 0.5, 0.95])
@pytest.mark.parametrize(("count", "total"), [(0, 0), (0, 9), (1, 9), (9, 9), (30, 200), (900, 1_000)])
def test_the_odds_are_the_binomial_s_upper_tail(count, total, share) -> None:
    expected = scipy.stats.binomtest(count, total, share, alternative="greater").pvalue if total else 1.0

    assert counts.odds_of_at_least(count, total=total, share=share) == pytest.approx(expected, rel=1e-9, abs=1e-300)


def test_equal_rates_look_clearly_different_at_most_as_often_as_promised() -> None:
    generator = np.random.default_rng(7)
    pairs = zip(generator.poisson(2.0, 2_000), generator.poisson(8.0, 2_000), strict=True)

    clear = sum(counts.odds_of_at_least(int(now), total=int(now + before), share=0.2) <= 0.01 for now, before in pairs)

    assert clear <= 2_000 * 0.01 + 4 * (2_000 * 0.01 * 0.99) ** 0.5


@pytest.mark.parametrize(("count", "total", "share"), [(-1, 5, 0.5), (6, 5, 0.5), (1, 5, 0.0), (1, 5, 1.0)])
def test_what_is_no_count_and_no_share_is_refused(count, total, share) -> None:
    with pytest.raises(errors.InvariantError):
        counts.odds_of_at_least(count, total=total, share=share)
