"""
The whole finite machine, enumerated: every reachable state of every kind of plan, times every event.

Times, reasons and names do not decide anything, so they are taken out of a state before it is compared (`_plain`);
each event is tried twice, before and after every period of the plan is over. What is left is finite, and the rules
written on top of machine.py are checked on every edge. Run as a program, this file prints the transition table of
docs/explanation/rollout.md.
"""

from __future__ import annotations

import dataclasses
import functools
import itertools
import pathlib
import typing
from collections.abc import Callable, Iterator

from softlaunch.core import spec
from softlaunch.core.rollout import machine, messages, phases
from softlaunch.core.rollout.messages import Verdict
from softlaunch.core.rollout.phases import Phase

PAGE = pathlib.Path(__file__).parents[4] / "docs" / "explanation" / "rollout.md"
ATTEMPTS_MIN = 50
EARLY, LATE = 0.0, 1e9
EVENTS: tuple[messages.Event, ...] = (
    messages.CandidateReady(),
    messages.CandidateFailed(reason="exit code 1"),
    messages.VerifyPassed(detail="20 of 20 passed."),
    messages.VerifyFailed(reason="3 of 20 failed."),
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
    messages.Ticked(),
    messages.PauseAsked(by="ann"),
    messages.ResumeAsked(by="ann"),
    messages.PromoteAsked(by="ann"),
    messages.PromoteAsked(by="ann", full=True),
    messages.AbortAsked(by="ann"),
)
PLANS = tuple(
    phases.LaunchPlan(
        weights=weights,
        compared=compared,
        verified_only=verified_only,
        immediate=immediate,
        holdback=holdback,
        watch_seconds=watch_seconds,
        step_attempts_min=ATTEMPTS_MIN,
    )
    for weights, compared, verified_only, immediate, holdback, watch_seconds in itertools.product(
        ((10_000,), (500, 10_000), (9_900, 10_000), (100, 500, 2_500, 10_000)),
        (False, True),
        (False, True),
        (False, True),
        (0, 500),
        (0.0, 60.0),
    )
)


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
    first = _plain(machine.begin(plan, now=EARLY, reason="").state)
    seen, waiting = {first}, [first]
    while waiting:
        before = waiting.pop()
        for event, now in itertools.product(EVENTS, (EARLY, LATE)):
            step = machine.advance(before, event, now=now)
            yield Edge(before, event, now, step)
            after = _plain(step.state)
            if after not in seen:
                seen.add(after)
                waiting.append(after)


def _plain(state: phases.State) -> phases.State:
    hold = None if state.hold is None else dataclasses.replace(state.hold, reason="")
    return dataclasses.replace(state, entered_at=EARLY, reason="", hold=hold)


def share(state: phases.State) -> int:
    """What the candidate gets of all traffic, as stable or as candidate."""
    desired = phases.desired(state)
    return spec.WEIGHT_FULL if desired.candidate_is_stable else desired.candidate_weight


def _broken(rule: Callable[[Edge], bool]) -> list[Edge]:
    """The first edges on which the rule does not hold."""
    return list(itertools.islice((edge for edge in edges() if not rule(edge)), 3))


def _fails(event: messages.Event) -> bool:
    return isinstance(event, messages.Judged) and event.verdict is Verdict.FAIL


def _goes_back(state: phases.State) -> bool:
    return state.phase in (Phase.RETURNING, Phase.ROLLED_BACK, Phase.ABORTED)


def test_the_walk_meets_every_phase_hold_event_and_entry_of_the_table() -> None:
    assert set(Phase) == {state.phase for state in states()}
    assert set(phases.HoldKind) == {state.hold.kind for state in states() if state.hold is not None}
    assert set(typing.get_args(messages.Event)) == {type(event) for event in EVENTS}
    assert set(machine._TABLE) == {(edge.before.phase, type(edge.event)) for edge in edges() if edge.changed}


def test_the_machine_is_finite() -> None:
    assert 128 == len(PLANS)
    assert len(states()) < 100 * len(PLANS)


