"""The rules of the machine over the whole of it; run as a program, this prints the table of docs/explanation."""

from __future__ import annotations

import dataclasses
import pathlib
import typing

import machine_walk as walk
import pytest

from softlaunch.core import spec
from softlaunch.core.rollout import machine, messages, phases
from softlaunch.core.rollout.messages import Verdict
from softlaunch.core.rollout.phases import HoldKind, Phase

PAGE = pathlib.Path(__file__).parents[4] / "docs" / "explanation" / "rollout.md"


def test_the_walk_meets_every_phase_hold_event_and_entry_of_the_table() -> None:
    assert set(Phase) == {state.phase for state in walk.states()}
    assert set(phases.HoldKind) == {state.hold.kind for state in walk.states() if state.hold is not None}
    assert set(typing.get_args(messages.Event)) == {type(event) for event in walk.EVENTS}
    assert set(machine._TABLE) == {(edge.before.phase, type(edge.event)) for edge in walk.edges() if edge.changed}


def test_the_machine_is_finite() -> None:
    assert len(walk.states()) < 120 * len(walk.PLANS)


def test_what_is_desired_follows_from_every_state() -> None:
    for state in walk.states():
        desired = phases.desired(state)
        assert 0 <= desired.candidate_weight <= spec.WEIGHT_FULL
        assert desired.candidate_runs or not walk.share(state)


def test_an_abort_takes_everything_from_the_candidate_in_every_phase_before_it_is_stable() -> None:
    aborted = [
        edge for edge in walk.edges() if isinstance(edge.event, messages.AbortAsked) and not walk.settled(edge.before)
    ]

    assert {Phase.STOPPING, Phase.PREPARING, Phase.VERIFYING, Phase.STEPPING, Phase.WATCHING} == {
        edge.before.phase for edge in aborted
    }
    for edge in aborted:
        assert (Phase.RETURNING, Phase.ABORTED) == (edge.step.state.phase, edge.step.state.ending)
        assert walk.untouched(edge.step.state)


def test_a_state_that_goes_back_or_has_gone_back_leaves_nothing_to_the_candidate() -> None:
    assert all(walk.untouched(state) for state in walk.states() if walk.goes_back(state))


def test_all_traffic_needs_a_pass_or_somebody_or_a_plan_that_asks_for_verification_only() -> None:
    def earned(edge: walk.Edge) -> bool:
        before, event = edge.before, edge.event
        plan = before.plan
        if isinstance(event, messages.Judged):
            enough = event.step_attempts >= plan.attempts_min(before.step)
            unseen = before.approved and walk.untouched(before)  # approved while paused, with nothing to judge
            return unseen or (event.verdict is Verdict.PASS and enough)
        if isinstance(event, messages.VerifyPassed):
            return plan.verified_only or not plan.compared or plan.recreate or len(plan.steps) == 1
        if isinstance(event, messages.ApproveAsked):
            asked = before.hold is not None and before.hold.kind is HoldKind.APPROVAL
            return asked and (walk.untouched(before) or not walk.approval_asked(before))
        return isinstance(event, messages.PromoteAsked) or (
            isinstance(event, messages.CandidateReady) and plan.immediate
        )

    taken = (Phase.WATCHING, Phase.FINISHING, Phase.PROMOTED)
    assert [] == walk.broken(
        lambda edge: edge.step.state.phase not in taken or edge.before.phase in taken or earned(edge)
    )
    assert all(walk.share(state) < spec.WEIGHT_FULL for state in walk.states() if state.phase not in taken)


def test_a_drill_never_has_all_traffic_and_is_never_promoted() -> None:
    drills = [state for state in walk.states() if state.plan.drill]

    assert all(walk.share(state) < spec.WEIGHT_FULL for state in drills)
    assert not {Phase.WATCHING, Phase.FINISHING, Phase.PROMOTED} & {state.phase for state in drills}


def test_no_user_sees_a_shadow() -> None:
    for state in walk.states():
        shadowing = state.phase is Phase.STEPPING and walk.SHADOW in state.plan.steps[: state.step + 1]
        if shadowing and all(step.kind is spec.StepKind.SHADOW for step in state.plan.steps[: state.step + 1]):
            desired = phases.desired(state)
            assert (0, (), 1_000) == (desired.candidate_weight, desired.cohort_weights, desired.shadow_weight)
        if state.phase is not Phase.STEPPING:
            assert 0 == phases.desired(state).shadow_weight


