"""Are two counts of rare events, gathered over different exposures, from the same rate?"""

from __future__ import annotations

import math

from softlaunch import errors


def odds_of_at_least(count: int, *, total: int, share: float) -> float:
    """
    Probability that at least `count` of `total` events fall to one of two sides, when rates are equal.

    Given their total, Poisson counts of two sides with equal rates are binomial: each event falls to a side with
    probability `share`, its part of the whole exposure. A small answer speaks for a higher rate on that side.

    Args:
        count: Events of that side, 0 to `total`.
        total: Events of both.
        share: Exposure of that side over that of both, between 0 and 1, both exclusive.

    Raises:
        InvariantError: an argument is outside of its range.

    Source:
        Przyborowski and Wilenski (1940), Homogeneity of results in testing samples from Poisson series, Biometrika 31.
    """
    if not 0 <= count <= total or not 0.0 < share < 1.0:
        raise errors.InvariantError(f"{count} of {total} events with {share} of the exposure.")
    logs = (
        math.lgamma(total + 1)
        - math.lgamma(found + 1)
        - math.lgamma(total - found + 1)
        + found * math.log(share)
        + (total - found) * math.log1p(-share)
        for found in range(count, total + 1)
    )
    return min(1.0, math.fsum(math.exp(log) for log in logs))
