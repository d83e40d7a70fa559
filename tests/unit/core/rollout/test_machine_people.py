"""What people decide in a rollout, over the whole machine: approvals, freezes, deadlines, pauses."""

from __future__ import annotations

import dataclasses

import machine_walk as walk

from softlaunch.core import spec
from softlaunch.core.rollout import messages, phases
from softlaunch.core.rollout.phases import HoldKind, Phase


def test_a_broken_guardrail_takes_everything_from_the_candidate_unless_the_plan_freezes() -> None:
    failed = [
        edge
        for edge in walk.edges()
        if walk.fails(edge.event) and edge.before.phase in (Phase.STEPPING, Phase.WATCHING)
    ]

    assert any(edge.before.paused for edge in failed)
    # Nothing is judged while verification is held for saying nothing.
    judged = set(phases.HoldKind) - {phases.HoldKind.UNMEASURED}
    assert judged == {edge.before.hold.kind for edge in failed if edge.before.hold is not None}
    for edge in failed:
        after = edge.step.state
        if edge.before.plan.on_failure is spec.FailurePolicy.ROLL_BACK:
            assert (Phase.RETURNING, Phase.ROLLED_BACK) == (after.phase, after.ending)
            assert walk.untouched(after)
        else:
            assert phases.HoldKind.FROZEN is after.hold.kind
            assert phases.desired(edge.before) == phases.desired(after)


def test_only_people_end_a_frozen_rollout_and_only_where_they_say_how() -> None:
    frozen = [
        edge for edge in walk.edges() if edge.before.hold is not None and edge.before.hold.kind is HoldKind.FROZEN
    ]

    assert any(walk.approval_asked(edge.before) for edge in frozen)
    assert any(edge.before.paused for edge in frozen)
    deciding = (messages.PromoteAsked, messages.AbortAsked, messages.ReplaceAsked)
    for edge in frozen:
        if not isinstance(edge.event, deciding):
            assert edge.before.hold == edge.step.state.hold
            assert edge.before.phase is edge.step.state.phase
        elif isinstance(edge.event, messages.ReplaceAsked):
            assert Phase.RETURNING is edge.step.state.phase


def test_an_approval_is_passed_only_by_somebody_who_may_give_it() -> None:
    def given(edge: walk.Edge) -> bool:
        before, after, event = edge.before, edge.step.state, edge.event
        left = after.phase is not before.phase or after.step != before.step
        if not walk.approval_asked(before) or walk.goes_back(after) or not (left or after.approved):
            return True
        approvers = before.plan.steps[before.step].approvers
        asked = isinstance(event, (messages.ApproveAsked, messages.PromoteAsked))
        return asked and (not approvers or event.by in approvers)

    assert [] == walk.broken(given)


def test_a_full_promotion_skips_no_approval_of_somebody_else() -> None:
    def allowed(edge: walk.Edge) -> bool:
        if not isinstance(edge.event, messages.PromoteAsked) or not edge.changed or not edge.event.full:
            return True
        if edge.before.phase is not Phase.STEPPING or edge.event.by == "ann":
            return True
        first = edge.before.step + edge.before.approved
        return not any(step.approvers for step in edge.before.plan.steps[first:])

    assert [] == walk.broken(allowed)


def test_a_release_that_goes_live_without_steps_has_had_every_approval_of_its_plan() -> None:
    def asked(edge: walk.Edge) -> bool:
        before, after = edge.before, edge.step.state
        live = after.phase in (Phase.WATCHING, Phase.FINISHING)
        if before.phase is not Phase.VERIFYING or not live:
            return True
        return all(step.kind is not spec.StepKind.APPROVAL for step in before.plan.steps[before.step :])

    moved = [edge for edge in walk.edges() if edge.before.phase is edge.step.state.phase is Phase.VERIFYING]
    given = [edge for edge in moved if edge.before.step != edge.step.state.step]
    assert {messages.ApproveAsked} == {type(edge.event) for edge in given}
    assert {"ann", "bob"} == {edge.event.by for edge in given}
    assert [] == walk.broken(asked)


def test_an_approval_is_not_forgotten_while_something_is_in_the_way() -> None:
    def kept(edge: walk.Edge) -> bool:
        before, after = edge.before, edge.step.state
        stays = (before.phase, before.step) == (after.phase, after.step)
        return not before.approved or not stays or after.approved

    approved = [state for state in walk.states() if state.approved]
    assert {True, False} == {state.paused for state in approved}
    assert [] == walk.broken(kept)


def test_a_step_that_waits_for_approval_always_shows_it_or_something_graver() -> None:
    shown = {HoldKind.APPROVAL, HoldKind.EVIDENCE_LOST, HoldKind.FROZEN}

    assert shown == {
        state.hold.kind for state in walk.states() if walk.approval_asked(state) and state.hold is not None
    }
    assert all(state.hold is not None for state in walk.states() if walk.approval_asked(state))


def test_a_deadline_says_what_the_plan_says_and_nothing_but_that() -> None:
    def policy(edge: walk.Edge) -> bool:
        before, after = edge.before, edge.step.state
        if before.phase is not Phase.STEPPING or not isinstance(edge.event, messages.Ticked) or not edge.changed:
            return True
        match before.plan.on_deadline:
            case spec.DeadlinePolicy.HOLD:
                return after == dataclasses.replace(before, hold=after.hold) and after.hold.kind is HoldKind.DEADLINE
            case spec.DeadlinePolicy.ASK:
                return after == dataclasses.replace(before, hold=after.hold) and after.hold.kind is HoldKind.APPROVAL
            case spec.DeadlinePolicy.ROLL_BACK:
                return (after.phase, after.ending) == (Phase.RETURNING, Phase.ROLLED_BACK)

    assert [] == walk.broken(policy)


def test_no_deadline_passes_while_people_are_asked_or_both_arms_fail() -> None:
    for edge in walk.edges():
        before = edge.before
        if before.phase is not Phase.STEPPING or not isinstance(edge.event, messages.Ticked) or edge.now != walk.LATE:
            continue
        held = None if before.hold is None else before.hold.kind
        stopped = before.paused or walk.approval_asked(before) or held in (HoldKind.FROZEN, HoldKind.OUTAGE)
        if before.plan.on_deadline is spec.DeadlinePolicy.ROLL_BACK:
            assert edge.changed is not stopped
        else:
            assert edge.changed is not (stopped or held in phases.STICKY)


def test_only_people_end_a_pause_or_a_sticky_hold() -> None:
    people = (messages.ResumeAsked, messages.PromoteAsked, messages.ApproveAsked, messages.ReplaceAsked)

    def kept(edge: walk.Edge) -> bool:
        before, after = edge.before, edge.step.state
        if walk.goes_back(after) or isinstance(edge.event, people):
            return True
        if before.hold is not None and after.hold is not None:
            return before.paused <= after.paused and phases.RANKS[before.hold.kind] <= phases.RANKS[after.hold.kind]
        sticky = before.hold is not None and before.hold.kind in phases.STICKY
        return before.paused <= after.paused and not sticky

    assert [] == walk.broken(kept)


def test_resuming_bypasses_no_approval_and_thaws_nothing() -> None:
    for edge in walk.edges():
        if isinstance(edge.event, messages.ResumeAsked):
            before, after = edge.before, edge.step.state
            assert (before.phase, before.step, before.approved) == (after.phase, after.step, after.approved)
            assert not walk.approval_asked(after) or after.hold.kind in (HoldKind.APPROVAL, HoldKind.FROZEN)
