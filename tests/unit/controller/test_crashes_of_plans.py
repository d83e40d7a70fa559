"""Control planes that are killed in the middle of every kind of plan: nothing is lost, doubled or left half done."""

from __future__ import annotations

import dataclasses
import itertools
import pathlib

import pytest

from softlaunch.controller import rejudge
from softlaunch.core import spec
from softlaunch.testing import simulator, virtual_traffic

EMPLOYEES = spec.CohortSpec(name="internal", header="x-employee", values=("yes",))
PLANS = {
    "composed": {
        "steps": (
            spec.StepSpec(kind=spec.StepKind.COHORT, cohort="internal", weight=8_000, attempts_min=5),
            spec.StepSpec(weight=1_000, duration_seconds=2.0),
            spec.StepSpec(weight=10_000),
        ),
    },
    "recreate": {"kind": spec.StrategyKind.RECREATE, "steps": spec.shares(10_000)},
    "blue-green": {"kind": spec.StrategyKind.BLUE_GREEN, "steps": spec.shares(10_000), "warm_seconds": 5.0},
}


def _begin(directory: pathlib.Path, production: spec.EnvironmentSpec, plan: str) -> tuple[simulator.Simulator, int]:
    strategy = dataclasses.replace(production.strategy, watch_seconds=1.0, **PLANS[plan])
    environment = dataclasses.replace(
        production, strategy=strategy, cohorts=(EMPLOYEES,), request_timeout_seconds=1.0, fallback_body=b"{}"
    )
    world = simulator.Simulator(directory, request_rate=200.0, stop_seconds=0.3)
    world.launch(world.release("stable"), production)
    world.step(40)
    number = world.deploy(world.release("new", virtual_traffic.Behaviour(error_rate=0.002)), environment).rollout_id
    assert number is not None
    return world, number


@pytest.mark.parametrize("after", [False, True])
@pytest.mark.parametrize("plan", PLANS)
def test_kills_at_any_call_lose_nothing_of_any_plan(tmp_path, production, plan, after) -> None:
    world, number = _begin(tmp_path, production, plan)
    calls = itertools.cycle(range(1, 11))
    while world.store.rollout(number).finished_at is None:
        world.kill(calls=next(calls), after=after)
        world.step(2)

    record = world.store.rollout(number)
    told = [(event.kind, event.text) for event in world.store.events(rollout_id=number)]

    assert "promoted" == world.view(number)["outcome"]
    assert world.restart_count > 10
    assert len(told) == len(set(told)), told
    found = rejudge.recompute(rejudge.Kept.of(record), world.archive.read(number))
    assert (True, "") == (found.agrees, found.difference)


@pytest.mark.parametrize("after", [False, True])
@pytest.mark.parametrize("calls", range(1, 13))
def test_a_kill_around_a_hotfix_brings_one_of_the_two_and_never_neither(tmp_path, production, calls, after) -> None:
    world = simulator.Simulator(tmp_path, request_rate=200.0)
    world.launch(world.release("stable"), production)
    world.step(40)
    first = world.deploy(world.release("first"), production).rollout_id
    world.reach(first, "stepping")
    fix = world.release("fix")
    world.kill(calls=calls, after=after)
    try:
        world.deploy(fix, production)
        acknowledged = True
    except simulator.KilledError:
        world.restart()
        acknowledged = False
    world.step(3)
    world.run(lambda: not world.loop.ledger.rollouts, seconds_max=3_000.0)

    promoted = {found.candidate for found in world.store.rollouts() if found.state.phase == "promoted"}
    assert world.serving() in promoted
    assert not acknowledged or fix == world.serving()
    assert 0 == world.truth().failed_for_user
