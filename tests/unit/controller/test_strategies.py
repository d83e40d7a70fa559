"""Every strategy in virtual time: the real control loop over neighbours in memory."""

from __future__ import annotations

import dataclasses

import pytest

from softlaunch import errors
from softlaunch.controller import history
from softlaunch.core import spec
from softlaunch.testing import simulator
from softlaunch.testing.virtual_traffic import Behaviour

PLACE = {"service": "demo", "environment": "production"}
EMPLOYEES = spec.CohortSpec(name="internal", header="x-employee", values=("yes",))


def _with(environment: spec.EnvironmentSpec, *steps: spec.StepSpec, **changes) -> spec.EnvironmentSpec:
    strategy = dataclasses.replace(environment.strategy, steps=(*steps, *spec.shares(10_000)), **changes)
    return dataclasses.replace(environment, strategy=strategy, cohorts=(EMPLOYEES,))


def _cohort(weight: int = 8_000) -> spec.StepSpec:
    return spec.StepSpec(kind=spec.StepKind.COHORT, cohort="internal", weight=weight)


def _approval(*approvers: str) -> spec.StepSpec:
    return spec.StepSpec(kind=spec.StepKind.APPROVAL, approvers=approvers)


@pytest.fixture
def recreating(production) -> spec.EnvironmentSpec:
    strategy = spec.StrategySpec(kind=spec.StrategyKind.RECREATE, steps=spec.shares(10_000), watch_seconds=5.0)
    return dataclasses.replace(production, strategy=strategy)


# ------------------------------------------------------------------------------------------------------- recreate


def test_recreate_starts_the_new_release_only_when_the_old_one_has_ended(tmp_path, recreating) -> None:
    world = simulator.Simulator(tmp_path, stop_seconds=1.0)
    world.launch(world.release("stable"), recreating)
    new = world.release("new")
    number = world.deploy(new, recreating).rollout_id
    world.step(15)

    assert "stopping" == world.view(number)["phase"]
    assert not any(new.short in name for name in world.fleet.started)
    assert "promoted" == world.end(number)["outcome"]
    assert new == world.serving()


def test_recreate_says_the_downtime_before_it_starts_and_measures_it(world, stable, recreating) -> None:
    done = world.deploy(world.release("new"), recreating)
    view = world.end(done.rollout_id)

    assert "nobody is answered (a few seconds and the time the model loads)" in done.text
    assert 0.2 <= view["measured"]["downtime_seconds"] <= 1.0  # the replicas start for 0.2 s
    again = world.deploy(world.release("newer"), recreating)
    assert f"the last time {view['measured']['downtime_seconds']:.1f} s" in again.text


def test_a_recreated_release_that_turns_bad_in_the_watch_window_is_taken_back(world, stable, recreating) -> None:
    slow = dataclasses.replace(recreating.strategy, watch_seconds=3_600.0)
    bad = world.release("bad")
    number = world.deploy(bad, dataclasses.replace(recreating, strategy=slow)).rollout_id
    world.reach(number, "watching")
    world.step(20)
    world.behave(bad, Behaviour(error_rate=0.3))

    view = world.end(number)

    assert "rolled_back" == view["outcome"]
    world.step(20)
    assert stable == world.serving()


def test_a_control_plane_is_ready_while_what_was_recreated_is_watched(world, stable, recreating) -> None:
    slow = dataclasses.replace(recreating.strategy, watch_seconds=3_600.0)
    number = world.deploy(world.release("new"), dataclasses.replace(recreating, strategy=slow)).rollout_id
    world.reach(number, "watching")
    world.step(20)
    assert world.loop.settled

    world.restart()
    assert not world.loop.settled
    world.step(5)
    assert world.loop.settled


def test_a_recreated_release_that_does_not_start_gives_the_place_back(world, stable, recreating) -> None:
    broken = world.release("broken")
    world.fleet.refuse(broken)

    assert "rolled_back" == world.launch(broken, recreating)["outcome"]
    world.step(20)
    assert stable == world.serving()


# ------------------------------------------------------------------------------------------------ cohorts, approval


def test_a_cohort_meets_the_candidate_before_everybody_else(world, production, stable) -> None:
    new = world.release("new")
    number = world.deploy(new, _with(production, _cohort(), _approval())).rollout_id
    world.reach(number, "stepping", step=1)
    route = world.gateway.believed.routes[0]

    assert (0, 8_000) == (route.candidate_weight, route.cohorts[0].weight)
    share = world.truth().candidate[new.short] / world.truth().requests
    assert 0.0 < share < 0.05  # one user in twenty is an employee, four in five of those meet it
    assert {"kind": "approval"}.items() <= world.view(number)["hold"].items()


