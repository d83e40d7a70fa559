"""
Is one arm's rate of bad attempts below (or above) a number, with nothing to compare it with?

    A_n = sum_j w_j prod_{t<=n} (q_j / a)^{x_t} ((1 - q_j) / (1 - a))^{1 - x_t},        x_t = 1 for a bad attempt.

With every q_j < a it is evidence against "the rate is at least a" (promotion); with every q_j > a against "the rate is
at most a" (an alarm). Either may be looked at after every attempt: it reaches 1/beta under its null with probability
at most beta (Ville's inequality). A_n depends on the attempts only through how many there were and how many were bad,
so there is nothing to keep but two counts.
"""

from __future__ import annotations

import dataclasses
import math

from softlaunch import errors

_BELOW_FRACTIONS = (0.0, 0.1, 0.25, 0.5)
"""Bets of the bound, as fractions of a: flawless, and up to half of what is acceptable."""

_ABOVE_RATIOS = (1.5, 2.0, 4.0, 10.0, 30.0)
"""Bets of the alarm, as multiples of a; those at or above 1 are replaced by one halfway between a and 1."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class AbsoluteProcess:
    """
    Evidence about one arm's rate, as a function of counts.

    Raises:
        InvariantError: a or a bet is outside [0, 1), or the weights do not sum to 1.
    """

    a: float
    bets: tuple[float, ...]
    weights: tuple[float, ...]

    def __post_init__(self) -> None:
        if not 0.0 < self.a < 1.0:
            raise errors.InvariantError(f"the rate under test is {self.a}, not between 0 and 1.")
        if len(self.bets) != len(self.weights) or not all(0.0 <= bet < 1.0 for bet in self.bets):
            raise errors.InvariantError(f"bets {self.bets} and weights {self.weights} do not fit together.")
        if abs(sum(self.weights) - 1.0) > 1e-12:  # rounding of a handful of additions
            raise errors.InvariantError(f"weights {self.weights} do not sum to 1.")

    def log_e(self, *, bad: int, count: int) -> float:
        """Natural logarithm of the evidence after `count` attempts of which `bad` were bad; 0 when count is 0."""
        terms = []
        for bet, weight in zip(self.bets, self.weights, strict=True):
            if bet == 0.0:
                if bad:
                    continue
                term = 0.0
            else:
                term = bad * math.log(bet / self.a)
            terms.append(math.log(weight) + term + (count - bad) * (math.log1p(-bet) - math.log1p(-self.a)))
        return log_sum_exp(terms)


def log_sum_exp(terms: list[float]) -> float:
    """log(sum(exp(term))) without overflow; -inf for no terms."""
    if not terms:
        return -math.inf
    top = max(terms)
    if math.isinf(top):
        return top
    return top + math.log(math.fsum(math.exp(term - top) for term in terms))


def log_mean(parts: list[tuple[float, float]]) -> float:
    """The logarithm of the weighted sum of e-values given as (weight, logarithm)."""
    return log_sum_exp([math.log(weight) + log_e for weight, log_e in parts])


def below(a: float) -> AbsoluteProcess:
    """Evidence that the rate is below `a`: 532 attempts without a failure reach 100 at a = 1 %."""
    count = len(_BELOW_FRACTIONS)
    return AbsoluteProcess(
        a=a, bets=tuple(a * fraction for fraction in _BELOW_FRACTIONS), weights=(1.0 / count,) * count
    )


def above(a: float) -> AbsoluteProcess:
    """Evidence that the rate is above `a`."""
    bets = tuple(a * ratio for ratio in _ABOVE_RATIOS if a * ratio < 0.9)  # 0.9 is the last bet anyway
    bets = (*bets, max(0.9, (1.0 + a) / 2.0))
    return AbsoluteProcess(a=a, bets=bets, weights=(1.0 / len(bets),) * len(bets))


def wilson_upper(*, bad: int, count: int, z: float = 1.96) -> float:
    """
    Upper end of the Wilson interval of a recorded rate; 1 when nothing was recorded.

    Source:
        Wilson (1927), Probable inference, the law of succession, and statistical inference. JASA 22.
    """
    if count == 0:
        return 1.0
    rate = bad / count
    centre = rate + z * z / (2.0 * count)
    spread = z * math.sqrt(rate * (1.0 - rate) / count + z * z / (4.0 * count * count))
    return min(1.0, (centre + spread) / (1.0 + z * z / count))
