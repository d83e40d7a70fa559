"""
Every path of six events from the start of a plan, in real time: what must hold on the way, whatever comes.

test_machine_walk.py looks at single transitions between all states; here the whole past of a state counts: who
approved, what was verified, whether a guardrail broke. Paths that lead to the same state of the same age with the same
past go on as one; reasons are left out. Each event comes one second after the one before, or 100 s, when every period
of these plans is over.
"""

from __future__ import annotations

import dataclasses
import itertools
from typing import NamedTuple

import machine_walk as walk
import pytest

from softlaunch.core import spec
from softlaunch.core.rollout import machine, messages, phases
from softlaunch.core.rollout.messages import Verdict
from softlaunch.core.rollout.phases import Phase

DEPTH = 6
NOW = 1_800_000_000.0
SECONDS = (1.0, 100.0)
AGE_MAX = 200.0
"""Longer than every period below: no decision tells such ages apart."""
CANARY = dataclasses.replace(
    walk.CANARY, steps=(walk.SMALL, walk.ALL), deadline_seconds=60.0, watch_seconds=60.0, step_attempts_min=50
)
PLANS = {
    "shares": CANARY,
    "approval": dataclasses.replace(CANARY, steps=(walk.ASK_ANN, walk.SMALL, walk.ASK, walk.ALL)),
    "shadow, cohort, slow": dataclasses.replace(CANARY, steps=(walk.SHADOW, walk.STAFF, walk.SLOW, walk.ALL)),
    "blue-green, frozen, asks": dataclasses.replace(
        CANARY,
        steps=(walk.ASK_ANN, walk.ALL),
        on_failure=spec.FailurePolicy.FREEZE,
        on_deadline=spec.DeadlinePolicy.ASK,
    ),
    "goes back at the deadline": dataclasses.replace(CANARY, on_deadline=spec.DeadlinePolicy.ROLL_BACK),
    "recreate": dataclasses.replace(CANARY, steps=(walk.ALL,), recreate=True, holdback=0),
    "first release": dataclasses.replace(CANARY, steps=(walk.ASK_ANN, walk.ALL), compared=False),
    "operator's rollback": dataclasses.replace(CANARY, immediate=True),
    "drill": dataclasses.replace(CANARY, drill=True),
}
MOVES = tuple(itertools.product(walk.EVENTS, SECONDS))
TAKEN = (Phase.WATCHING, Phase.FINISHING, Phase.PROMOTED)


class Past(NamedTuple):
    """What has happened before, as far as a rule asks for it."""

    stopped: bool = False
    verified: bool = False
    passed: bool = False
    broken: bool = False
    left: bool = False
    """Aborted, or a newer release came, before the candidate was promoted."""
    asks: int = 0
    """`approve` and `promote` of people, up to 3."""
    asks_of_ann: int = 0
    skipped: bool = False
    """Ann said `promote --full`."""


class States:
    """Every state met, by number, with what follows from it: each is computed once."""

    def __init__(self) -> None:
        self.found: list[phases.State] = []
        self._numbers: dict[phases.State, int] = {}
        self._following: dict[int, tuple[int, ...]] = {}

    def number(self, state: phases.State, now: float) -> int:
        """The number of a state as it is at `now`; its age is what counts."""
        aged = dataclasses.replace(walk.plain(state), entered_at=NOW - min(now - state.entered_at, AGE_MAX))
        found = self._numbers.setdefault(aged, len(self.found))
        if found == len(self.found):
            self.found.append(aged)
        return found

    def following(self, number: int) -> tuple[int, ...]:
        """What each of MOVES makes of that state."""
        if number not in self._following:
            before = self.found[number]
            steps = [(machine.advance(before, event, now=NOW + later), NOW + later) for event, later in MOVES]
            assert not machine.is_final(before) or all(step == machine.Step(state=before) for step, _ in steps)
            self._following[number] = tuple(self.number(step.state, now) for step, now in steps)
        return self._following[number]


