"""What people are told when a rollout waits for them, and that what they answer is neither lost nor taken for more."""

from __future__ import annotations

import dataclasses

import machine_walk as walk
import pytest

from softlaunch.core import spec
from softlaunch.core.rollout import approvals, machine, messages, phases
from softlaunch.core.rollout.messages import AnnouncementKind, Verdict
from softlaunch.core.rollout.phases import HoldKind, Phase

PLAN = dataclasses.replace(walk.CANARY, deadline_seconds=60.0)
ASKING = dataclasses.replace(PLAN, steps=(walk.SMALL, walk.ASK_ANN, walk.HALF, walk.ALL))
ASKING_LAST = dataclasses.replace(PLAN, steps=(walk.SMALL, walk.ASK, walk.ALL))
BLUE_GREEN = dataclasses.replace(PLAN, steps=(walk.ASK, walk.ALL))
FREEZING = dataclasses.replace(ASKING, on_failure=spec.FailurePolicy.FREEZE)

READY = messages.CandidateReady()
VERIFIED = messages.VerifyPassed(detail="20 of 20 smoke requests passed.")
ENOUGH = messages.Judged(verdict=Verdict.INCONCLUSIVE, reason="errors: unclear.", step_attempts=50)
PASSED = messages.Judged(verdict=Verdict.PASS, reason="errors: good.", step_attempts=50)
BROKEN = messages.Judged(verdict=Verdict.FAIL, reason="errors: 9 of 50.", step_attempts=50)
TICK = messages.Ticked()
PAUSE = messages.PauseAsked(by="bob")
RESUME = messages.ResumeAsked(by="bob")
APPROVE = messages.ApproveAsked(by="ann", reason="Looked at it.")
LOST = messages.EvidenceLost(reason="a gap of 10 lines.")


def after(plan: phases.LaunchPlan, *events: messages.Event, now: float = 0.0) -> machine.Step:
    step = machine.begin(plan, now=now, reason="Launch.")
    for event in events:
        step = machine.advance(step.state, event, now=now)
    return step


def texts(step: machine.Step) -> list[str]:
    return [found.text for found in step.announcements]


@pytest.mark.parametrize(
    ("step", "commands"),
    [
        (after(ASKING, READY, VERIFIED, ENOUGH), ("softlaunch approve", "abort")),
        (after(BLUE_GREEN, READY, VERIFIED), ("softlaunch approve", "abort")),
        (after(dataclasses.replace(BLUE_GREEN, compared=False), READY, VERIFIED), ("softlaunch approve", "abort")),
        (after(ASKING, READY, VERIFIED, ENOUGH, LOST), ("softlaunch resume", "abort")),
        (after(ASKING, READY, VERIFIED, ENOUGH, LOST, RESUME), ("softlaunch approve", "abort")),
        (after(ASKING, READY, VERIFIED, ENOUGH, PAUSE, RESUME), ("softlaunch approve", "abort")),
        (after(ASKING, READY, VERIFIED, ENOUGH, PAUSE, APPROVE), ("softlaunch resume",)),
        (after(ASKING, READY, VERIFIED, ENOUGH, LOST, APPROVE), ("softlaunch resume", "abort")),
        (after(FREEZING, READY, VERIFIED, BROKEN), ("softlaunch abort", "promote")),
        (after(FREEZING, READY, VERIFIED, ENOUGH, BROKEN, APPROVE), ("softlaunch abort", "promote")),
        (after(FREEZING, READY, VERIFIED, BROKEN, PAUSE, RESUME), ("softlaunch abort", "promote")),
    ],
)
def test_whoever_is_asked_is_told_what_to_type(step: machine.Step, commands: tuple[str, ...]) -> None:
    (text,) = texts(step)[-1:]

    assert all(f"`{command}" in text for command in commands), text


@pytest.mark.parametrize(
    ("policy", "commands"),
    [
        (spec.DeadlinePolicy.HOLD, ("softlaunch resume", "promote", "abort")),
        (spec.DeadlinePolicy.ASK, ("softlaunch approve", "softlaunch resume", "abort")),
        (spec.DeadlinePolicy.ROLL_BACK, ("softlaunch retry",)),
    ],
)
def test_a_deadline_says_what_it_does_and_what_to_type(policy: spec.DeadlinePolicy, commands: tuple[str, ...]) -> None:
    stepping = after(dataclasses.replace(PLAN, on_deadline=policy), READY, VERIFIED).state

    (text,) = texts(machine.advance(stepping, TICK, now=60.0))

    assert "o decision after 60 s in this step" in text
    assert all(f"`{command}" in text for command in commands), text