def test_cohorts_never_fall_back_while_the_rollout_goes_forward() -> None:
    def rises(edge: walk.Edge) -> bool:
        after = dict(phases.desired(edge.step.state).cohort_weights)
        if walk.goes_back(edge.step.state) or edge.step.state.phase is Phase.FINISHING:
            return True
        return all(weight <= after.get(name, 0) for name, weight in phases.desired(edge.before).cohort_weights)

    assert any(len(phases.desired(state).cohort_weights) == 2 for state in walk.states())
    assert [] == walk.broken(rises)
    assert all(
        weight >= phases.desired(state).candidate_weight
        for state in walk.states()
        for _, weight in phases.desired(state).cohort_weights
    )


def test_only_the_end_of_the_watch_window_or_an_operator_ends_watching_forwards() -> None:
    assert [] == walk.broken(
        lambda edge: (
            edge.before.phase is not Phase.WATCHING
            or edge.step.state.phase is not Phase.FINISHING
            or isinstance(edge.event, (messages.PromoteAsked, messages.ReplaceAsked))
            or (isinstance(edge.event, messages.Ticked) and edge.now == walk.LATE)
        )
    )


def test_the_old_release_keeps_running_until_the_rollout_is_over_unless_the_plan_recreates() -> None:
    for state in walk.states():
        back = walk.goes_back(state)
        if not state.plan.recreate:
            assert phases.desired(state).old_stable_runs is (state.phase is not Phase.PROMOTED)
        else:
            assert phases.desired(state).old_stable_runs is back
            assert not (back and phases.desired(state).candidate_runs)
    assert {True} == {state.plan.recreate for state in walk.states() if state.phase is Phase.STOPPING}


def test_no_event_reopens_a_finished_rollout() -> None:
    assert [] == walk.broken(lambda edge: not machine.is_final(edge.before) or not edge.changed)


def test_a_hold_or_a_pause_stops_progress_unless_somebody_decides() -> None:
    def stands(edge: walk.Edge) -> bool:
        before, after = edge.before, edge.step.state
        stopped = before.paused or before.hold is not None
        same_place = before.phase is after.phase and (before.step == after.step or before.phase is Phase.VERIFYING)
        if isinstance(edge.event, messages.ApproveAsked):  # what waits for an approval is held until it comes
            stopped = before.paused or before.hold.kind is not HoldKind.APPROVAL if stopped else False
        asked = isinstance(edge.event, (messages.PromoteAsked, messages.ReplaceAsked))
        return not stopped or same_place or walk.goes_back(after) or asked

    assert [] == walk.broken(stands)


def test_a_hold_or_a_pause_never_stops_a_rollback() -> None:
    going_back = {
        (_without_stops(edge.before), edge.event)
        for edge in walk.edges()
        if edge.changed and walk.goes_back(edge.step.state) and isinstance(edge.event, _BACK)
    }

    assert set(_BACK) == {type(event) for _, event in going_back}
    assert [] == walk.broken(
        lambda edge: (_without_stops(edge.before), edge.event) not in going_back or walk.goes_back(edge.step.state)
    )


_BACK = (messages.CandidateFailed, messages.VerifyFailed, messages.AbortAsked)
"""A walk.broken guardrail and a deadline have tests of their own: there the plan's policy counts."""


def _without_stops(state: phases.State) -> phases.State:
    return dataclasses.replace(state, paused=False, hold=None)


@pytest.mark.parametrize(
    "wish",
    [messages.AbortAsked(by="ann"), messages.ReplaceAsked(by="ann", release="333333333333")],
    ids=["abort", "newer release"],
)
def test_abort_and_a_newer_release_end_every_unfinished_rollout_with_time_alone(wish: messages.Event) -> None:
    for state in walk.states():
        asked = machine.advance(state, wish, now=walk.EARLY).state
        ended = machine.advance(asked, messages.Ticked(), now=walk.LATE).state
        assert machine.is_final(ended)
        kept = state.phase in (Phase.FINISHING, Phase.PROMOTED)
        frozen = state.hold is not None and state.hold.kind is HoldKind.FROZEN
        if isinstance(wish, messages.ReplaceAsked):  # what was promoted on evidence stays, until the newer one comes
            kept = kept or (state.phase is Phase.WATCHING and not frozen)
        assert (ended.phase is Phase.PROMOTED) is kept


