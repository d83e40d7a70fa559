"""
The states a rollout can be in.

A rollout is one release entering one environment by a plan. Everything the reconciler does follows from the state
alone (see `desired`), so that a crash between deciding and doing heals itself at the next tick.
"""

from __future__ import annotations

import dataclasses
import enum

from softlaunch import errors
from softlaunch.core import spec


class Phase(enum.StrEnum):
    """Where a rollout stands. PROMOTED, ROLLED_BACK and ABORTED are final."""

    PREPARING = "preparing"
    """The candidate's replicas are starting; it gets no traffic."""
    VERIFYING = "verifying"
    """Smoke requests go straight to the candidate; it gets no traffic."""
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


STICKY = frozenset({HoldKind.EVIDENCE_LOST, HoldKind.DEADLINE})
"""Holds that only `resume` ends."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Hold:
    kind: HoldKind
    reason: str


@dataclasses.dataclass(frozen=True, kw_only=True)
class LaunchPlan:
    """A strategy as the machine sees it: a list of shares and what is asked between them."""

    weights: tuple[int, ...]
    """Shares in 1/10000, strictly rising, the last one WEIGHT_FULL."""
    compared: bool
    """There is a stable release to compare with and to go back to."""
    verified_only: bool
    """The environment has no traffic of its own: smoke requests are the whole evidence."""
    immediate: bool = False
    """An operator's rollback: all traffic at once, no evidence asked."""
    holdback: int = 500
    step_attempts_min: int = 50
    watch_seconds: float = 86_400.0
    deadline_seconds: float = 3_600.0
    drain_seconds: float = 5.0

    def __post_init__(self) -> None:
        rising = all(low < high for low, high in zip(self.weights, self.weights[1:], strict=False))
        if not self.weights or not rising or self.weights[0] < 1 or self.weights[-1] != spec.WEIGHT_FULL:
            raise errors.InvariantError(f"Not a list of rising shares that ends at 100 %: {self.weights}.")
        if not 0 <= self.holdback < spec.WEIGHT_FULL:
            raise errors.InvariantError(f"Not a holdback: {self.holdback}/10000.")


def plan_of(environment: spec.EnvironmentSpec, *, compared: bool, immediate: bool = False) -> LaunchPlan:
    """The plan an environment's strategy expands to."""
    strategy = environment.strategy
    return LaunchPlan(
        weights=strategy.weights,
        compared=compared,
        verified_only=environment.verify is not None,
        immediate=immediate,
        holdback=round(strategy.holdback_percent * 100),
        step_attempts_min=strategy.step_attempts_min,
        watch_seconds=strategy.watch_seconds,
        deadline_seconds=strategy.deadline_seconds,
        drain_seconds=environment.request_timeout_seconds,
    )


@dataclasses.dataclass(frozen=True, kw_only=True)
class State:
    """All a rollout knows about itself. Times are Unix seconds."""

    plan: LaunchPlan
    phase: Phase = Phase.PREPARING
    step: int = 0
    """Index into plan.weights; meaningful while STEPPING."""
    entered_at: float
    """When this phase, or this step, began."""
    paused: bool = False
    hold: Hold | None = None
    ending: Phase | None = None
    """While RETURNING: ROLLED_BACK or ABORTED, whichever it will be."""
    reason: str = ""
    """Why the last transition was made, one sentence."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Desired:
    """What the world shall look like in a state."""

    candidate_weight: int
    """Share of the composite route [candidate, stable], in 1/10000."""
    candidate_runs: bool
    candidate_is_stable: bool
    """The candidate has taken stable's place in the routes."""
    old_stable_runs: bool
    """The release that was stable before this rollout keeps its full capacity."""


def desired(state: State) -> Desired:
    """
    What follows from a state: routes and fleets.

    The old release keeps its full capacity until the rollout has ended.
    """
    match state.phase:
        case Phase.PREPARING | Phase.VERIFYING | Phase.RETURNING:
            weight = 0
        case Phase.STEPPING:
            weight = min(state.plan.weights[state.step], spec.WEIGHT_FULL - state.plan.holdback)
        case Phase.WATCHING:
            weight = spec.WEIGHT_FULL - state.plan.holdback
        case Phase.FINISHING | Phase.PROMOTED:
            return Desired(
                candidate_weight=0,
                candidate_runs=True,
                candidate_is_stable=True,
                old_stable_runs=state.phase is Phase.FINISHING,
            )
        case Phase.ROLLED_BACK | Phase.ABORTED:
            return Desired(candidate_weight=0, candidate_runs=False, candidate_is_stable=False, old_stable_runs=True)
    return Desired(
        candidate_weight=weight,
        candidate_runs=True,
        candidate_is_stable=False,
        old_stable_runs=True,
    )
