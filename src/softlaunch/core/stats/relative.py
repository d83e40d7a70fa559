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
from typing import NamedTuple

GRID = (1.25, 1.5, 2.0, 3.0, 5.0, 10.0, 30.0, 1000.0)
"""How many times as often the candidate makes events, each with weight 1/8: from "a little" to "always"."""

GRID_MIRROR = (1.25, 1.5, 2.0, 3.0, 5.0, 10.0)
"""The same for promotion; with a margin of 2, equal arms are exactly the bet 2.0, and 30 or 1000 would be wasted."""

RESTART_EVERY = 500
"""Updates between two fresh starts: a difference that begins late is found after some hundred events, not thousands."""

_RESCALE_ABOVE = 2.0**300
_RESCALE_BELOW = 2.0**-300
_LOG_2 = math.log(2.0)
_EXP_ARGUMENT_MAX = 700.0


def exp_capped(log_value: float) -> float:
    """e^x that answers e^700 instead of overflowing: far beyond every threshold, and still finite when added."""
    return math.exp(min(log_value, _EXP_ARGUMENT_MAX))


class _Mixture:
    """
    The mean of a few products of factors, as mantissas and a common exponent; with a reserve, able to begin anew.

    After a long time without a difference every bet has lost, and a difference that begins then would have to win all
    of it back first. So a share of the wealth can be kept aside, and a part of it put on fresh copies of the bets every
    `RESTART_EVERY` updates: the j-th time 1/(j + 1) of what is left, which adds up to everything and never runs out.
    When to bet what is decided before the next event, so the sum is the same kind of process.
    """

    __slots__ = (
        "_count",
        "_exponent",
        "_mantissas",
        "_reserve",
        "_restart_count",
        "_restart_every",
        "_since",
        "_total",
    )

    def __init__(self, count: int, *, reserve: float, restart_every: int = RESTART_EVERY) -> None:
        self._count = count
        self._restart_every = restart_every
        self._mantissas = [(1.0 - reserve) / count] * count + ([0.0] * count if reserve else [])
        self._reserve = reserve
        self._since = 0
        self._restart_count = 0
        self._exponent = 0
        # Summed, not set to 1: a restored process starts from the same rounding.
        self._total = sum(self._mantissas) + reserve

    @property
    def log_e(self) -> float:
        """Natural logarithm of the e-value now; 0 before the first event."""
        return math.log(self._total) + self._exponent * _LOG_2

    @property
    def e(self) -> float:
        """The e-value now, capped at e^700."""
        return self._total if not self._exponent else exp_capped(self.log_e)

    def state(self) -> list[float]:
        """What `load` needs to go on bit for bit."""
        return [float(self._exponent), float(self._since), float(self._restart_count), self._reserve, *self._mantissas]

    def load(self, state: Sequence[float]) -> None:
        """Go on from `state()` of a process with the same grid and reserve."""
        self._exponent = int(state[0])
        self._since = int(state[1])
        self._restart_count = int(state[2])
        self._reserve = float(state[3])
        self._mantissas = [float(mantissa) for mantissa in state[4:]]
        self._total = sum(self._mantissas) + self._reserve

    def _settle(self, mantissas: list[float]) -> None:
        self._mantissas = mantissas
        self._total = total = sum(mantissas) + self._reserve
        if not _RESCALE_BELOW < total < _RESCALE_ABOVE:
            self._rescale()
        if self._reserve:
            self._since += 1
            if self._since >= self._restart_every:
                self._restart()

    def _rescale(self) -> None:
        # Powers of two, so that rescaling never rounds.
        _, shift = math.frexp(self._total)
        self._mantissas = [math.ldexp(mantissa, -shift) for mantissa in self._mantissas]
        self._reserve = math.ldexp(self._reserve, -shift)
        self._exponent += shift
        self._total = sum(self._mantissas) + self._reserve

    def _restart(self) -> None:
        count = self._count
        self._since = 0
        self._restart_count += 1
        fresh = self._reserve / (self._restart_count + 1)
        # What the last copies are still worth goes on with the new ones.
        each = (fresh + sum(self._mantissas[count:])) / count
        self._reserve -= fresh
        self._mantissas[count:] = [each] * count
        self._total = sum(self._mantissas) + self._reserve


