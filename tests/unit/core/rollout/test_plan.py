from __future__ import annotations

import dataclasses
import itertools

import pytest

from softlaunch.core import spec
from softlaunch.core.rollout import phases, plan


@pytest.mark.parametrize("kind", list(spec.StrategyKind))
def test_every_kind_has_shares_that_rise_to_everything(kind: spec.StrategyKind) -> None:
    weights = plan.strategy(kind).weights

    assert all(before < after for before, after in itertools.pairwise((0, *weights)))
    assert weights[-1] == spec.WEIGHT_FULL


@pytest.mark.parametrize("strategy", [*map(plan.strategy, spec.StrategyKind), plan.without_traffic()])
def test_the_machine_accepts_every_strategy_made_here(strategy: spec.StrategySpec) -> None:
    launch = phases.plan_of(spec.EnvironmentSpec(name="production", strategy=strategy), compared=True)

    assert (strategy.steps, plan.holdback_weight(strategy)) == (launch.steps, launch.holdback)


def test_an_environment_without_traffic_holds_nothing_back_and_watches_nothing() -> None:
    strategy = plan.without_traffic()

    assert (strategy.holdback_percent, strategy.watch_seconds) == (0.0, 0.0)


def test_a_plan_is_described_in_one_line() -> None:
    canary = plan.strategy(spec.StrategyKind.CANARY)
    blue_green = dataclasses.replace(
        plan.strategy(spec.StrategyKind.BLUE_GREEN), holdback_percent=0.0, warm_seconds=3_600.0
    )

    assert plan.describe(canary) == "canary 1% -> 5% -> 25% -> 100%, holdback 5% for 1d"
    assert plan.describe(blue_green) == "blue-green 100%, watched for 1d, the old release warm for 1h"


def test_every_kind_of_step_has_its_words() -> None:
    steps = (
        spec.StepSpec(kind=spec.StepKind.COHORT, cohort="internal", weight=8_000),
        spec.StepSpec(kind=spec.StepKind.SHADOW, weight=1_000, duration_seconds=3_600),
        spec.StepSpec(kind=spec.StepKind.APPROVAL),
        spec.StepSpec(kind=spec.StepKind.APPROVAL, approvers=("ana", "bo")),
        *spec.shares(100, 10_000),
    )

    assert plan.describe(spec.StrategySpec(kind=spec.StrategyKind.CANARY, steps=steps)) == (
        "canary internal 80% -> shadow 10% for 1h -> approval -> approval by ana or bo -> 1% -> 100%, "
        "holdback 5% for 1d"
    )


def test_a_recreated_release_says_its_downtime_first() -> None:
    recreate = plan.strategy(spec.StrategyKind.RECREATE)

    assert plan.describe(recreate) == "recreate (downtime while the new release loads), watched for 1d"


def test_a_shadow_launch_says_shadow_once() -> None:
    shadow = plan.strategy(spec.StrategyKind.SHADOW)

    assert plan.describe(shadow) == "shadow 100% -> approval -> 100%, holdback 5% for 1d"
