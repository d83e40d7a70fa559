"""
Plans: the steps a strategy takes when nobody says otherwise, and a strategy in one line.

Strategies are not code paths. Each is a list of steps that ends at all traffic (core.rollout.phases.LaunchPlan follows
it); they differ in the values.
"""

from __future__ import annotations

import types
from collections.abc import Mapping

from softlaunch.core import spec, units

COHORT_WEIGHT = 8_000
"""Share of a cohort when nobody says otherwise; a guess: most of it meets the release, the rest is its control."""

STEPS: Mapping[spec.StrategyKind, tuple[spec.StepSpec, ...]] = types.MappingProxyType(
    {
        # 1, 5, 25, 100 %: a small first share finds a failure with fewer bad requests.
        spec.StrategyKind.CANARY: spec.shares(100, 500, 2_500, spec.WEIGHT_FULL),
        # Everything at once is what the name promises; who wants a look first writes more steps.
        spec.StrategyKind.BLUE_GREEN: spec.shares(spec.WEIGHT_FULL),
        # No two releases at once, so there is nothing to share.
        spec.StrategyKind.RECREATE: spec.shares(spec.WEIGHT_FULL),
        # Who shadows wants to look at the answers before anybody meets them.
        spec.StrategyKind.SHADOW: (
            spec.StepSpec(kind=spec.StepKind.SHADOW, weight=spec.WEIGHT_FULL),
            spec.StepSpec(kind=spec.StepKind.APPROVAL),
            *spec.shares(spec.WEIGHT_FULL),
        ),
    },
)


def strategy(kind: spec.StrategyKind) -> spec.StrategySpec:
    """The strategy that names nothing but its kind."""
    if kind is spec.StrategyKind.RECREATE:
        return spec.StrategySpec(kind=kind, steps=STEPS[kind], holdback_percent=0.0)
    return spec.StrategySpec(kind=kind, steps=STEPS[kind])


def without_traffic() -> spec.StrategySpec:
    """For an environment that passes by `verify`: one step, nothing held back, nothing to watch."""
    kind = spec.StrategyKind.BLUE_GREEN
    return spec.StrategySpec(kind=kind, steps=STEPS[kind], holdback_percent=0.0, watch_seconds=0.0)


def holdback_weight(found: spec.StrategySpec) -> int:
    """
    The share that stays on the old release through the watch window, in 1/10000.

    Raises:
        ConfigError: the holdback is finer than 0.01 % or no share; the parser lets no such strategy through.
    """
    return units.weight_from_percent(found.holdback_percent)


def describe(found: spec.StrategySpec) -> str:
    """The plan in one line: `canary internal 80% -> approval -> 1% -> 100%, holdback 5% for 1d`."""
    kept = holdback_weight(found)
    watched = units.format_duration(found.watch_seconds)
    after = f"holdback {units.format_weight(kept)} for {watched}" if kept else f"watched for {watched}"
    if found.warm_seconds:
        after += f", the old release warm for {units.format_duration(found.warm_seconds)}"
    name = found.kind.value.replace("_", "-")
    if found.kind is spec.StrategyKind.RECREATE:
        return f"{name} (downtime while the new release loads), {after}"
    path = " -> ".join(describe_step(step) for step in found.steps)
    # A shadow launch mostly begins with its shadow: the word once is enough.
    return f"{path}, {after}" if path.startswith(f"{name} ") else f"{name} {path}, {after}"


def describe_step(step: spec.StepSpec) -> str:
    """One step: `1%`, `internal 80%`, `shadow 10% for 1h`, `approval by ana or bo`."""
    if step.kind is spec.StepKind.APPROVAL:
        return f"approval by {' or '.join(step.approvers)}" if step.approvers else "approval"
    share = units.format_weight(step.weight)
    match step.kind:
        case spec.StepKind.COHORT:
            text = f"{step.cohort} {share}"
        case spec.StepKind.SHADOW:
            text = f"shadow {share}"
        case spec.StepKind.SHARE:
            text = share
    return f"{text} for {units.format_duration(step.duration_seconds)}" if step.duration_seconds else text