def test_what_is_desired_follows_from_every_state() -> None:
    for state in states():
        desired = phases.desired(state)
        assert 0 <= desired.candidate_weight <= spec.WEIGHT_FULL
        assert desired.candidate_runs or not share(state)


def test_an_abort_takes_the_share_to_zero_from_every_phase_with_traffic_but_finishing() -> None:
    sharing = [edge for edge in edges() if isinstance(edge.event, messages.AbortAsked) and share(edge.before)]

    assert {Phase.STEPPING, Phase.WATCHING, Phase.FINISHING, Phase.PROMOTED} == {e.before.phase for e in sharing}
    for edge in sharing:
        if edge.before.phase in (Phase.STEPPING, Phase.WATCHING):
            assert (Phase.RETURNING, Phase.ABORTED, 0) == (
                edge.step.state.phase,
                edge.step.state.ending,
                share(edge.step.state),
            )


def test_a_broken_guardrail_takes_the_share_to_zero_from_every_phase_that_is_judged() -> None:
    failed = [edge for edge in edges() if _fails(edge.event) and edge.before.phase in (Phase.STEPPING, Phase.WATCHING)]

    assert any(edge.before.paused for edge in failed)
    assert set(phases.HoldKind) == {edge.before.hold.kind for edge in failed if edge.before.hold is not None}
    for edge in failed:
        assert (Phase.RETURNING, Phase.ROLLED_BACK, 0) == (
            edge.step.state.phase,
            edge.step.state.ending,
            share(edge.step.state),
        )


def test_all_traffic_needs_a_pass_or_an_operator_or_a_plan_that_asks_for_verification_only() -> None:
    def earned(edge: Edge) -> bool:
        plan, event = edge.before.plan, edge.event
        if isinstance(event, messages.Judged):
            return event.verdict is Verdict.PASS and event.step_attempts >= plan.step_attempts_min
        if isinstance(event, messages.VerifyPassed):
            return plan.verified_only or not plan.compared or len(plan.weights) == 1
        return isinstance(event, messages.PromoteAsked) or (
            isinstance(event, messages.CandidateReady) and plan.immediate
        )

    taken = (Phase.WATCHING, Phase.FINISHING, Phase.PROMOTED)
    assert [] == _broken(lambda edge: edge.step.state.phase not in taken or edge.before.phase in taken or earned(edge))
    assert all(share(state) < spec.WEIGHT_FULL for state in states() if state.phase not in taken)


def test_only_the_end_of_the_watch_window_or_an_operator_ends_watching_forwards() -> None:
    assert [] == _broken(
        lambda edge: (
            edge.before.phase is not Phase.WATCHING
            or edge.step.state.phase is not Phase.FINISHING
            or isinstance(edge.event, messages.PromoteAsked)
            or (isinstance(edge.event, messages.Ticked) and edge.now == LATE)
        )
    )


def test_the_old_release_keeps_running_until_the_rollout_is_over() -> None:
    for state in states():
        assert phases.desired(state).old_stable_runs is (state.phase is not Phase.PROMOTED)


def test_no_event_reopens_a_finished_rollout() -> None:
    assert [] == _broken(lambda edge: not machine.is_final(edge.before) or not edge.changed)


def test_a_hold_or_a_pause_stops_progress_unless_an_operator_promotes() -> None:
    def stands(edge: Edge) -> bool:
        before, after = edge.before, edge.step.state
        stopped = before.paused or before.hold is not None
        same_place = (before.phase, before.step) == (after.phase, after.step)
        return not stopped or same_place or _goes_back(after) or isinstance(edge.event, messages.PromoteAsked)

    assert [] == _broken(stands)


def test_a_hold_or_a_pause_never_stops_a_rollback() -> None:
    going_back = {
        (_without_stops(edge.before), edge.event, edge.now)
        for edge in edges()
        if edge.changed and _goes_back(edge.step.state)
    }

    assert [] == _broken(
        lambda edge: (
            (_without_stops(edge.before), edge.event, edge.now) not in going_back
            or edge.before.phase is Phase.RETURNING
            or _goes_back(edge.step.state)
        )
    )


