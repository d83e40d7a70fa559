"""
Is one arm worse than the other? Looked at after every event, forever.

Look only at events (failures, invalid answers, exceedances of a threshold). If the arms are equal, then under any
shared intensity (an outage, the time of day) the next event comes from the candidate with probability rho, the
candidate's share of the attempts at that moment. A bet on "the candidate makes events exp(delta) times as often" is
worth, after n events,

    prod_t exp(delta c_t) / (1 - rho_t + rho_t exp(delta)),        c_t = 1 when event t came from the candidate,

which is a supermartingale whenever the candidate is equal or better, so it exceeds 1/alpha with probability at most
alpha over its whole life (Ville's inequality). Nobody knows delta, so the process here is the mean over a grid of it.

A mean of products is kept as mantissas and one common binary exponent: as exact as logarithms and several times
cheaper per event. A bet that has fallen 2^1074 times behind the best one becomes zero and stays there, which only
lowers the evidence (it could have mattered again only long after another bet had decided).

Source:
    Lindon and Malek, Anytime-valid inference for multinomial count data, arXiv 2011.03567; Lindon, Sanden and
    Shirikian, arXiv 2205.14762.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

GRID = (1.25, 1.5, 2.0, 3.0, 5.0, 10.0, 30.0, 1000.0)
"""How many times as often the candidate makes events, each with weight 1/8: from "a little" to "always"."""

GRID_MIRROR = (1.25, 1.5, 2.0, 3.0, 5.0, 10.0)
"""The same for promotion; with a margin of 2, equal arms are exactly the bet 2.0, and 30 or 1000 would be wasted."""

_RESCALE_ABOVE = 2.0**300
_RESCALE_BELOW = 2.0**-300
_LOG_2 = math.log(2.0)
_EXP_ARGUMENT_MAX = 700.0


def exp_capped(log_value: float) -> float:
    """e^x that answers e^700 instead of overflowing: far beyond every threshold, and still finite when added."""
    return math.exp(min(log_value, _EXP_ARGUMENT_MAX))


class _Mixture:
    """The mean of a few products of factors, as mantissas and a common binary exponent."""

    __slots__ = ("_exponent", "_mantissas", "_total")

    def __init__(self, count: int) -> None:
        self._mantissas = [1.0 / count] * count
        self._exponent = 0
        self._total = 1.0

    @property
    def log_e(self) -> float:
        """Natural logarithm of the e-value now; 0 before the first event."""
        return math.log(self._total) + self._exponent * _LOG_2

    @property
    def e(self) -> float:
        """The e-value now, capped at e^700."""
        return self._total if not self._exponent else exp_capped(self.log_e)

    def state(self) -> list[float]:
        """What `load` needs to go on bit for bit: the exponent, then the mantissas."""
        return [float(self._exponent), *self._mantissas]

    def load(self, state: Sequence[float]) -> None:
        """Go on from `state()` of a process with the same grid."""
        self._exponent = int(state[0])
        self._mantissas = [float(mantissa) for mantissa in state[1:]]
        self._total = sum(self._mantissas)

    def _rescale(self) -> None:
        # Powers of two, so that rescaling never rounds.
        _, shift = math.frexp(self._total)
        self._mantissas = [math.ldexp(mantissa, -shift) for mantissa in self._mantissas]
        self._exponent += shift
        self._total = sum(self._mantissas)


class RelativeProcess(_Mixture):
    """
    Evidence that the candidate makes events more often than tolerated.

    Args:
        grid: Ratios bet on, each with the same weight, all above 1.
        tolerated_ratio: H0 is "at most this many times as often as stable"; 1 is "no more often".
    """

    __slots__ = ("_excess", "_grid", "_tolerated_ratio")

    def __init__(self, *, grid: Sequence[float] = GRID, tolerated_ratio: float = 1.0) -> None:
        super().__init__(len(grid))
        self._grid = tuple(grid)
        self._excess = tuple(ratio - 1.0 for ratio in grid)
        self._tolerated_ratio = tolerated_ratio

    def update(self, from_candidate: bool, rho: float) -> None:  # noqa: FBT001  # an observation, not an option
        """
        Take one event into account.

        Args:
            from_candidate: Which arm it came from.
            rho: The candidate's share of attempts just before this one, 0 to 1, known without looking at the event.
        """
        tolerated = self._tolerated_ratio
        if tolerated != 1.0:
            rho = rho * tolerated / (1.0 - rho + rho * tolerated)
        if from_candidate:
            mantissas = [
                mantissa * ratio / (1.0 + rho * excess)
                for mantissa, ratio, excess in zip(self._mantissas, self._grid, self._excess, strict=True)
            ]
        else:
            mantissas = [
                mantissa / (1.0 + rho * excess) for mantissa, excess in zip(self._mantissas, self._excess, strict=True)
            ]
        self._mantissas = mantissas
        self._total = total = sum(mantissas)
        if not _RESCALE_BELOW < total < _RESCALE_ABOVE:
            self._rescale()


class MirrorProcess:
    """
    Evidence against "the candidate makes events at least `margin_ratio` times as often as stable", for promotion.

    The same process seen from the other side: if the candidate were exactly the margin worse, an event would come from
    stable with probability (1 - rho) / (1 - rho + rho margin); the bets are that stable's share is higher than that.
    """

    __slots__ = ("_margin_ratio", "_process")

    def __init__(self, *, margin_ratio: float, grid: Sequence[float] = GRID_MIRROR) -> None:
        self._margin_ratio = margin_ratio
        self._process = RelativeProcess(grid=grid)

    @property
    def log_e(self) -> float:
        """Natural logarithm of the e-value now."""
        return self._process.log_e

    def update(self, from_candidate: bool, rho: float) -> None:  # noqa: FBT001  # an observation, not an option
        """Take one event into account; arguments as in RelativeProcess.update."""
        self._process.update(not from_candidate, (1.0 - rho) / (1.0 - rho + rho * self._margin_ratio))

    def state(self) -> list[float]:
        """What `load` needs to go on bit for bit."""
        return self._process.state()

    def load(self, state: Sequence[float]) -> None:
        """Go on from `state()`."""
        self._process.load(state)


class ExceedanceProcess(_Mixture):
    """
    Evidence that the candidate exceeds a threshold more often, from attempts that did and from attempts that did not.

    For rare events the attempts without one say nothing; at stable's median they say as much as the others. Given what
    an attempt was (exceeded or not) and the past, equal arms make it the candidate's with probability rho either way.
    So each bet "exceeded `ratio` times as often" is also the bet "not exceeded (1 - ratio tail) / (1 - tail) times as
    often", and every attempt multiplies it by its factor. If the candidate exceeds no more often than stable, the
    expected factor is at most 1, whatever the true tail is: with r(1) > r(0) the ratios and D = 1 - rho + rho r, r/D
    rises with the outcome, so the candidate's expectation of r/D is at most stable's, and the sum is at most
    E_stable[(1 - rho + rho r) / D] = 1.

    Args:
        tail: Share of attempts expected to exceed, 0 < tail < 1; the truth may differ, only power depends on it.
        grid: Four ratios bet on, each above 1 and below 1 / tail.
    """

    __slots__ = ("_excess_over", "_excess_under", "_ratio_over", "_ratio_under")

    def __init__(self, *, tail: float, grid: Sequence[float]) -> None:
        super().__init__(len(grid))
        under = tuple((1.0 - ratio * tail) / (1.0 - tail) for ratio in grid)
        self._ratio_over = tuple(grid)
        self._ratio_under = under
        self._excess_over = tuple(ratio - 1.0 for ratio in grid)
        self._excess_under = tuple(ratio - 1.0 for ratio in under)

    def update(self, exceeded: bool, from_candidate: bool, rho: float) -> None:  # noqa: FBT001  # observations
        """Take one attempt into account; rho as in RelativeProcess.update."""
        if exceeded:
            ratios, excesses = self._ratio_over, self._excess_over
        else:
            ratios, excesses = self._ratio_under, self._excess_under
        # Written out, because this runs twice for every attempt: half the cost of a comprehension.
        first, second, third, fourth = self._mantissas
        excess_1, excess_2, excess_3, excess_4 = excesses
        first /= 1.0 + rho * excess_1
        second /= 1.0 + rho * excess_2
        third /= 1.0 + rho * excess_3
        fourth /= 1.0 + rho * excess_4
        if from_candidate:
            ratio_1, ratio_2, ratio_3, ratio_4 = ratios
            first *= ratio_1
            second *= ratio_2
            third *= ratio_3
            fourth *= ratio_4
        self._mantissas = [first, second, third, fourth]
        self._total = total = first + second + third + fourth
        if not _RESCALE_BELOW < total < _RESCALE_ABOVE:
            self._rescale()