def test_an_event_without_an_entry_gives_back_the_same_object() -> None:
    assert [] == walk.broken(
        lambda edge: (
            (edge.before.phase, type(edge.event)) in machine._TABLE or edge.step == machine.Step(state=edge.before)
        )
    )
    assert [] == walk.broken(
        lambda edge: (edge.before.phase, type(edge.event)) in machine._TABLE or edge.step.state is edge.before
    )


def test_nothing_is_announced_when_nothing_changed() -> None:
    assert [] == walk.broken(lambda edge: edge.changed or not edge.step.announcements)


def test_a_change_that_changes_nothing_is_not_made() -> None:
    assert [] == walk.broken(lambda edge: not edge.changed or edge.step.state != edge.before)


def test_the_share_only_rises_until_the_rollout_goes_back() -> None:
    assert [] == walk.broken(
        lambda edge: walk.goes_back(edge.step.state) or walk.share(edge.before) <= walk.share(edge.step.state)
    )


def test_no_step_is_skipped_but_by_an_operator_who_promotes_fully() -> None:
    assert [] == walk.broken(
        lambda edge: (
            edge.step.state.phase is not Phase.STEPPING
            or edge.step.state.step - (edge.before.step if edge.before.phase is Phase.STEPPING else -1) in (0, 1)
        )
    )


def test_a_fact_told_twice_says_nothing_the_second_time() -> None:
    def idle(edge: walk.Edge) -> bool:
        wishes = (messages.Judged, messages.PromoteAsked, messages.ApproveAsked, messages.ReplaceAsked)
        if isinstance(edge.event, wishes) and not walk.fails(edge.event):
            return True  # the second is about what the first has led to
        again = machine.advance(edge.step.state, edge.event, now=edge.now)
        return again.state is edge.step.state and not again.announcements

    assert [] == walk.broken(idle)


def test_holds_that_end_by_themselves_do_not_take_turns() -> None:
    for state in walk.states():
        ejected = machine.advance(state, messages.Ejected(), now=walk.EARLY).state
        refused = machine.advance(ejected, messages.GatewayRefused(reason="no"), now=walk.EARLY).state
        settled = machine.advance(refused, messages.OutageSeen(reason="both"), now=walk.EARLY).state
        assert settled is machine.advance(settled, messages.Ejected(), now=walk.EARLY).state
        assert settled is machine.advance(settled, messages.GatewayRefused(reason="no"), now=walk.EARLY).state
        assert settled is machine.advance(settled, messages.OutageSeen(reason="both"), now=walk.EARLY).state


def test_a_rollout_without_a_stable_release_never_shares_traffic() -> None:
    assert {0, spec.WEIGHT_FULL} == {walk.share(state) for state in walk.states() if not state.plan.compared}


def test_the_page_about_rollouts_shows_the_table_of_the_code() -> None:
    assert table() in PAGE.read_text(encoding="utf-8"), f"Run `python {pathlib.Path(__file__).name}` and paste."


def table() -> str:
    """The transition table as Markdown: events down, phases across, in a cell what can follow."""
    columns = [phase for phase in Phase if phase not in phases.FINAL]
    effects: dict[tuple[Phase, type], set[str]] = {}
    for edge in walk.edges():
        if edge.changed:
            effects.setdefault((edge.before.phase, type(edge.event)), set()).add(_effect(edge))
    lines = [
        "| event | " + " | ".join(phase.name for phase in columns) + " |",
        "|---|" + "---|" * len(columns),
    ]
    for kind in typing.get_args(messages.Event):
        cells = (", ".join(sorted(effects.get((phase, kind), ()))) or "·" for phase in columns)
        lines.append(f"| `{kind.__name__}` | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def _effect(edge: walk.Edge) -> str:
    before, after = edge.before, edge.step.state
    if before.phase is not after.phase:
        return f"→ {after.phase.name}"
    if before.phase is Phase.STEPPING and before.step != after.step:
        return "next step"
    return edge.step.announcements[0].kind.value.replace("_", " ")


if __name__ == "__main__":
    print(table())