def _without_stops(state: phases.State) -> phases.State:
    return dataclasses.replace(state, paused=False, hold=None)


def test_only_an_operator_ends_a_pause_or_a_sticky_hold() -> None:
    def kept(edge: Edge) -> bool:
        before, after = edge.before, edge.step.state
        if _goes_back(after) or isinstance(edge.event, (messages.ResumeAsked, messages.PromoteAsked)):
            return True
        sticky = before.hold is not None and before.hold.kind in phases.STICKY
        return before.paused <= after.paused and (not sticky or after.hold == before.hold)

    assert [] == _broken(kept)


def test_abort_and_time_end_every_unfinished_rollout() -> None:
    for state in states():
        aborted = machine.advance(state, messages.AbortAsked(by="ann"), now=EARLY).state
        ended = machine.advance(aborted, messages.Ticked(), now=LATE).state
        assert machine.is_final(ended)
        assert (ended.phase is Phase.PROMOTED) is (state.phase in (Phase.FINISHING, Phase.PROMOTED))


def test_an_event_without_an_entry_gives_back_the_same_object() -> None:
    assert [] == _broken(
        lambda edge: (
            (edge.before.phase, type(edge.event)) in machine._TABLE or edge.step == machine.Step(state=edge.before)
        )
    )
    assert [] == _broken(
        lambda edge: (edge.before.phase, type(edge.event)) in machine._TABLE or edge.step.state is edge.before
    )


def test_nothing_is_announced_when_nothing_changed() -> None:
    assert [] == _broken(lambda edge: edge.changed or not edge.step.announcements)


def test_a_change_that_changes_nothing_is_not_made() -> None:
    assert [] == _broken(lambda edge: not edge.changed or edge.step.state != edge.before)


def test_the_share_only_rises_until_the_rollout_goes_back() -> None:
    assert [] == _broken(lambda edge: _goes_back(edge.step.state) or share(edge.before) <= share(edge.step.state))


def test_no_step_is_skipped_but_by_an_operator_who_promotes_fully() -> None:
    assert [] == _broken(
        lambda edge: (
            edge.step.state.phase is not Phase.STEPPING
            or edge.step.state.step - (edge.before.step if edge.before.phase is Phase.STEPPING else -1) in (0, 1)
        )
    )


def test_a_fact_told_twice_says_nothing_the_second_time() -> None:
    def idle(edge: Edge) -> bool:
        if isinstance(edge.event, (messages.Judged, messages.PromoteAsked)) and not _fails(edge.event):
            return True
        again = machine.advance(edge.step.state, edge.event, now=edge.now)
        return again.state is edge.step.state and not again.announcements

    assert [] == _broken(idle)


def test_holds_that_end_by_themselves_do_not_take_turns() -> None:
    for state in states():
        ejected = machine.advance(state, messages.Ejected(), now=EARLY).state
        settled = machine.advance(ejected, messages.GatewayRefused(reason="no"), now=EARLY).state
        assert settled is machine.advance(settled, messages.Ejected(), now=EARLY).state
        assert settled is machine.advance(settled, messages.GatewayRefused(reason="no"), now=EARLY).state


def test_a_rollout_without_a_stable_release_never_shares_traffic() -> None:
    assert {0, spec.WEIGHT_FULL} == {share(state) for state in states() if not state.plan.compared}


def test_the_page_about_rollouts_shows_the_table_of_the_code() -> None:
    assert table() in PAGE.read_text(encoding="utf-8"), f"Run `python {pathlib.Path(__file__).name}` and paste."


def table() -> str:
    """The transition table as Markdown: events down, phases across, in a cell what can follow."""
    columns = [phase for phase in Phase if phase not in phases.FINAL]
    effects: dict[tuple[Phase, type], set[str]] = {}
    for edge in edges():
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


def _effect(edge: Edge) -> str:
    before, after = edge.before, edge.step.state
    if before.phase is not after.phase:
        return f"→ {after.phase.name}"
    if before.step != after.step:
        return "next step"
    return edge.step.announcements[0].kind.value


if __name__ == "__main__":
    print(table())
