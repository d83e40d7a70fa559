"""
The whole finite machine, enumerated: every reachable state of every kind of plan, times every event.

Times, reasons and names do not decide anything, so they are taken out of a state before it is compared (`plain`);
each event is tried twice, before and after every period of the plan is over. What is left is finite, and the rules
written on top of machine.py are checked on every edge, in test_machine_walk.py and test_machine_people.py.
"""

from __future__ import annotations

import dataclasses
import functools
import itertools
import typing
from collections.abc import Callable, Iterator

from softlaunch.core import spec
from softlaunch.core.rollout import machine, messages, phases
from softlaunch.core.rollout.messages import Verdict
from softlaunch.core.rollout.phases import Phase

ATTEMPTS_MIN = 50
EARLY, LATE = 0.0, 1e9
EVENTS: tuple[messages.Event, ...] = (
    messages.StableStopped(),
    messages.CandidateReady(),
    messages.CandidateFailed(reason="exit code 1"),
    messages.VerifyPassed(detail="20 of 20 passed."),
    messages.VerifyFailed(reason="3 of 20 failed."),
    messages.VerifyInvalid(reason="The load test is invalid."),
    *(
        messages.Judged(verdict=verdict, reason="because", step_attempts=attempts)
        for verdict in Verdict
        for attempts in (0, ATTEMPTS_MIN)
    ),
    messages.EvidenceLost(reason="a gap"),
    messages.Ejected(),
    messages.Readmitted(),
    messages.GatewayRefused(reason="no"),
    messages.GatewayAccepted(),
    messages.OutageSeen(reason="both fail"),
    messages.OutageOver(),
    messages.Ticked(),
    messages.PauseAsked(by="ann"),
    messages.ResumeAsked(by="ann"),
    messages.PromoteAsked(by="ann"),
    messages.PromoteAsked(by="ann", full=True),
    messages.PromoteAsked(by="bob"),
    messages.PromoteAsked(by="bob", full=True),
    messages.ApproveAsked(by="ann"),
    messages.ApproveAsked(by="bob", reason="Looks good."),
    messages.ReplaceAsked(by="ann", release="333333333333"),
    messages.AbortAsked(by="ann"),
)
SMALL, HALF, ALL = spec.shares(100, 5_000, 10_000)
SHADOW = spec.StepSpec(kind=spec.StepKind.SHADOW, weight=1_000, attempts_min=20)
STAFF = spec.StepSpec(kind=spec.StepKind.COHORT, weight=8_000, cohort="staff")
STAFF_ALL = dataclasses.replace(STAFF, weight=10_000)
GUESTS = dataclasses.replace(STAFF, cohort="guests")
ASK = spec.StepSpec(kind=spec.StepKind.APPROVAL)
ASK_ANN = dataclasses.replace(ASK, approvers=("ann", "eve"))
SLOW = dataclasses.replace(SMALL, duration_seconds=30.0)
SHARES = tuple(
    phases.LaunchPlan(
        steps=spec.shares(*weights),
        compared=compared,
        verified_only=verified_only,
        immediate=immediate,
        holdback=holdback,
        watch_seconds=watch_seconds,
        step_attempts_min=ATTEMPTS_MIN,
    )
    for weights, compared, verified_only, immediate, (holdback, watch_seconds) in itertools.product(
        ((10_000,), (500, 10_000), (9_900, 10_000), (100, 500, 10_000)),
        (False, True),
        (False, True),
        (False, True),
        ((0, 0.0), (500, 60.0)),
    )
)
"""Plans of nothing but shares: what compares, what does not, what an operator asked for."""
CANARY = phases.LaunchPlan(
    steps=(SMALL, HALF, ALL), compared=True, verified_only=False, watch_seconds=60.0, step_attempts_min=ATTEMPTS_MIN
)
COMPOSED = tuple(
    dataclasses.replace(CANARY, steps=steps)
    for steps in (
        (SHADOW, ALL),
        (STAFF, ALL),
        (ASK, ALL),
        (ASK_ANN, SMALL, ALL),
        (SMALL, ASK_ANN, HALF, ALL),
        (SMALL, ASK_ANN, ALL),
        (SHADOW, ASK, ALL),
        (ASK_ANN, ASK, ALL),
        (SLOW, HALF, ALL),
        (SMALL, SHADOW, STAFF, HALF, ALL),
        (STAFF, STAFF_ALL, GUESTS, STAFF, SMALL, ALL),
        (SHADOW, STAFF, ASK_ANN, SLOW, ALL),
    )
)
"""Every kind of step, first, in the middle and last but one."""
SKIPPING = tuple(
    dataclasses.replace(CANARY, steps=steps, **changes)
    for steps in ((ALL,), (ASK_ANN, SMALL, ASK, ALL))
    for changes in ({"compared": False}, {"verified_only": True}, {"recreate": True, "holdback": 0})
)
"""Plans whose release goes live without steps."""
DRILLS = tuple(
    dataclasses.replace(found, drill=True)
    for found in (
        CANARY,
        COMPOSED[-1],
        *SKIPPING,
        *(dataclasses.replace(CANARY, **changes) for changes in ({"immediate": True}, {"watch_seconds": 0.0})),
        dataclasses.replace(CANARY, steps=(ALL,)),
    )
)
POLICIES = tuple(
    dataclasses.replace(plan, on_deadline=on_deadline, on_failure=on_failure)
    for plan in (CANARY, COMPOSED[5], COMPOSED[11], SKIPPING[-1])
    for on_deadline in spec.DeadlinePolicy
    for on_failure in spec.FailurePolicy
)
PLANS = tuple(dict.fromkeys((*SHARES, *COMPOSED, *SKIPPING, *DRILLS, *POLICIES)))


