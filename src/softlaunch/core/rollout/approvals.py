"""
Approvals: when a rollout waits for one, who may give it, and what it is enough for.

An approval is asked by a step of the plan, or at a deadline when the plan says so. A release that goes live without
steps (the first of an environment, one that verification alone decides about, one that recreates) is asked for the
plan's approvals while it is VERIFYING: what a plan asks of people is never skipped with its steps.
"""

from __future__ import annotations

from softlaunch.core import spec
from softlaunch.core.rollout import messages, phases
from softlaunch.core.rollout.phases import Phase, State


def waits(state: State) -> bool:
    """The current step is an approval that nobody has given."""
    stepping = state.phase is Phase.STEPPING
    return stepping and not state.approved and state.plan.steps[state.step].kind is spec.StepKind.APPROVAL


def suffices(state: State) -> bool:
    """Of a step that is an approval: nothing else is asked, for no promotion follows, or there is nothing to judge."""
    return state.step + 1 < state.plan.last or not phases.desired(state).candidate_reached


def before_live(state: State) -> int | None:
    """The step whose approval is asked next of a candidate that goes live without steps."""
    plan = state.plan
    if plan.compared and not plan.verified_only and not plan.recreate:
        return None
    left = range(state.step, len(plan.steps))
    return next((number for number in left if plan.steps[number].kind is spec.StepKind.APPROVAL), None)


def barred(state: State, event: messages.ApproveAsked | messages.PromoteAsked) -> spec.StepSpec | None:
    """
    The step that whoever asks may not approve, None when nothing is in the way.

    `promote` stands for the approval of the current step, `promote --full` for that of every step it skips.
    """
    asked: tuple[spec.StepSpec, ...] = ()
    if state.phase is Phase.VERIFYING:
        number = before_live(state)
        asked = () if number is None else (state.plan.steps[number],)
    elif state.phase is Phase.STEPPING:
        full = isinstance(event, messages.PromoteAsked) and event.full
        first = state.step + 1 if state.approved else state.step
        asked = state.plan.steps[first : None if full else state.step + 1]
    return next((step for step in asked if step.approvers and event.by not in step.approvers), None)


def phrase(step: spec.StepSpec) -> str:
    """For people: `waits for approval by ann or bob`."""
    return f"waits for approval by {' or '.join(step.approvers)}" if step.approvers else "waits for approval"


def hold(text: str) -> phases.Hold:
    """The hold of a rollout that waits for somebody; it says what to do."""
    reason = f"{text} `softlaunch approve` goes on, `abort` goes back."
    return phases.Hold(kind=phases.HoldKind.APPROVAL, reason=reason)


def given(event: messages.ApproveAsked) -> str:
    """Who approved, and why."""
    return f"Approved by {event.by}." + (f" {event.reason}" if event.reason else "")
