"""In at most ten lines: what was seen, against what, since when, at what odds, what was done."""

from __future__ import annotations

import dataclasses

import pytest

from softlaunch.controller import explain, views
from softlaunch.core import release, spec
from softlaunch.testing import simulator, virtual_traffic

PLACE = {"service": simulator.SERVICE, "environment": "production"}
BAD = virtual_traffic.Behaviour(error_rate=0.3)


def changed(environment: spec.EnvironmentSpec, **values) -> spec.EnvironmentSpec:
    return dataclasses.replace(environment, strategy=dataclasses.replace(environment.strategy, **values))


def told(world: simulator.Simulator, number: int) -> list[str]:
    view = world.view(number)
    pin = next((found for found in world.store.pins() if found.release.value == view["candidate"]), None)
    lines = explain.lines(
        view,
        events=views.events(list(world.store.events(rollout_id=number))),
        pin=None if pin is None else dataclasses.asdict(pin),
    )
    assert len(lines) <= explain.LINES_MAX
    return lines


def line(lines: list[str], begins: str) -> str:
    return next(found for found in lines if found.startswith(begins))


def test_a_rollback_says_what_was_seen_against_what_since_when_at_what_odds_and_what_was_done(
    world, stable, production
):
    bad = world.release("bad", BAD)
    view = world.launch(bad, production)
    lines = told(world, view["id"])

    assert f"Rollout {view['id']}: {bad.short} (main) into demo in production, against {stable.short};" in lines[0]
    assert lines[1].startswith("Outcome: rolled back at 20")
    assert "worse than stable at odds of 1 :" in line(lines, "Why: errors: ")
    seen = line(lines, "Seen since 20")
    assert f"{view['measured']['candidate_bad']} bad of" in seen
    assert "it is worse at odds of 1 : " in seen
    assert "(1 : 100 takes it back)." in seen
    assert " s later." in line(lines, "First bad attempt at ")
    assert f"lift it with `softlaunch unpin {bad.short} --reason" in line(lines, "Pinned by softlaunch: ")
    assert line(lines, "errors: fail.")


def test_a_promotion_says_that_nothing_spoke_against_it(world, stable, production):
    lines = told(world, world.launch(world.release("good"), production)["id"])

    assert lines[1].startswith("Outcome: promoted at ")
    assert "; nothing says that it is worse (1 : 100 takes it back)." in line(lines, "Seen since ")


def test_an_approval_says_who_may_give_it_and_who_gave_it(world, stable, production):
    steps = (
        spec.StepSpec(weight=1_000),
        spec.StepSpec(kind=spec.StepKind.APPROVAL, approvers=("ann",)),
        spec.StepSpec(weight=10_000),
    )
    number = world.deploy(world.release("asks"), changed(production, steps=steps)).rollout_id
    world.reach(number, "stepping", step=1)

    assert "approval by ann" in line(told(world, number), "Waiting for people: ")
    world.commands.approve(**PLACE, by="ann", reason="Looked at the numbers.")
    assert "Approved by ann. Looked at the numbers" in line(told(world, number), "People: ")


def test_a_freeze_says_what_broke_and_that_people_decide(world, stable, production):
    frozen = changed(production, on_failure=spec.FailurePolicy.FREEZE)
    number = world.deploy(world.release("frozen", BAD), frozen).rollout_id
    world.run(lambda: world.view(number)["hold"])

    found = line(told(world, number), "Frozen, as the plan says, instead of going back: errors: ")
    assert "`softlaunch abort` goes back" in found


@pytest.mark.parametrize(
    ("policy", "begins"),
    [
        (spec.DeadlinePolicy.HOLD, "Held because the step's deadline passed without a decision: no decision after 3 s"),
        (spec.DeadlinePolicy.ASK, "Waiting for people: No decision after 3 s"),
        (spec.DeadlinePolicy.ROLL_BACK, "Why: No decision after 3 s"),
    ],
)
def test_a_deadline_says_which_policy_followed(world, stable, production, policy, begins):
    late = changed(production, on_deadline=policy, deadline_seconds=3.0, step_attempts_min=1_000_000)
    number = world.deploy(world.release("late"), late).rollout_id
    world.run(lambda: world.view(number)["hold"] or world.view(number)["outcome"])

    assert line(told(world, number), begins)


