"""
The states a rollout can be in.

A rollout is one release entering one environment by a plan. Everything the reconciler does follows from the state
alone (see `desired`), so that a crash between deciding and doing heals itself at the next tick.
"""

from __future__ import annotations

import dataclasses
import enum
import itertools

from softlaunch import errors
from softlaunch.core import spec


class Phase(enum.StrEnum):
    """Where a rollout stands. PROMOTED, ROLLED_BACK and ABORTED are final."""

    STOPPING = "stopping"
    """Of a plan that recreates: the old release's processes are ending, and nothing but a fallback answers."""
    PREPARING = "preparing"
    """The candidate's replicas are starting; it gets no traffic."""
    VERIFYING = "verifying"
    """Smoke requests, recorded requests and load tests go straight to the candidate; it gets no traffic."""
    STEPPING = "stepping"
    """The candidate has the share of the current step."""
    WATCHING = "watching"
    """Promoted; the old release keeps the holdback and its full capacity."""
    RETURNING = "returning"
    """All traffic is on stable again; the candidate's last requests are ending."""
    FINISHING = "finishing"
    """The candidate is the new stable; the old release's last requests are ending."""
    PROMOTED = "promoted"
    ROLLED_BACK = "rolled_back"
    ABORTED = "aborted"


FINAL = frozenset({Phase.PROMOTED, Phase.ROLLED_BACK, Phase.ABORTED})


class HoldKind(enum.StrEnum):
    """Why a rollout does not go on by itself. A hold stops progress, never a rollback."""

    EVIDENCE_LOST = "evidence_lost"
    """Lines of the attempt log are missing; only an operator can say that the rest is enough."""
    EJECTED = "ejected"
    """The gateway's own fuse took the candidate out; ends when it is back."""
    DEADLINE = "deadline"
    """A step lasted longer than the plan allows without a decision."""
    GATEWAY = "gateway"
    """The gateway refused or could not take the routes; ends when it takes them."""
    OUTAGE = "outage"
    """Both arms fail: nothing is wrong with the candidate alone; ends with the outage."""
    APPROVAL = "approval"
    """The step waits for somebody to approve."""
    FROZEN = "frozen"
    """A guardrail broke and the plan says that people decide."""
    UNMEASURED = "unmeasured"
    """Verification could not be done, or its result is invalid: nothing is known of the candidate."""


STICKY = frozenset({HoldKind.EVIDENCE_LOST, HoldKind.DEADLINE, HoldKind.APPROVAL, HoldKind.FROZEN, HoldKind.UNMEASURED})
"""Holds that only people end."""

RANKS = {
    HoldKind.GATEWAY: 0,
    HoldKind.EJECTED: 0,
    HoldKind.OUTAGE: 1,
    HoldKind.DEADLINE: 2,
    HoldKind.APPROVAL: 2,
    HoldKind.UNMEASURED: 2,
    HoldKind.EVIDENCE_LOST: 3,
    HoldKind.FROZEN: 4,
}
"""A hold gives way to one of a higher rank only: of what must not be missed, people see the gravest."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Hold:
    kind: HoldKind
    reason: str


@dataclasses.dataclass(frozen=True, kw_only=True)
class LaunchPlan:
    """A strategy as the machine sees it: a list of steps and what is asked between them."""

    steps: tuple[spec.StepSpec, ...]
    """Shares rise strictly; the last step is the share WEIGHT_FULL."""
    compared: bool
    """There is a stable release to compare with and to go back to."""
    verified_only: bool
    """The environment has no traffic of its own: smoke requests are the whole evidence."""
    immediate: bool = False
    """An operator's rollback: all traffic at once, no evidence asked."""
    recreate: bool = False
    """The old release ends before the new one starts."""
    drill: bool = False
    """The candidate carries an injected fault: it must never have all traffic."""
    holdback: int = 500
    step_attempts_min: int = 50
    watch_seconds: float = 86_400.0
    deadline_seconds: float = 3_600.0
    drain_seconds: float = 5.0
    on_deadline: spec.DeadlinePolicy = spec.DeadlinePolicy.HOLD
    on_failure: spec.FailurePolicy = spec.FailurePolicy.ROLL_BACK

    def __post_init__(self) -> None:
        shares = tuple(step.weight for step in self.steps if step.kind is spec.StepKind.SHARE)
        rising = all(low < high for low, high in itertools.pairwise(shares))
        if not shares or not rising or shares[0] < 1 or shares[-1] != spec.WEIGHT_FULL:
            raise errors.InvariantError(f"Not a list of rising shares that ends at 100 %: {shares}.")
        if self.steps[-1].kind is not spec.StepKind.SHARE:
            raise errors.InvariantError(f"The last step is not the share of 100 % but {self.steps[-1].kind.value}.")
        for step in self.steps:
            if step.kind is not spec.StepKind.APPROVAL and not 0 < step.weight <= spec.WEIGHT_FULL:
                raise errors.InvariantError(f"Not the weight of a step: {step.weight}/10000.")
            if step.kind is spec.StepKind.COHORT and not step.cohort:
                raise errors.InvariantError("A step of a cohort names none.")
        if not 0 <= self.holdback < spec.WEIGHT_FULL:
            raise errors.InvariantError(f"Not a holdback: {self.holdback}/10000.")

    @property
    def last(self) -> int:
        """Index of the step that gives the candidate all traffic."""
        return len(self.steps) - 1

    def attempts_min(self, step: int) -> int:
        """Candidate first attempts asked before the step after this one."""
        if self.steps[step].kind is spec.StepKind.APPROVAL:
            return 0  # it routes as the step before did, which had asked for its attempts
        found = self.steps[step].attempts_min
        return self.step_attempts_min if found is None else found


