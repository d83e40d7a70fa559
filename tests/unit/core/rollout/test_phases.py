"""Plans and what follows from a state."""

from __future__ import annotations

import dataclasses

import pytest

from softlaunch import errors
from softlaunch.core import spec, verify_specs
from softlaunch.core.rollout import phases
from softlaunch.core.rollout.phases import Phase

PLAN = phases.LaunchPlan(steps=spec.shares(100, 10_000), compared=True, verified_only=False)
STATE = phases.State(plan=PLAN, entered_at=0.0)
PRODUCTION = spec.EnvironmentSpec(
    name="production",
    strategy=spec.StrategySpec(
        kind=spec.StrategyKind.CANARY,
        steps=spec.shares(100, 500, 10_000),
        holdback_percent=0.07,
        step_attempts_min=7,
        watch_seconds=11.0,
        deadline_seconds=13.0,
    ),
    request_timeout_seconds=17.0,
)


@pytest.mark.parametrize("weights", [(), (10_000, 10_000), (500, 100, 10_000), (0, 10_000), (-1, 10_000), (100,)])
def test_weights_that_do_not_rise_to_all_traffic_are_no_plan(weights: tuple[int, ...]) -> None:
    with pytest.raises(errors.InvariantError):
        dataclasses.replace(PLAN, steps=spec.shares(*weights))


@pytest.mark.parametrize("holdback", [-1, 10_000])
def test_a_holdback_is_less_than_all_traffic(holdback: int) -> None:
    with pytest.raises(errors.InvariantError):
        dataclasses.replace(PLAN, holdback=holdback)


def test_a_plan_takes_every_value_from_the_environment() -> None:
    assert phases.LaunchPlan(
        steps=spec.shares(100, 500, 10_000),
        compared=True,
        verified_only=False,
        immediate=False,
        holdback=7,
        step_attempts_min=7,
        watch_seconds=11.0,
        deadline_seconds=13.0,
        drain_seconds=17.0,
    ) == phases.plan_of(PRODUCTION, compared=True)


def test_an_environment_with_verify_passes_by_smoke_requests_alone() -> None:
    smoked = dataclasses.replace(PRODUCTION, verify=verify_specs.VerifySpec())

    assert phases.plan_of(smoked, compared=True).verified_only
    assert phases.plan_of(smoked, compared=False, immediate=True).immediate


@pytest.mark.parametrize(
    ("phase", "weight", "candidate_runs", "candidate_is_stable", "old_stable_runs"),
    [
        (Phase.PREPARING, 0, True, False, True),
        (Phase.VERIFYING, 0, True, False, True),
        (Phase.STEPPING, 100, True, False, True),
        (Phase.WATCHING, 9_500, True, False, True),
        (Phase.RETURNING, 0, True, False, True),
        (Phase.FINISHING, 0, True, True, True),
        (Phase.PROMOTED, 0, True, True, False),
        (Phase.ROLLED_BACK, 0, False, False, True),
        (Phase.ABORTED, 0, False, False, True),
    ],
)
def test_routes_and_fleets_follow_from_the_phase(
    phase: Phase, weight: int, *, candidate_runs: bool, candidate_is_stable: bool, old_stable_runs: bool
) -> None:
    assert phases.Desired(
        candidate_weight=weight,
        candidate_runs=candidate_runs,
        candidate_is_stable=candidate_is_stable,
        old_stable_runs=old_stable_runs,
    ) == phases.desired(dataclasses.replace(STATE, phase=phase))


@pytest.mark.parametrize(
    ("phase", "candidate_runs", "candidate_is_stable", "old_stable_runs"),
    [
        (Phase.STOPPING, False, False, False),
        (Phase.PREPARING, True, False, False),
        (Phase.VERIFYING, True, False, False),
        (Phase.WATCHING, True, True, False),
        (Phase.RETURNING, False, False, True),
        (Phase.FINISHING, True, True, False),
        (Phase.PROMOTED, True, True, False),
        (Phase.ABORTED, False, False, True),
    ],
)
def test_a_plan_that_recreates_never_runs_two_releases(
    phase: Phase, *, candidate_runs: bool, candidate_is_stable: bool, old_stable_runs: bool
) -> None:
    recreating = dataclasses.replace(PLAN, steps=spec.shares(10_000), recreate=True, holdback=0)

    assert phases.Desired(
        candidate_runs=candidate_runs, candidate_is_stable=candidate_is_stable, old_stable_runs=old_stable_runs
    ) == phases.desired(dataclasses.replace(STATE, plan=recreating, phase=phase))


SHADOW = spec.StepSpec(kind=spec.StepKind.SHADOW, weight=1_000)
STAFF = spec.StepSpec(kind=spec.StepKind.COHORT, weight=10_000, cohort="staff")
ASK = spec.StepSpec(kind=spec.StepKind.APPROVAL)


@pytest.mark.parametrize(
    ("step", "weight", "cohorts", "shadow"),
    [
        (0, 0, (), 0),
        (1, 0, (), 1_000),
        (2, 0, (), 1_000),
        (3, 0, (("staff", 9_500),), 0),
        (4, 100, (("staff", 9_500),), 0),
        (5, 9_500, (("staff", 9_500),), 0),
    ],
)
def test_cohorts_stay_shadows_end_with_their_step_and_approvals_change_nothing(
    step: int, weight: int, cohorts: tuple[tuple[str, int], ...], shadow: int
) -> None:
    plan = dataclasses.replace(PLAN, steps=(ASK, SHADOW, ASK, STAFF, *spec.shares(100, 10_000)))
    found = phases.desired(dataclasses.replace(STATE, plan=plan, phase=Phase.STEPPING, step=step))

    assert (weight, cohorts, shadow) == (found.candidate_weight, found.cohort_weights, found.shadow_weight)
    assert found.candidate_reached is (step > 0)


@pytest.mark.parametrize(
    "steps",
    [
        (STAFF,),
        (*spec.shares(10_000), ASK),
        (dataclasses.replace(STAFF, cohort=""), *spec.shares(10_000)),
        (dataclasses.replace(SHADOW, weight=0), *spec.shares(10_000)),
        (dataclasses.replace(SHADOW, weight=10_001), *spec.shares(10_000)),
    ],
)
def test_what_does_not_end_at_all_traffic_or_reaches_nobody_is_no_plan(steps: tuple[spec.StepSpec, ...]) -> None:
    with pytest.raises(errors.InvariantError):
        dataclasses.replace(PLAN, steps=steps)


def test_final_phases_are_the_three_ends() -> None:
    assert frozenset({Phase.PROMOTED, Phase.ROLLED_BACK, Phase.ABORTED}) == phases.FINAL