def test_a_release_that_fails_for_its_cohort_never_reaches_anybody_else(world, production, stable) -> None:
    bad = world.release("bad", Behaviour(error_rate=0.3))

    view = world.launch(bad, _with(production, _cohort()))

    assert "rolled_back" == view["outcome"]
    assert 0 == world.truth().failed_for_user


def test_an_approval_waits_for_somebody_who_may_give_it(world, production, stable) -> None:
    number = world.deploy(world.release("new"), _with(production, _cohort(), _approval("ada"))).rollout_id
    world.reach(number, "stepping", step=1)
    world.step(100)

    with pytest.raises(errors.ConfigError, match="bob may not approve") as refusal:
        world.commands.approve(**PLACE, by="bob")
    with pytest.raises(errors.ConfigError, match="bob may not approve"):
        world.commands.promote(**PLACE, by="bob")
    assert errors.Code.NOT_APPROVER is refusal.value.code
    world.commands.approve(**PLACE, by="ada", reason="Looked at it.")

    assert "promoted" == world.end(number, seconds_max=3_000.0)["outcome"]
    told = {found.kind: found.text for found in world.store.events(rollout_id=number)}
    assert "Approved by ada. Looked at it." == told["approved"]
    (place,) = history.at(world.store, world.clock.now(), now=world.clock.now())
    assert (["ada"], []) == (place.live.launch.approved_by, place.live.launch.decided_by)


def test_approving_what_waits_for_nothing_is_a_conflict(world, production, stable) -> None:
    world.deploy(world.release("new"), production)

    with pytest.raises(errors.ConflictError):
        world.commands.approve(**PLACE, by="ada")


# --------------------------------------------------------------------------------------------- policies of the plan


def test_a_plan_may_freeze_instead_of_going_back(world, production, stable) -> None:
    strategy = dataclasses.replace(production.strategy, on_failure=spec.FailurePolicy.FREEZE)
    number = world.deploy(
        world.release("bad", Behaviour(error_rate=0.5)), dataclasses.replace(production, strategy=strategy)
    ).rollout_id
    world.run(lambda: (world.view(number)["hold"] or {}).get("kind") == "frozen")
    world.step(100)

    assert 1_000 == world.weight()
    world.commands.abort(**PLACE, by="ada")
    assert "aborted" == world.end(number)["outcome"]


@pytest.mark.parametrize(
    ("policy", "expected"), [(spec.DeadlinePolicy.HOLD, "deadline"), (spec.DeadlinePolicy.ASK, "approval")]
)
def test_too_little_traffic_by_the_deadline_holds_or_asks(world, production, stable, policy, expected) -> None:
    strategy = dataclasses.replace(production.strategy, deadline_seconds=5.0, on_deadline=policy)
    world.rates["demo", "production"] = 0.0
    number = world.deploy(world.release("new"), dataclasses.replace(production, strategy=strategy)).rollout_id
    world.reach(number, "stepping")
    world.step(150)

    assert expected == world.view(number)["hold"]["kind"]


def test_too_little_traffic_by_the_deadline_goes_back_when_the_plan_says_so(world, production, stable) -> None:
    strategy = dataclasses.replace(production.strategy, deadline_seconds=5.0, on_deadline=spec.DeadlinePolicy.ROLL_BACK)
    world.rates["demo", "production"] = 0.0

    view = world.launch(world.release("new"), dataclasses.replace(production, strategy=strategy))

    assert "rolled_back" == view["outcome"]


def test_a_step_lasts_at_least_as_long_as_it_says(world, production, stable) -> None:
    lasting = spec.StepSpec(weight=1_000, duration_seconds=30.0)
    number = world.deploy(world.release("new"), _with(production, lasting)).rollout_id
    world.reach(number, "stepping")
    world.step(580)

    assert "stepping" == world.view(number)["phase"]
    world.rates["demo", "production"] = 0.0  # it ends by time, although nothing new is seen
    assert "promoted" == world.end(number)["outcome"]


# ------------------------------------------------------------------------------- replacement, retry, pins, warmth