def test_what_is_shown_while_a_rollout_waits_says_what_to_type_as_well() -> None:
    waiting = [after(ASKING, READY, VERIFIED, ENOUGH), after(FREEZING, READY, VERIFIED, BROKEN)]

    assert all("`softlaunch" in step.state.hold.reason for step in waiting)


def test_an_approval_names_who_may_give_it() -> None:
    (text,) = texts(after(ASKING, READY, VERIFIED, ENOUGH))

    assert "Step 2 of 4: waits for approval by ann or eve." in text


def test_an_approval_is_told_with_its_reason_before_what_follows() -> None:
    step = after(ASKING, READY, VERIFIED, ENOUGH, APPROVE)

    assert [AnnouncementKind.APPROVED, AnnouncementKind.STEP] == [found.kind for found in step.announcements]
    assert "Approved by ann. Looked at it." == texts(step)[0]


def test_somebody_who_may_not_approve_changes_nothing_and_can_be_told_why() -> None:
    waiting = after(ASKING, READY, VERIFIED, ENOUGH).state
    stepping = after(ASKING, READY, VERIFIED).state

    for event in (messages.ApproveAsked(by="bob"), messages.PromoteAsked(by="bob")):
        assert waiting is machine.advance(waiting, event, now=1.0).state
        assert walk.ASK_ANN == approvals.barred(waiting, event)
    full = messages.PromoteAsked(by="bob", full=True)
    assert stepping is machine.advance(stepping, full, now=1.0).state
    assert walk.ASK_ANN == approvals.barred(stepping, full)
    assert approvals.barred(stepping, messages.PromoteAsked(by="bob")) is None
    assert approvals.barred(waiting, APPROVE) is None


@pytest.mark.parametrize("plan", [ASKING, BLUE_GREEN], ids=["in the middle", "with nothing to judge"])
def test_what_is_approved_during_a_pause_goes_on_after_it(plan: phases.LaunchPlan) -> None:
    events = (READY, VERIFIED, ENOUGH) if plan is ASKING else (READY, VERIFIED)
    resumed = after(plan, *events, PAUSE, APPROVE, RESUME).state

    unclear = messages.Judged(verdict=Verdict.INCONCLUSIVE, reason="nothing yet.", step_attempts=0)
    step = machine.advance(resumed, unclear, now=1.0)

    assert (Phase.STEPPING, 2) == (step.state.phase, step.state.step) or Phase.WATCHING is step.state.phase
    assert "Approved by ann" in step.state.reason


def test_an_approval_before_all_traffic_does_not_replace_the_evidence_and_says_so() -> None:
    assert "All traffic needs the evidence as well." in texts(after(ASKING_LAST, READY, VERIFIED, ENOUGH))[0]
    approved = after(ASKING_LAST, READY, VERIFIED, ENOUGH, APPROVE).state

    assert approved is machine.advance(approved, ENOUGH, now=1.0).state
    assert Phase.WATCHING is machine.advance(approved, PASSED, now=1.0).state.phase


def test_evidence_lost_while_an_approval_is_waited_for_is_not_approved_with_it() -> None:
    approved = after(ASKING, READY, VERIFIED, ENOUGH, LOST, APPROVE).state

    assert (1, HoldKind.EVIDENCE_LOST) == (approved.step, approved.hold.kind)
    resumed = machine.advance(approved, RESUME, now=1.0).state
    assert 2 == machine.advance(resumed, ENOUGH, now=2.0).state.step


def test_nothing_is_lost_before_the_candidate_was_asked_anything() -> None:
    waiting = after(BLUE_GREEN, READY, VERIFIED).state

    assert waiting is machine.advance(waiting, LOST, now=1.0).state


def test_a_frozen_approval_that_was_paused_is_still_frozen() -> None:
    resumed = after(FREEZING, READY, VERIFIED, ENOUGH, BROKEN, PAUSE, RESUME).state

    assert (HoldKind.FROZEN, False, False) == (resumed.hold.kind, resumed.paused, resumed.approved)