class RelativeProcess(_Mixture):
    """
    Evidence that the candidate makes events more often than tolerated.

    Args:
        grid: Ratios bet on, each with the same weight, all above 1.
        tolerated_ratio: H0 is "at most this many times as often as stable"; 1 is "no more often".
        reserve: Share kept aside to see a difference that begins late; 0 is the published process.
        restart_every: Events after which a part of it is bet.
    """

    __slots__ = ("_excess", "_grid", "_tolerated_ratio")

    def __init__(
        self,
        *,
        grid: Sequence[float] = GRID,
        tolerated_ratio: float = 1.0,
        reserve: float = 0.0,
        restart_every: int = RESTART_EVERY,
    ) -> None:
        super().__init__(len(grid), reserve=reserve, restart_every=restart_every)
        self._grid = tuple(grid) * (2 if reserve else 1)
        self._excess = tuple(ratio - 1.0 for ratio in self._grid)
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
        self._settle(mantissas)


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


class ArmCounts(NamedTuple):
    """A few attempts at one threshold."""

    over_candidate: int
    over: int
    """Of both arms."""
    under_candidate: int
    under: int
    """Of both arms."""


class ExceedanceProcess(_Mixture):
    """
    Evidence that the candidate exceeds a threshold more often, from attempts that did and, if wanted, that did not.

    Given what an attempt was (exceeded or not) and the past, equal arms make it the candidate's with probability rho
    either way. So the bet "exceeded `ratio` times as often" can also be the bet "not exceeded (1 - ratio tail) /
    (1 - tail) times as often", and every attempt multiplies it by its factor. At stable's median that doubles what is
    known; for rare exceedances it adds nothing.

    If the candidate exceeds no more often than stable, the expected factor is at most 1, whatever the true tail is:
    with r(1) > r(0) the ratios and D = 1 - rho + rho r, r/D rises with the outcome, so the candidate's expectation of
    r/D is at most stable's, and the sum is at most E_stable[(1 - rho + rho r) / D] = 1.

    A rho that is not known exactly may be given from both sides: too high a rho lowers the evidence of an attempt that
    exceeded, too low a rho that of one that did not.

    Args:
        tail: Share of attempts expected to exceed, 0 < tail < 1; the truth may differ, only power depends on it.
        grid: Ratios bet on, each above 1 and below 1 / tail.
        two_sided: Whether attempts that did not exceed count.
    """

    __slots__ = ("_bets", "_two_sided")

    def __init__(self, *, tail: float, grid: Sequence[float], two_sided: bool, reserve: float = 0.0) -> None:
        super().__init__(len(grid), reserve=reserve)
        bets = tuple((ratio, (1.0 - ratio * tail) / (1.0 - tail) if two_sided else 1.0) for ratio in grid)
        self._bets = bets * (2 if reserve else 1)
        self._two_sided = two_sided

    def update(self, block: ArmCounts, *, rho_low: float, rho_high: float) -> None:
        """
        Take a few attempts into account, all at the same rho.

        Args:
            block: How many of them exceeded and did not, per arm; few enough that no power overflows (tens).
            rho_low: The candidate's share before the first of them, at least.
            rho_high: The same, at most.
        """
        over_candidate, over, under_candidate, under = block
        if self._two_sided:
            mantissas = [
                mantissa
                * (ratio_over**over_candidate * ratio_under**under_candidate)
                / ((1.0 + rho_high * (ratio_over - 1.0)) ** over * (1.0 + rho_low * (ratio_under - 1.0)) ** under)
                for mantissa, (ratio_over, ratio_under) in zip(self._mantissas, self._bets, strict=True)
            ]
        elif over:
            mantissas = [
                mantissa * ratio_over**over_candidate / (1.0 + rho_high * (ratio_over - 1.0)) ** over
                for mantissa, (ratio_over, _) in zip(self._mantissas, self._bets, strict=True)
            ]
        else:
            return
        self._settle(mantissas)
