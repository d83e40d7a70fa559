"""
Plans: the shares a strategy takes when nobody says otherwise, and a strategy in one line.

Strategies are not code paths. A canary and a blue-green launch are both a strictly rising list of shares that ends at
all traffic (core.rollout.phases.LaunchPlan follows it); they differ in the values.
"""

from __future__ import annotations

import types
from collections.abc import Mapping

from softlaunch.core import spec, units

WEIGHTS: Mapping[spec.StrategyKind, tuple[int, ...]] = types.MappingProxyType(
    {
        # 1, 5, 25, 100 %: a small first share finds a failure with fewer bad requests.
        spec.StrategyKind.CANARY: (100, 500, 2_500, spec.WEIGHT_FULL),
        # Everything at once is what the name promises; who wants a look first writes more steps.
        spec.StrategyKind.BLUE_GREEN: (spec.WEIGHT_FULL,),
    },
)


def strategy(kind: spec.StrategyKind) -> spec.StrategySpec:
    """The strategy that names nothing but its kind."""
    return spec.StrategySpec(kind=kind, steps=spec.shares(*WEIGHTS[kind]))


def without_traffic() -> spec.StrategySpec:
    """For an environment that passes by `verify`: one step, nothing held back, nothing to watch."""
    kind = spec.StrategyKind.BLUE_GREEN
    return spec.StrategySpec(kind=kind, steps=spec.shares(*WEIGHTS[kind]), holdback_percent=0.0, watch_seconds=0.0)


def holdback_weight(found: spec.StrategySpec) -> int:
    """
    The share that stays on the old release through the watch window, in 1/10000.

    Raises:
        ConfigError: the holdback is finer than 0.01 % or no share; the parser lets no such strategy through.
    """
    return units.weight_from_percent(found.holdback_percent)


def describe(found: spec.StrategySpec) -> str:
    """The plan in one line: `canary 1% -> 5% -> 25% -> 100%, holdback 5% for 1d`."""
    path = " -> ".join(units.format_weight(weight) for weight in found.weights)
    kept = holdback_weight(found)
    watched = units.format_duration(found.watch_seconds)
    after = f"holdback {units.format_weight(kept)} for {watched}" if kept else f"watched for {watched}"
    return f"{found.kind.value.replace('_', '-')} {path}, {after}"