def test_a_first_release_waits_for_the_approvals_of_its_plan_one_by_one() -> None:
    plan = dataclasses.replace(PLAN, steps=(walk.ASK_ANN, walk.SMALL, walk.ASK, walk.ALL), compared=False)
    waiting = after(plan, READY, VERIFIED)
    assert "waits for approval by ann or eve" in texts(waiting)[0]

    once = machine.advance(waiting.state, APPROVE, now=1.0)
    assert [AnnouncementKind.APPROVED, AnnouncementKind.APPROVAL_ASKED] == [found.kind for found in once.announcements]
    twice = machine.advance(once.state, messages.ApproveAsked(by="bob"), now=2.0).state
    assert (Phase.VERIFYING, None) == (twice.phase, twice.hold)
    assert Phase.FINISHING is machine.advance(twice, VERIFIED, now=3.0).state.phase


def test_an_outage_stops_the_clock_of_the_deadline() -> None:
    plan = dataclasses.replace(PLAN, on_deadline=spec.DeadlinePolicy.ROLL_BACK)
    held = after(plan, READY, VERIFIED, messages.OutageSeen(reason="both arms fail.")).state

    assert held is machine.advance(held, TICK, now=1_000.0).state
    over = machine.advance(held, messages.OutageOver(), now=1_000.0).state
    assert over is machine.advance(over, TICK, now=1_059.0).state
    assert Phase.RETURNING is machine.advance(over, TICK, now=1_060.0).state.phase


def test_an_outage_is_shown_even_when_the_fuse_was_faster() -> None:
    ejected = after(PLAN, READY, VERIFIED, messages.Ejected()).state
    held = machine.advance(ejected, messages.OutageSeen(reason="both arms fail."), now=1.0).state

    assert HoldKind.OUTAGE is held.hold.kind
    assert held is machine.advance(held, messages.Ejected(), now=2.0).state


def test_resuming_after_the_deadline_does_not_ask_for_the_duration_again() -> None:
    slow = after(dataclasses.replace(PLAN, steps=(walk.SLOW, walk.HALF, walk.ALL)), READY, VERIFIED).state
    held = machine.advance(slow, TICK, now=90.0).state
    resumed = machine.advance(held, RESUME, now=500.0).state

    assert resumed is machine.advance(resumed, TICK, now=559.0).state
    assert 1 == machine.advance(resumed, ENOUGH, now=501.0).state.step


def test_a_pause_while_the_old_release_stops_is_kept() -> None:
    plan = dataclasses.replace(PLAN, steps=(walk.ALL,), recreate=True, holdback=0)
    paused = after(plan, PAUSE).state

    assert paused is machine.advance(paused, messages.StableStopped(), now=1.0).state
    resumed = machine.advance(paused, RESUME, now=2.0).state
    assert Phase.PREPARING is machine.advance(resumed, messages.StableStopped(), now=3.0).state.phase


def test_a_newer_release_does_not_make_a_broken_one_stable() -> None:
    frozen = after(FREEZING, READY, VERIFIED, messages.PromoteAsked(by="ann", full=True), BROKEN).state
    assert (Phase.WATCHING, HoldKind.FROZEN) == (frozen.phase, frozen.hold.kind)

    step = machine.advance(frozen, messages.ReplaceAsked(by="ann", release="333333333333"), now=1.0)

    assert (Phase.RETURNING, Phase.ABORTED) == (step.state.phase, step.state.ending)
    assert ["Makes way for 333333333333, asked by ann."] == texts(step)


def test_a_drill_of_a_plan_that_recreates_stops_nothing() -> None:
    strategy = spec.StrategySpec(kind=spec.StrategyKind.RECREATE, steps=spec.shares(10_000))
    environment = spec.EnvironmentSpec(name="production", strategy=strategy)

    assert phases.plan_of(environment, compared=True).recreate
    assert not phases.plan_of(environment, compared=True, drill=True).recreate


def test_a_smaller_share_of_a_cohort_takes_nobody_back() -> None:
    less = dataclasses.replace(walk.STAFF, weight=1_000)
    state = after(dataclasses.replace(PLAN, steps=(walk.STAFF, less, walk.ALL)), READY, VERIFIED, ENOUGH).state

    assert (("staff", 8_000),) == phases.desired(state).cohort_weights
