from __future__ import annotations

import dataclasses
import itertools

import pytest

from softlaunch.core import spec
from softlaunch.core.rollout import phases, plan


@pytest.mark.parametrize("kind", list(spec.StrategyKind))
def test_every_kind_has_shares_that_rise_to_everything(kind: spec.StrategyKind) -> None:
    weights = plan.WEIGHTS[kind]

    assert all(before < after for before, after in itertools.pairwise((0, *weights)))
    assert weights[-1] == spec.WEIGHT_FULL


@pytest.mark.parametrize("strategy", [*map(plan.strategy, spec.StrategyKind), plan.without_traffic()])
def test_the_machine_accepts_every_strategy_made_here(strategy: spec.StrategySpec) -> None:
    launch = phases.plan_of(spec.EnvironmentSpec(name="production", strategy=strategy), compared=True)

    assert (strategy.weights, plan.holdback_weight(strategy)) == (launch.weights, launch.holdback)


def test_an_environment_without_traffic_holds_nothing_back_and_watches_nothing() -> None:
    strategy = plan.without_traffic()

    assert (strategy.holdback_percent, strategy.watch_seconds) == (0.0, 0.0)


def test_a_plan_is_described_in_one_line() -> None:
    canary = plan.strategy(spec.StrategyKind.CANARY)
    blue_green = dataclasses.replace(plan.strategy(spec.StrategyKind.BLUE_GREEN), holdback_percent=0.0)

    assert plan.describe(canary) == "canary 1% -> 5% -> 25% -> 100%, holdback 5% for 1d"
    assert plan.describe(blue_green) == "blue-green 100%, watched for 1d"