def plan_of(
    environment: spec.EnvironmentSpec, *, compared: bool, immediate: bool = False, drill: bool = False
) -> LaunchPlan:
    """The plan an environment's strategy expands to."""
    strategy = environment.strategy
    # A drill stops nothing that serves.
    recreate = strategy.kind is spec.StrategyKind.RECREATE and compared and not immediate and not drill
    return LaunchPlan(
        steps=strategy.steps,
        compared=compared,
        verified_only=environment.verify is not None,
        immediate=immediate,
        recreate=recreate,
        drill=drill,
        holdback=0 if recreate else round(strategy.holdback_percent * 100),
        step_attempts_min=strategy.step_attempts_min,
        watch_seconds=strategy.watch_seconds,
        deadline_seconds=strategy.deadline_seconds,
        drain_seconds=environment.request_timeout_seconds,
        on_deadline=strategy.on_deadline,
        on_failure=strategy.on_failure,
    )


@dataclasses.dataclass(frozen=True, kw_only=True)
class State:
    """All a rollout knows about itself. Times are Unix seconds."""

    plan: LaunchPlan
    phase: Phase = Phase.PREPARING
    step: int = 0
    """Index into plan.steps, while STEPPING; while VERIFYING the approvals before this index are given."""
    entered_at: float
    """When this phase, or this step, began."""
    paused: bool = False
    approved: bool = False
    """Somebody approved the current step, which is an approval; the evidence still decides."""
    hold: Hold | None = None
    ending: Phase | None = None
    """While RETURNING: ROLLED_BACK or ABORTED, whichever it will be."""
    reason: str = ""
    """Why the last transition was made, one sentence."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Desired:
    """What the world shall look like in a state."""

    candidate_weight: int = 0
    """Share of the composite route [candidate, stable], in 1/10000."""
    cohort_weights: tuple[tuple[str, int], ...] = ()
    """Shares of named cohorts, in 1/10000, never below candidate_weight."""
    shadow_weight: int = 0
    """Share of prediction requests that are copied to the candidate."""
    candidate_runs: bool
    candidate_is_stable: bool = False
    """The candidate has taken stable's place in the routes."""
    old_stable_runs: bool
    """The release that was stable before this rollout keeps its full capacity."""

    @property
    def candidate_reached(self) -> bool:
        """Users' requests, or copies of them, go to the candidate."""
        return bool(self.candidate_weight or self.shadow_weight or any(weight for _, weight in self.cohort_weights))


def desired(state: State) -> Desired:
    """
    What follows from a state: routes and fleets.

    The old release keeps its full capacity until the rollout has ended, unless the plan recreates.
    """
    plan = state.plan
    match state.phase:
        case Phase.STOPPING:
            return Desired(candidate_runs=False, old_stable_runs=False)
        case Phase.PREPARING | Phase.VERIFYING:
            return Desired(candidate_runs=True, old_stable_runs=not plan.recreate)
        case Phase.RETURNING:
            return Desired(candidate_runs=not plan.recreate, old_stable_runs=True)
        case Phase.STEPPING:
            return _routed(plan, state.step)
        case Phase.WATCHING if plan.recreate:
            return Desired(candidate_runs=True, candidate_is_stable=True, old_stable_runs=False)
        case Phase.WATCHING:
            return _routed(plan, plan.last)
        case Phase.FINISHING | Phase.PROMOTED:
            return Desired(
                candidate_runs=True,
                candidate_is_stable=True,
                old_stable_runs=state.phase is Phase.FINISHING and not plan.recreate,
            )
        case Phase.ROLLED_BACK | Phase.ABORTED:
            return Desired(candidate_runs=False, old_stable_runs=True)


def _routed(plan: LaunchPlan, step: int) -> Desired:
    """The routing in a step: cohorts stay, shares replace one another, a shadow lasts for its step."""
    most = spec.WEIGHT_FULL - plan.holdback
    weight = shadow = 0
    cohorts: dict[str, int] = {}
    for passed in plan.steps[: step + 1]:
        match passed.kind:
            case spec.StepKind.SHARE:
                weight, shadow = min(passed.weight, most), 0
            case spec.StepKind.COHORT:
                cohorts[passed.cohort] = max(passed.weight, cohorts.get(passed.cohort, 0))
                shadow = 0
            case spec.StepKind.SHADOW:
                shadow = passed.weight
            case spec.StepKind.APPROVAL:
                pass
    return Desired(
        candidate_weight=weight,
        cohort_weights=tuple((name, min(max(share, weight), most)) for name, share in cohorts.items()),
        shadow_weight=shadow,
        candidate_runs=True,
        old_stable_runs=True,
    )