class Edge(typing.NamedTuple):
    before: phases.State
    event: messages.Event
    now: float
    step: machine.Step

    @property
    def changed(self) -> bool:
        return self.step.state is not self.before


@functools.cache
def edges() -> tuple[Edge, ...]:
    return tuple(itertools.chain.from_iterable(_walk(plan) for plan in PLANS))


@functools.cache
def states() -> tuple[phases.State, ...]:
    return tuple({id(edge.before): edge.before for edge in edges()}.values())


def _walk(plan: phases.LaunchPlan) -> Iterator[Edge]:
    first = plain(machine.begin(plan, now=EARLY, reason="").state)
    seen, waiting = {first}, [first]
    while waiting:
        before = waiting.pop()
        for event, now in itertools.product(EVENTS, (EARLY, LATE)):
            step = machine.advance(before, event, now=now)
            yield Edge(before, event, now, step)
            after = plain(step.state)
            if after not in seen:
                seen.add(after)
                waiting.append(after)


def plain(state: phases.State) -> phases.State:
    hold = None if state.hold is None else dataclasses.replace(state.hold, reason="")
    return dataclasses.replace(state, entered_at=EARLY, reason="", hold=hold)


def share(state: phases.State) -> int:
    """What the candidate gets of all traffic, as stable or as candidate."""
    desired = phases.desired(state)
    return spec.WEIGHT_FULL if desired.candidate_is_stable else desired.candidate_weight


def untouched(state: phases.State) -> bool:
    """No request, of nobody, and no copy of one goes to the candidate."""
    desired = phases.desired(state)
    return not desired.candidate_reached and not desired.candidate_is_stable


def broken(rule: Callable[[Edge], bool]) -> list[Edge]:
    """The first edges on which the rule does not hold."""
    return list(itertools.islice((edge for edge in edges() if not rule(edge)), 3))


def fails(event: messages.Event) -> bool:
    return isinstance(event, messages.Judged) and event.verdict is Verdict.FAIL


def goes_back(state: phases.State) -> bool:
    return state.phase in (Phase.RETURNING, Phase.ROLLED_BACK, Phase.ABORTED)


def approval_asked(state: phases.State) -> bool:
    step = state.plan.steps[state.step]
    return state.phase is Phase.STEPPING and step.kind is spec.StepKind.APPROVAL and not state.approved


def settled(state: phases.State) -> bool:
    return state.phase in (Phase.RETURNING, Phase.FINISHING) or machine.is_final(state)