@pytest.mark.parametrize("plan", PLANS.values(), ids=list(PLANS))
def test_no_six_events_break_a_rule(plan: phases.LaunchPlan) -> None:
    states = States()
    first = (states.number(machine.begin(plan, now=NOW, reason="").state, NOW), Past())
    seen, waiting = {first}, [first]
    for _ in range(DEPTH):
        reached: set[tuple[int, Past]] = set()
        for number, past in waiting:
            state = states.found[number]
            pasts = [_remember(state, past, event) for event in walk.EVENTS for _ in SECONDS]
            reached.update(zip(states.following(number), pasts, strict=True))
        waiting = list(reached - seen)
        seen |= reached
        for number, past in waiting:
            state = states.found[number]
            broken = [rule.__name__ for rule in RULES if not rule(state, past)]
            assert [] == broken, (state, past)

    assert len(seen) > 500
    for state in states.found:
        _leads_home(state)


def _leads_home(state: phases.State) -> None:
    for wish in (messages.AbortAsked(by="ann"), messages.ReplaceAsked(by="ann", release="333333333333")):
        asked = machine.advance(state, wish, now=NOW).state
        assert machine.is_final(machine.advance(asked, messages.Ticked(), now=NOW + 10.0).state)


def _remember(state: phases.State, past: Past, event: messages.Event) -> Past:
    judged = state.phase in (Phase.STEPPING, Phase.WATCHING)
    match event:
        case messages.Judged():
            if judged and event.verdict is Verdict.FAIL:
                return past._replace(broken=True)
            if judged and event.verdict is Verdict.PASS:
                return past._replace(passed=True)
        case messages.ApproveAsked() | messages.PromoteAsked():
            ann = event.by == "ann"
            full = isinstance(event, messages.PromoteAsked) and event.full
            return past._replace(
                asks=min(past.asks + 1, 3),
                asks_of_ann=min(past.asks_of_ann + ann, 3),
                skipped=past.skipped or (full and ann),
            )
        case messages.AbortAsked() if not walk.settled(state):
            return past._replace(left=True)
        case messages.ReplaceAsked() if state.phase is not Phase.WATCHING and not walk.settled(state):
            return past._replace(left=True)
        case messages.VerifyPassed() if state.phase is Phase.VERIFYING:
            return past._replace(verified=True)
        case messages.StableStopped():
            return past._replace(stopped=True)
    return past


def what_was_left_goes_back(state: phases.State, past: Past) -> bool:
    return not past.left or walk.goes_back(state)


def what_broke_goes_back_or_is_frozen(state: phases.State, past: Past) -> bool:
    if not past.broken or walk.goes_back(state):
        return True
    if state.plan.on_failure is spec.FailurePolicy.ROLL_BACK:
        return False
    frozen = state.hold is not None and state.hold.kind is phases.HoldKind.FROZEN
    return frozen or past.asks > 0


def all_traffic_was_earned(state: phases.State, past: Past) -> bool:
    plan = state.plan
    alone = plan.recreate or not plan.compared or plan.immediate
    return state.phase not in TAKEN or past.passed or past.asks > 0 or alone


def only_what_is_verified_is_reached(state: phases.State, past: Past) -> bool:
    return walk.untouched(state) or past.verified or state.plan.immediate


def approvals_were_given(state: phases.State, past: Past) -> bool:
    if state.plan.immediate or walk.goes_back(state) or past.skipped:
        return True
    behind = state.plan.steps[: state.step] if state.phase is Phase.STEPPING else ()
    passed = state.plan.steps if state.phase in TAKEN else behind
    asked = [step for step in passed if step.kind is spec.StepKind.APPROVAL]
    return past.asks >= len(asked) and past.asks_of_ann >= len([step for step in asked if step.approvers])


def two_releases_never_run_where_the_plan_recreates(state: phases.State, past: Past) -> bool:
    desired = phases.desired(state)
    if not state.plan.recreate:
        return desired.old_stable_runs or state.phase is Phase.PROMOTED
    return not (desired.candidate_runs and (desired.old_stable_runs or not past.stopped))


def a_drill_stays_a_drill(state: phases.State, _past: Past) -> bool:
    return not state.plan.drill or (state.phase not in TAKEN and walk.share(state) < spec.WEIGHT_FULL)


RULES = (
    what_was_left_goes_back,
    what_broke_goes_back_or_is_frozen,
    all_traffic_was_earned,
    only_what_is_verified_is_reached,
    approvals_were_given,
    two_releases_never_run_where_the_plan_recreates,
    a_drill_stays_a_drill,
)
