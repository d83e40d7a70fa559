"""
Plans: strategies expanded into one list of steps.

Strategies are not code paths. A canary and a blue-green launch are both a strictly rising list of shares that ends at
all traffic; they differ in the values. While a rollout is watched, the holdback stays on the old release, so the last
step shows `WEIGHT_FULL - holdback` to the new one.
"""

from __future__ import annotations

import dataclasses
import decimal
import itertools
from collections.abc import Sequence

from softlaunch import errors
from softlaunch.core import spec, units

CANARY_WEIGHTS = (100, 500, 2_500, spec.WEIGHT_FULL)
"""1, 5, 25, 100 %: a small first share finds a failure with fewer bad requests."""
BLUE_GREEN_WEIGHTS = (spec.WEIGHT_FULL,)
"""Blue-green moves everything at once, that is what its name promises; who wants a look first writes more steps."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class PlanStep:
    """One share of traffic."""

    number: int
    """From 0."""
    weight: int
    """What the plan says, in 1/10000 of users."""
    watched_weight: int
    """What the candidate really gets: at most WEIGHT_FULL minus the holdback."""
    last: bool


def steps(strategy: spec.StrategySpec) -> tuple[PlanStep, ...]:
    """
    The strategy as a list of steps.

    Raises:
        InvariantError: the weights do not rise strictly to WEIGHT_FULL; the parser lets no such strategy through.
    """
    wrong = mistake(strategy.weights)
    if wrong is not None:
        raise errors.InvariantError(f"The plan {strategy.weights} cannot be followed: {wrong}")
    ceiling = spec.WEIGHT_FULL - holdback_weight(strategy)
    final = len(strategy.weights) - 1
    return tuple(
        PlanStep(number=number, weight=weight, watched_weight=min(weight, ceiling), last=number == final)
        for number, weight in enumerate(strategy.weights)
    )


def holdback_weight(strategy: spec.StrategySpec) -> int:
    """The share that stays on the old release through the watch window, in 1/10000."""
    return units.weight_from_percent(strategy.holdback_percent)


def weights(percents: Sequence[decimal.Decimal | float]) -> tuple[int, ...]:
    """
    Percentages as weights, exactly.

    Raises:
        ConfigError: one is outside 0 to 100 or finer than 0.01 %.
    """
    return tuple(units.weight_from_percent(value) for value in percents)


def describe(strategy: spec.StrategySpec) -> str:
    """The plan in one line: `canary 1% -> 5% -> 25% -> 100%, holdback 5% for 1d`."""
    path = " -> ".join(units.format_weight(weight) for weight in strategy.weights)
    kept = holdback_weight(strategy)
    after = f"holdback {units.format_weight(kept)}" if kept else "no holdback"
    kind = strategy.kind.value.replace("_", "-")
    return f"{kind} {path}, {after} for {units.format_duration(strategy.watch_seconds)}"


def mistake(found: Sequence[int]) -> str | None:
    """Why these weights are no plan, in one sentence; None when they are one."""
    if not found:
        return "There is no step."
    if found[0] <= 0:
        return "The first step gives the candidate no traffic."
    for before, after in itertools.pairwise(found):
        if after <= before:
            return f"{units.format_weight(after)} is not above {units.format_weight(before)}."
    if found[-1] != spec.WEIGHT_FULL:
        return f"The last step is {units.format_weight(found[-1])}, not 100%."
    return None