def test_a_hotfix_replaces_a_rollout_that_steps(world, production, stable) -> None:
    first = world.deploy(world.release("first"), production).rollout_id
    world.reach(first, "stepping")
    fix = world.release("fix")

    done = world.deploy(fix, production)

    assert (first, first + 1) == (done.after, done.rollout_id)
    assert "aborted" == world.end(first)["outcome"]
    assert "promoted" == world.end(done.rollout_id)["outcome"]
    assert fix == world.serving()
    assert 0 == world.truth().failed_for_user


def test_a_hotfix_ends_the_watch_window_of_what_was_promoted(world, production, stable) -> None:
    strategy = dataclasses.replace(production.strategy, watch_seconds=3_600.0)
    first = world.deploy(world.release("first"), dataclasses.replace(production, strategy=strategy)).rollout_id
    world.reach(first, "watching")

    done = world.deploy(world.release("fix"), production)

    assert "promoted" == world.end(first)["outcome"]
    assert "promoted" == world.end(done.rollout_id)["outcome"]


def test_the_newest_of_several_hotfixes_is_the_one_that_follows(world, production, stable) -> None:
    first = world.deploy(world.release("first"), production).rollout_id
    world.reach(first, "stepping")
    world.deploy(world.release("second"), production)
    third = world.release("third")
    done = world.deploy(third, production)

    world.end(done.rollout_id)

    assert third == world.serving()


def test_a_hotfix_survives_the_death_of_the_control_plane(world, production, stable) -> None:
    first = world.deploy(world.release("first"), production).rollout_id
    world.reach(first, "stepping")
    fix = world.release("fix")
    done = world.deploy(fix, production)
    world.restart()

    assert "promoted" == world.end(done.rollout_id)["outcome"]
    assert fix == world.serving()


def test_a_rolled_back_release_is_pinned_until_somebody_lifts_it(world, production, stable) -> None:
    bad = world.release("bad", Behaviour(error_rate=0.5))
    assert "rolled_back" == world.launch(bad, production)["outcome"]

    with pytest.raises(errors.ConfigError, match="is pinned in 'production'") as refusal:
        world.deploy(bad, production)
    assert errors.Code.PINNED is refusal.value.code
    assert f"softlaunch unpin {bad.short}" in refusal.value.remedy
    world.behave(bad, Behaviour())
    world.commands.lift(**PLACE, release=bad.short, by="ada", reason="The database was down.")

    assert "promoted" == world.launch(bad, production)["outcome"]


def test_retry_launches_the_same_release_again_and_lifts_its_pin_with_a_reason(world, production, stable) -> None:
    bad = world.release("bad", Behaviour(error_rate=0.5))
    world.launch(bad, production)
    world.behave(bad, Behaviour())

    with pytest.raises(errors.ConfigError, match="is pinned"):
        world.commands.retry(**PLACE, by="ada")
    done = world.commands.retry(**PLACE, by="ada", lift_reason="It was the network.")

    assert "promoted" == world.end(done.rollout_id)["outcome"]


def test_an_operator_s_rollback_pins_what_is_left(world, production, stable) -> None:
    bad = world.release("bad")
    world.launch(bad, production)
    done = world.commands.rollback(**PLACE, to="previous", by="ada", reason="Customers complain.")
    world.end(done.rollout_id)

    (pin,) = world.commands.pins(**PLACE)

    assert (bad, "ada") == (pin.release, pin.by)
    assert "Customers complain." in pin.reason


def test_the_old_release_stays_warm_for_the_stated_time(world, production, stable) -> None:
    strategy = dataclasses.replace(production.strategy, warm_seconds=30.0)
    world.launch(world.release("new"), dataclasses.replace(production, strategy=strategy))
    started = list(world.fleet.started)
    world.step(100)
    before = world.clock.now()
    done = world.commands.rollback(**PLACE, to="previous", by="ada")
    world.run(lambda: world.serving() == stable)

    assert world.clock.now() - before < 1.0
    assert started == world.fleet.started
    world.end(done.rollout_id)


def test_the_old_release_ends_when_its_warm_time_is_over(world, production, stable) -> None:
    strategy = dataclasses.replace(production.strategy, warm_seconds=30.0)
    world.launch(world.release("new"), dataclasses.replace(production, strategy=strategy))
    world.step(590)
    assert not any(stable.short in name for name in world.fleet.stopped)
    world.step(20)

    assert any(stable.short in name for name in world.fleet.stopped)