def test_a_rollout_that_made_way_names_what_follows(world, stable, production):
    number = world.deploy(world.release("first"), changed(production, step_attempts_min=1_000_000)).rollout_id
    world.reach(number, "stepping")
    hotfix = world.release("hotfix")
    world.deploy(hotfix, production, ref="hotfix")

    assert f"Replaced: {hotfix.short} (hotfix), asked by tester" in line(told(world, number), "Replaced: ")


def test_recreating_says_how_long_nobody_served(world, stable, production):
    view = world.launch(world.release("anew"), changed(production, kind=spec.StrategyKind.RECREATE))

    assert f"Downtime: {view['measured']['downtime_seconds']:.2f} s from" in line(told(world, view["id"]), "Downtime: ")


def test_a_first_release_has_nothing_to_be_compared_with(world, production):
    lines = told(world, world.launch(world.release("first"), production)["id"])

    assert "with nothing to compare it with" in lines[0]


def test_a_running_rollout_names_every_way_in_which_the_candidate_is_reached(world, stable, production):
    view = world.launch(world.release("good"), production)
    running = {
        **view,
        "outcome": None,
        "paused": True,
        "candidate_percent": 1.0,
        "cohorts_percent": {"staff": 95.0},
        "shadow_percent": 10.0,
    }

    found = explain.lines(running)[1]
    assert found.endswith("gets 1 % of traffic and 95 % of cohort staff and copies of 10 % of the requests, paused.")


def test_a_drill_says_whether_the_net_held(world, stable, production):
    view = {**world.launch(world.release("drilled", BAD), production), "drill": True, "ref": "drill errors_5xx"}

    assert "a drill with" in explain.lines(view)[0]
    assert explain.lines(view)[1].startswith("Outcome: the net held: rolled back at ")
    assert explain.lines({**view, "outcome": "aborted"})[1].startswith("Outcome: the net did not catch it: aborted")


@pytest.fixture
def shadowed(world: simulator.Simulator, stable: release.Digest, production: spec.EnvironmentSpec) -> dict:
    """A view with everything at once, as documents say it."""
    view = world.launch(world.release("bad", BAD), production)
    view["measured"]["shadow"] = {
        "pair_count": 2_010,
        "joined_count": 2_004,
        "compared_count": 2_000,
        "agreed_count": 1_970,
        "latency_us": {"p99": [9_000.0, 12_300.0]},
    }
    view["evidence"]["checks"] = [
        {"name": "queue", "enforcing": True, "verdict": "broken", "reason": "412 is above 100"},
        {"name": "pages", "enforcing": False, "verdict": "passing", "reason": ""},
    ]
    view["measured"]["fallback_answers"] = 17
    view["successor"] = {"id": 9, "release": "sha256:" + "9" * 64, "arm": "9" * 12, "ref": "hotfix"}
    view["successor"]["requested_by"] = "bob"
    return view


def test_a_shadow_says_how_often_the_answers_agreed(shadowed):
    assert (
        "Shadow: 1,970 of 2,000 answers agree with stable's to the same request (98.5 %); 6 copies had no answer; "
        "p99 12.3 ms, stable's 9 ms; users saw none of the candidate's."
    ) == line(explain.lines(shadowed), "Shadow: ")


def test_checks_that_are_broken_say_what_they_saw(shadowed):
    expected = "Checks: queue broken: 412 is above 100; 1 others pass."
    assert expected == line(explain.lines(shadowed), "Checks: ")


def test_fallback_answers_are_counted(shadowed):
    assert "; 17 requests got a fallback answer;" in line(explain.lines(shadowed), "Seen since ")


def test_however_much_there_is_to_say_ten_lines_hold_it_and_the_broken_guardrail(shadowed):
    lines = explain.lines(shadowed)

    assert len(lines) == explain.LINES_MAX
    assert lines[-1].startswith("Others: ")
    assert "fail errors" in lines[-1] or line(lines, "errors: fail.")
